"""Network namespaces without a name, and this thread's way into them (Linux)."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_SET_INTERFACE = 0x400454CA  # TUNSETIFF
_TUN_WITHOUT_HEADER = 0x1001  # IFF_TUN | IFF_NO_PI
_TUN = "/dev/net/tun"
_OWN = "/proc/thread-self/ns/net"
_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network of its own, which ends with the last program in it.

    It has a loopback interface and one wire, over which everything else goes: a descriptor at which
    whole IP packets are read and written.

    :ivar wire: that descriptor
    :param addresses: of the wire's end in the namespace, IPv4 and IPv6
    :raises OSError: this is not permitted, or the kernel can't
    """

    def __init__(self, *addresses: str) -> None:
        home = os.open(_OWN, _FLAGS)
        try:
            _check(_libc.unshare(_NEW_NETWORK))
            try:
                self._descriptor = os.open(_OWN, _FLAGS)
                self.wire = _open_wire(addresses)
            finally:
                _check(_libc.setns(home, _NEW_NETWORK))
        finally:
            os.close(home)

    @property
    def inode(self) -> int:
        """What ``/proc/PID/ns/net`` shows for the programs in it."""
        return os.fstat(self._descriptor).st_ino

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread makes its sockets, and starts its programs, in there."""
        home = os.open(_OWN, _FLAGS)
        try:
            _check(_libc.setns(self._descriptor, _NEW_NETWORK))
            try:
                yield
            finally:
                _check(_libc.setns(home, _NEW_NETWORK))
        finally:
            os.close(home)

    def close(self) -> None:
        """Leave it to the programs in it, without a wire."""
        os.close(self.wire)
        os.close(self._descriptor)


def _open_wire(addresses: tuple[str, ...]) -> int:
    wire = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(wire, _SET_INTERFACE, struct.pack("16sH22x", b"wire", _TUN_WITHOUT_HEADER))
    commands = ["link set lo up", "link set wire up"]
    for address in addresses:
        length = "128 dev wire nodad" if ":" in address else "32 dev wire"
        commands.append(f"addr add {address}/{length}")
    commands += ["route add 0.0.0.0/0 dev wire", "route add ::/0 dev wire"]
    done = subprocess.run(
        ("ip", "-batch", "-"), input="\n".join(commands), text=True, capture_output=True
    )
    if done.returncode:
        raise OSError(f"ip: {done.stderr.strip()}")
    return wire


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
