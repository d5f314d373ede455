"""Disks so small that they can be filled: ext4 in a file, mounted where the test wants it."""

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
