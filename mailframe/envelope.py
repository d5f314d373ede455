"""The envelope of a message, and the client that handed it over."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address
from mailframe.outcome import Permit

Body: TypeAlias = Literal["7BIT", "8BITMIME", "BINARYMIME"]
Notify: TypeAlias = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]
Return: TypeAlias = Literal["FULL", "HDRS"]


@attrs.frozen(kw_only=True)
class Client:
    """Who is talking to us, as far as we know it. Policies are handed this, never a transport.

    :ivar server: the ``name`` of the ``[[server]]`` it is connected to, or ``"local"`` for mail
        that a program on this machine put into the queue
    :ivar protocol: ``smtp``, ``submission``, ``lmtp``, ``pop3`` or ``local``
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
    :ivar notify: of what the sender wants to be told (RFC 3461 §4.1): ``NEVER`` alone, or one or
        more of the others; empty when the client did not say, which means failure and delay
    :ivar orcpt: the original recipient as the client gave it (RFC 3461 §4.2), decoded:
        ``"rfc822;jsmith@mindspring.com"``; or ``None``
    """

    address: Address
    evidence: Permit
    notify: tuple[Notify, ...] = ()
    orcpt: str | None = None


@attrs.frozen(kw_only=True)
class DeliverBy:
    """The deadline that a client set (RFC 2852).

    :ivar at: POSIX seconds UTC
    :ivar mode: ``"R"``: after it the message is returned; ``"N"``: the sender is told, and delivery
        goes on
    :ivar trace: the sender wants a notice of each server that the message passes
    """

    at: float
    mode: Literal["R", "N"]
    trace: bool = False


@attrs.frozen(kw_only=True)
class Envelope:
    """What SMTP says about a message besides its content.

    :ivar sender: the reverse-path; ``None`` is the null reverse-path ``<>``
    :ivar recipients: at least one
    :ivar client: who handed it over, or ``None`` for a notice that we made
    :ivar arrived: POSIX seconds UTC
    :ivar body: what the client declared (RFC 6152, RFC 3030)
    :ivar smtputf8: the client declared that addresses or header fields are internationalised
        (RFC 6531)
    :ivar require_tls: never to be sent over a connection without verified TLS (RFC 8689)
    :ivar ret: what a failure notice is to return of the message (RFC 3461 §4.3), or ``None``
    :ivar envid: the sender's name for this envelope (RFC 3461 §4.4), decoded, or ``None``
    :ivar deliver_by: the deadline that the client set, or ``None``
    :ivar not_before: when the first attempt may be made (RFC 4865), POSIX seconds; ``None``: at
        once
    """

    sender: Address | None
    recipients: tuple[Recipient, ...] = attrs.field(validator=attrs.validators.min_len(1))
    client: Client | None
    arrived: float
    body: Body = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: Return | None = None
    envid: str | None = None
    deliver_by: DeliverBy | None = None
    not_before: float | None = None

    @property
    def due(self) -> float:
        """When the first attempt is to be made: on arrival, or as late as the sender wants it."""
        return self.arrived if self.not_before is None else max(self.arrived, self.not_before)
