"""Disks that a power cut can be made on: loop-mounted images, in memory where that is possible.

`FS_IOC_SHUTDOWN` ends a mounted file system as a power cut would: nothing that was not written to
the disk is there when it is mounted again, and every call fails until then.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING = 2
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
LOOP_SET_STATUS64, LOOP_GET_STATUS64 = 0x4C04, 0x4C05
LOOP_INFO64 = struct.Struct("5Q4I64s64s32s2Q")
FLAGS, LO_FLAGS_AUTOCLEAR = 8, 4
SIZE = 512 * 2**20
MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=8"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
PATHS = "/usr/sbin:/sbin:/usr/local/sbin"
_libc = ctypes.CDLL(None, use_errno=True)


class Unavailable(Exception):
    """No such disk can be had here; the message says why."""


class Folder:
    """No disk of its own: what a killed process has written stays."""

    kind = "folder"

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="mailframe-crash-", dir=_fast_folder())

    def sync(self) -> None:
        """Nothing: what a process has written stays."""

    def close(self) -> None:
        """Delete it."""
        shutil.rmtree(self.path, ignore_errors=True)


class Disk:
    """A file system in an image, mounted.

    :param kind: ``ext4`` or ``xfs``
    :raises Unavailable: it can't be made or mounted here
    """

    def __init__(self, kind: str, size: int = SIZE) -> None:
        self.kind = kind
        if os.geteuid() != 0:
            raise Unavailable("mounting needs root")
        self._folder = tempfile.mkdtemp(prefix="mailframe-crash-", dir=_fast_folder())
        self.path = f"{self._folder}/disk"
        os.mkdir(self.path)
        image = f"{self._folder}/image"
        with open(image, "wb") as file:
            file.truncate(size)
        self._device, self._loop = "", -1
        try:
            _run(*MAKE[kind], image)
            self._device = _run("losetup", "--find", "--show", image)
            self._loop = _detach_at_last(self._device)
            os.unlink(image)  # its memory is given back with the device, however that ends
            self._mount()
        except BaseException:
            self.close()
            raise

    def _mount(self) -> None:
        if _libc.mount(self._device.encode(), self.path.encode(), self.kind.encode(), 0, None):
            number = ctypes.get_errno()
            raise Unavailable(f"{self.kind} can't be mounted: {os.strerror(number)}")

    def _unmount(self) -> None:
        for _ in range(500):
            if not _libc.umount2(self.path.encode(), 0):
                return
            time.sleep(0.01)  # a process that was killed lets go of its files a moment later
        number = ctypes.get_errno()
        raise OSError(number, f"{self.path} can't be unmounted: {os.strerror(number)}")

    def cut(self) -> None:
        """Cut the power."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            cut(descriptor)
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Have the disk keep all that was written."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            if _libc.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), f"{self.path} can't be synced")
        finally:
            os.close(descriptor)

    def remount(self) -> None:
        """Switch the power on again; nobody may have a file open any more."""
        self._unmount()
        self._mount()

    def close(self) -> None:
        """Unmount and delete it."""
        if self._device:
            if os.path.ismount(self.path):
                self._unmount()
            _run("losetup", "--detach", self._device)
        if self._loop >= 0:
            os.close(self._loop)
        shutil.rmtree(self._folder, ignore_errors=True)


def own_mounts() -> None:
    """Let this thread, and the processes it starts, see what it mounts, and nobody else.

    So nothing stays mounted, however they end. Without the right to do so nothing happens.
    """
    if not _libc.unshare(CLONE_NEWNS):
        _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def _detach_at_last(device: str) -> int:
    """Have a loop device vanish when nobody uses it any more; a descriptor that uses it."""
    descriptor = os.open(device, os.O_RDWR)
    status = bytearray(LOOP_INFO64.size)
    fcntl.ioctl(descriptor, LOOP_GET_STATUS64, status)
    values = list(LOOP_INFO64.unpack(status))
    values[FLAGS] |= LO_FLAGS_AUTOCLEAR
    fcntl.ioctl(descriptor, LOOP_SET_STATUS64, LOOP_INFO64.pack(*values))
    return descriptor


def cut(descriptor: int) -> None:
    """Cut the power of the file system that an open file lies on."""
    fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING))


def _fast_folder() -> str | None:
    shared = Path("/dev/shm")  # a folder in it with a name of its own is made
    if shared.is_dir() and shutil.disk_usage(shared).free > 4 * SIZE:
        return str(shared)
    return None


def _run(name: str, *arguments: str) -> str:
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATHS}")
    if program is None:
        raise Unavailable(f"{name} is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Unavailable(f"{name}: {done.stderr.strip()}")
    return done.stdout.strip()
