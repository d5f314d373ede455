"""Disks so small that they can be filled, mounted where the test wants them.

They are ext4 in a file; or Btrfs, for its quotas hold for root as well, and need nothing that a
kernel with Btrfs may be without.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop.programs import InteropCase

MB = 2**20


class SmallDiskCase(InteropCase):
    """Mix-in of the disks a test may have."""

    def disk(
        self, point: Path, *, megabytes: int = 12, files: int = 1000, options: str = "rw"
    ) -> None:
        """Mount a disk with nothing but so many octets and so many files."""
        self.need_root()
        self.program("mount", "mount")
        image = self.folder / f"{point.name}.image"
        with image.open("wb") as file:
            file.truncate(megabytes * MB)
        self.run_program(
            *(self.program("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-m", "0", "-b", "1024"),
            *("-J", "size=1", "-N", str(files), image),
        )
        point.mkdir(mode=0o700, exist_ok=True)
        done = self.run_program("mount", "-o", f"loop,{options}", image, point, check=False)
        if done.returncode:
            raise SkipTest(f"no loop devices here: {done.stdout.decode(errors='replace').strip()}")
        self.addCleanup(self.unmount, point)

    def disk_with_quota(self, point: Path) -> None:
        """Mount a disk with a quota, which is unlimited as yet."""
        self.need_root()
        make, btrfs = (self.program(name, "btrfs-progs") for name in ("mkfs.btrfs", "btrfs"))
        image = self.folder / f"{point.name}.image"
        with image.open("wb") as file:
            file.truncate(256 * MB)
        self.run_program(make, "-q", image)
        # What is limited is a part of it: from inside none could be changed that is used up.
        whole = self.folder / f"{point.name}.whole"
        whole.mkdir()
        done = self.run_program("mount", "-t", "btrfs", "-o", "loop", image, whole, check=False)
        if not done.returncode:
            self.addCleanup(self.unmount, whole)
            done = self.run_program(btrfs, "quota", "enable", whole, check=False)
        if done.returncode:
            raise SkipTest(f"no quotas here: {done.stdout.decode(errors='replace').strip()}")
        self.run_program(btrfs, "subvolume", "create", whole / "part")
        point.mkdir(mode=0o700, exist_ok=True)
        self.run_program("mount", "--bind", whole / "part", point)
        self.addCleanup(self.unmount, point)

    def limit(self, point: Path, octets: str) -> None:
        """Set the quota of a disk. :param octets: as ``btrfs`` has it: ``1M``, ``none``"""
        btrfs, whole = self.program("btrfs", "btrfs-progs"), self.folder / f"{point.name}.whole"
        self.run_program(btrfs, "qgroup", "limit", octets, "0/256", whole)

    def unmount(self, point: Path) -> None:
        """Take a disk away; nobody may have a file open on it."""
        if os.path.ismount(point):
            self.wait_for(
                f"{point} unmounted",
                lambda: not self.run_program("umount", point, check=False).returncode,
            )

    def fill(self, point: Path, leave: int = 0) -> Path:
        """Take all room there is but for so many octets; the file that has it."""
        filler = point / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            room = os.statvfs(point)
            left = room.f_bavail * room.f_frsize - leave
            for size in (64 * 1024, 1024):
                with contextlib.suppress(OSError):
                    while left >= size or not leave:
                        left -= file.write(bytes(size))
            os.fsync(file.fileno())
        return filler

    def take_files(self, point: Path) -> Path:
        """Take every file there could still be; the folder that has them."""
        folder = point / "files"
        folder.mkdir()
        with contextlib.suppress(OSError):
            for number in range(100_000):
                (folder / str(number)).touch()
        return folder
