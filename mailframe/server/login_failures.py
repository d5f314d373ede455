"""Failed logins of all connections to a server, by client address and by login.

What `mailframe.server.authentication` counts for one connection starts anew with the next one. Here
it is remembered for a while, so that guessing ends also for those who come back, and before the
price of checking a password is paid.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.address import Address, AddressError
from mailframe.server.limits import Limits

log = Logger()

MAX_ENTRIES = 10_000  # addresses, and as many logins, that are remembered
MAX_KEY = 320  # octets of a login: more is no address (RFC 5321 §4.5.3.1)

K = TypeVar("K", str, bytes)


class LoginFailures:
    """What may be shared by servers, so that guessing ends at all of them."""

    def __init__(self, *, limits: Limits, clock: IReactorTime) -> None:
        """:param clock: measures the window"""
        window = limits.login_window
        self._clock = clock
        self._of_address: _Table[str] = _Table(limits.login_failures_per_address, window)
        self._of_login: _Table[bytes] = _Table(limits.login_failures_per_login, window)

    def __len__(self) -> int:
        """How many addresses and logins are remembered."""
        return len(self._of_address) + len(self._of_login)

    def beyond(self, address: str, user: bytes) -> str | None:
        """Is this login not to be tried?

        :param address: the client's IP address
        :param user: whom it says to be, whether there is such an account or not
        :returns: the limit that it is beyond, or ``None``
        """
        now = self._clock.seconds()
        if self._of_address.full(_network(address), now):
            return "login_failures_per_address"
        if self._of_login.full(_name(user), now):
            return "login_failures_per_login"
        return None

    def failed(self, address: str, user: bytes) -> None:
        """A login was tried and refused."""
        now = self._clock.seconds()
        if self._of_address.add(_network(address), now):
            self._tell("login_failures_per_address", address, user)
        if self._of_login.add(_name(user), now):
            self._tell("login_failures_per_login", address, user)

    def succeeded(self, user: bytes) -> None:
        """A login was proved: its failures were those of its owner.

        Those of the address stay: one account of one's own must not help in guessing at others.
        """
        self._of_login.forget(_name(user))

    def _tell(self, rule: str, address: str, user: bytes) -> None:
        log.warn(
            "login {user!r} from {address} failed: over the limit {rule!r}, none is tried for now",
            user=user,
            address=address,
            rule=rule,
        )


class _Table(Generic[K]):
    """Counts that all live equally long, so that the oldest is always the first to end."""

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        # How many, and when they are forgotten. A plain dict takes ever longer to find its first
        # entry, the more of the first ones are deleted.
        self._counts: OrderedDict[K, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counts)

    def full(self, key: K, now: float) -> bool:
        """The limit is reached."""
        self._expire(now)
        return key in self._counts and self._counts[key][0] >= self._limit

    def add(self, key: K, now: float) -> bool:
        """Count one more. :returns: whether the limit is reached by this one"""
        if self._limit <= 0:
            return False
        self._expire(now)
        count, until = self._counts.get(key, (0, now + self._window))
        self._counts[key] = count + 1, until
        if len(self._counts) > MAX_ENTRIES:
            self._counts.popitem(last=False)
        return count + 1 == self._limit

    def forget(self, key: K) -> None:
        """Count from nothing again."""
        self._counts.pop(key, None)

    def _expire(self, now: float) -> None:
        counts = self._counts
        while counts:
            oldest = next(iter(counts))
            # Also what ends too late: the clock was set back, which must lock out nobody.
            if now < counts[oldest][1] <= now + self._window:
                return
            counts.popitem(last=False)


def _network(address: str) -> str:
    """What counts as one client: an IPv4 address; of IPv6 a /64, which is the least one gets."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def _name(user: bytes) -> bytes:
    """A login in one form, however it is quoted or its domain is written."""
    if len(user) <= MAX_KEY:
        try:
            return str(Address.parse(user.decode())).lower().encode()
        except (UnicodeDecodeError, AddressError):
            pass  # then it is no address, and has one form only
    return user[:MAX_KEY].lower()
