"""Failed logins of all connections to a server, by client address and by login.

What `mailframe.server.authentication` counts for one connection starts anew with the next one. Here
it is remembered for a while, so that guessing ends also for those who come back, and before the
price of checking a password is paid.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mailframe.address import Address, AddressError
from mailframe.server.client_records import ClientRecords
from mailframe.server.limits import Limits
from mailframe.server.recent import Recent

log = Logger()

MAX_KEY = 320  # octets of a login: more is no address (RFC 5321 §4.5.3.1)
_RULES = ("login_failures_per_address", "login_failures_per_login")


class LoginFailures:
    """What may be shared by servers, so that guessing ends at all of them."""

    def __init__(
        self, *, limits: Limits, clock: IReactorTime, records: ClientRecords | None = None
    ) -> None:
        """
        :param clock: measures the window
        :param records: where they are kept; when ``None``, by this object alone
        """
        records = ClientRecords() if records is None else records
        self._clock = clock
        self._window = limits.login_window
        self._limits = (limits.login_failures_per_address, limits.login_failures_per_login)
        self._recent = (records.failed_addresses, records.failed_logins)

    def beyond(self, address: str, user: bytes) -> str | None:
        """Is this login not to be tried?

        :param address: the client's IP address
        :param user: whom it says to be, whether there is such an account or not
        :returns: the limit that it is beyond, or ``None``
        """
        now = self._clock.seconds()
        for rule, key, limit, recent in self._each(address, user):
            known = recent.get(key, now, self._window)
            if known is not None and known[1] >= limit:
                return rule
        return None

    def failed(self, address: str, user: bytes) -> None:
        """A login was tried and refused."""
        now = self._clock.seconds()
        for rule, key, limit, recent in self._each(address, user):
            since, count = recent.get(key, now, self._window) or (now, 0)
            recent.put(key, since, count + 1)
            if count + 1 == limit:
                log.warn(
                    "login {user!r} from {address} failed: over the limit {rule!r}, none is tried "
                    "for now",
                    user=user,
                    address=address,
                    rule=rule,
                )

    def succeeded(self, user: bytes) -> None:
        """A login was proved: its failures were those of its owner.

        Those of the address stay: one account of one's own must not help in guessing at others.
        """
        self._recent[1].forget(_name(user))

    def _each(self, address: str, user: bytes) -> Iterator[tuple[str, bytes, int, Recent]]:
        """What is counted: the limit's name, whose, the limit, and where."""
        keys = (_network(address).encode(), _name(user))
        for rule, key, limit, recent in zip(_RULES, keys, self._limits, self._recent, strict=True):
            if limit > 0:
                yield rule, key, limit, recent


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
