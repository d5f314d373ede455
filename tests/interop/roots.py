"""Mail servers that can't be installed beside Postfix: unpacked, and run in a root of their own.

Debian lets only one mail transport agent be installed. The packages of Exim and OpenSMTPD are
therefore only unpacked, into a cache folder that this fills, as root::

    python -m tests.interop.roots

The programs look for their configuration, spool and users at fixed paths. So each test gives them a
root folder (chroot) that holds the program, its libraries and users, and nothing else: they touch
nothing of the system.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.interop.programs import InteropCase

PACKAGES = ("exim4-daemon-light", "opensmtpd")
NOBODY = 65534  # owner of the mailboxes, in every root
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")
_LACKING = re.compile(r"(\S+) => not found")


def cache() -> Path:
    """Where packages are unpacked: ``MAILFRAME_FOREIGN``, or a folder in the user's cache."""
    own = os.environ.get("MAILFRAME_FOREIGN")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(home) / "mailframe" / "foreign"


class RootsCase(InteropCase):
    """Mix-in that makes roots and starts programs in them."""

    def unpacked(self, path: str, package: str) -> Path:
        """A program of an unpacked package, or of one that is installed after all.

        :param path: where it is in the package, as an absolute path
        """
        self.need_root()
        for root in (cache(), Path("/")):
            if (found := root / path.lstrip("/")).exists():
                return found
        self.missing(
            f"{path} of {package} is not unpacked (as root: python -m tests.interop.roots)"
        )

    def make_root(self, name: str, programs: Mapping[str, Path], users: Mapping[str, int]) -> Path:
        """Make a root folder with programs and the libraries that they need.

        :param name: of a folder in the test's folder
        :param programs: what each path in the root is a copy of
        :param users: with the numbers of each, and of a group of the same name
        """
        root = self.folder / name
        for folder in ("etc", "dev", "tmp", "run", "var", "home", "mail"):
            (root / folder).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        (root / "var/run").symlink_to("/run")
        copies = {Path(path): program for path, program in programs.items()}
        for program in programs.values():
            copies |= {path: path for path in self._libraries(program)}
        for path, original in copies.items():
            copy = root / str(path).lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(original, copy)
        for device, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
            os.mknod(root / "dev" / device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (root / "dev" / device).chmod(0o666)
        numbers = {"root": 0, "nobody": NOBODY, **users}
        lines = (f"{user}:x:{n}:{n}::/home:/bin/sh\n" for user, n in numbers.items())
        (root / "etc/passwd").write_text("".join(lines))
        (root / "etc/group").write_text("".join(f"{user}:x:{n}:\n" for user, n in numbers.items()))
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        os.chown(root / "mail", NOBODY, NOBODY)
        return root

    def give_copy(self, name: str, target: Path, owner: int) -> None:
        """Copy a file of the test's folder, readable for one user alone."""
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.folder / name, target)
        target.chmod(0o600)
        os.chown(target, owner, owner)

    def start_in(self, root: Path, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in a root; it is ended with the test."""
        return self.start(self.program("chroot", "coreutils"), root, *command)

    def _libraries(self, program: Path) -> list[Path]:
        shown = self.run_program("ldd", program).stdout.decode()
        if lacking := _LACKING.findall(shown):
            self.missing(f"{program} needs {', '.join(lacking)} (Debian: apt-file search them)")
        return [Path(found) for found in _LIBRARY.findall(shown)]


def unpack(folder: Path) -> None:
    """Download the packages with apt-get and unpack them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        download = ("apt-get", "-q", "download", *PACKAGES)
        if subprocess.run(download, cwd=downloads).returncode:
            subprocess.run(("apt-get", "-q", "update"), check=True)
            subprocess.run(download, cwd=downloads, check=True)
        for package in Path(downloads).glob("*.deb"):
            subprocess.run(("dpkg-deb", "-x", package, folder), check=True)


if __name__ == "__main__":
    unpack(cache())
