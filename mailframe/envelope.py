"""The envelope of a message, and the client that handed it over."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.outcome import Permit

Body: TypeAlias = Literal["7BIT", "8BITMIME"]


@attrs.frozen(kw_only=True)
class Client:
    """Who is talking to us, as far as we know it. Policies are handed this, never a transport.

    :ivar server: the ``name`` of the ``[[server]]`` it is connected to, or ``"local"`` for mail
        that a program on this machine put into the queue
    :ivar protocol: ``smtp``, ``submission``, ``pop3`` or ``local``
    :ivar address: its IP address in its shortest textual form; a v4-mapped one is shown as IPv4
    :ivar port: its port
    :ivar helo: the name it gave in EHLO or HELO, or ``None``
    :ivar login: the account it proved to be, as an address in normal form, or ``None``
    :ivar tls: protocol and cipher, such as ``"TLSv1.3 TLS_AES_256_GCM_SHA384"``, or ``None``
    """

    server: str
    protocol: str
    address: str
    port: int = 0
    helo: str | None = None
    esmtp: bool = False
    login: str | None = None
    tls: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether nothing between the client and us could listen in."""
        return _is_loopback(self.address)


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@attrs.frozen(kw_only=True)
class Recipient:
    """One recipient of an envelope, with the verdict by which it was let in.

    :ivar address: the forward-path's mailbox
    :ivar evidence: why it was accepted (rule, provider, network or login)
    """

    address: Address
    evidence: Permit


@attrs.frozen(kw_only=True)
class Envelope:
    """What SMTP says about a message besides its content.

    :ivar sender: the reverse-path; ``None`` is the null reverse-path ``<>``
    :ivar recipients: at least one
    :ivar client: who handed it over, or ``None`` for a notice that we made
    :ivar arrived: POSIX seconds UTC
    :ivar body: what the client declared (RFC 6152)
    """

    sender: Address | None
    recipients: tuple[Recipient, ...] = attrs.field(validator=attrs.validators.min_len(1))
    client: Client | None
    arrived: float
    body: Body = "7BIT"
