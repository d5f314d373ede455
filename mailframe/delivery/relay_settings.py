"""The ``[relay]`` table: how the relay client behaves."""

from __future__ import annotations

import attrs

from mailframe.delivery.shaping_settings import ShapingTable
from mailframe.delivery.source import Source
from mailframe.units import Seconds


def _some_time(default: float) -> Seconds:
    """A time that is not 0, with which no server could be spoken to."""
    field: Seconds = attrs.field(
        default=Seconds(default), validator=attrs.validators.gt(Seconds(0))
    )
    return field


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long the relay client waits for what: the ``[relay.timeouts]`` table.

    The defaults are those that RFC 5321 §4.5.3.2 asks for at the least, where it names one.

    :ivar connect: for the connection
    :ivar lookup: for the answer to one DNS question
    :ivar greeting: for the server's first words
    :ivar tls: for the TLS handshake
    :ivar command: for the reply to EHLO, STARTTLS, AUTH, RSET, MAIL and each RCPT
    :ivar data: for the reply to DATA
    :ivar block: for the server to take the next piece of the content
    :ivar final: for the reply to the end of data
    :ivar total: for one message over one connection until its content is sent, whatever the server
        does meanwhile; ``final`` comes on top
    """

    connect: Seconds = _some_time(30)
    lookup: Seconds = _some_time(30)
    greeting: Seconds = _some_time(300)
    tls: Seconds = _some_time(60)
    command: Seconds = _some_time(300)
    data: Seconds = _some_time(120)
    block: Seconds = _some_time(180)
    final: Seconds = _some_time(600)
    total: Seconds = _some_time(7200)


# What another configuration may bring into force while the server runs.
CHANGEABLE = ("connections_per_destination", "first_connections", "reuse_messages", "shaping")


@attrs.frozen(kw_only=True)
class RelaySettings:
    """The ``[relay]`` table.

    :ivar port: for hosts found through MX
    :ivar allow_private: whether an MX may point to loopback, private and reserved addresses. Routes
        that name a server are not concerned
    :ivar connections: how many next hops are looked up, connected to or talked to at once, counting
        each connection; messages beyond that wait. Not more than that are kept for later
    :ivar connections_per_destination: how many connections one next hop gets at once, at the most;
        messages beyond that wait for one of them
    :ivar first_connections: how many it gets once it has let us in for the first time; until then
        one
    :ivar reuse_idle: how long a connection is kept for another message; 0 closes it at once
    :ivar reuse_messages: how many messages go over one connection
    :ivar chunking: whether content goes out with BDAT where the server offers CHUNKING; binary
        content always does
    :ivar dane: whether servers have to show the certificate that their domain published in DNS
        (RFC 7672); ``None``: if the name servers validate DNSSEC
    :ivar source: addresses of this machine that mail goes out from, the ``[[relay.source]]`` tables
    :ivar convert_8bit: whether content that the next server can't take as it is, because it has
        octets beyond ASCII or is binary, is encoded for it (RFC 6152 §3); if not, it is returned.
        Encoding breaks the signatures of DKIM
    :ivar mta_sts: whether mail to a domain that publishes a policy of MTA-STS (RFC 8461) goes only
        as that policy says
    :ivar timeouts: how long is waited for what
    :ivar shaping: further limits for some destinations and providers
    """

    port: int = attrs.field(
        default=25, validator=[attrs.validators.ge(1), attrs.validators.lt(65536)]
    )
    allow_private: bool = False
    connections: int = attrs.field(default=200, validator=attrs.validators.ge(1))
    connections_per_destination: int = attrs.field(default=20, validator=attrs.validators.ge(1))
    first_connections: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    reuse_idle: Seconds = Seconds(5)
    reuse_messages: int = attrs.field(default=100, validator=attrs.validators.ge(1))
    chunking: bool = True
    convert_8bit: bool = True
    dane: bool | None = None
    mta_sts: bool = True
    source: tuple[Source, ...] = ()
    timeouts: Timeouts = Timeouts()
    shaping: tuple[ShapingTable, ...] = ()

    def __attrs_post_init__(self) -> None:
        names = [table.name for table in self.shaping]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"'shaping' has two tables of the name \"{name}\"")

    def with_limits_of(self, other: RelaySettings) -> RelaySettings:
        """These settings, with those of the other that may change while the server runs."""
        return attrs.evolve(self, **{name: getattr(other, name) for name in CHANGEABLE})
