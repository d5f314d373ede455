"""The ``[limits]`` table: how much of everything a peer may use."""

from __future__ import annotations

import attrs

from mailframe.units import Octets, Seconds

_AT_LEAST_ONE = attrs.validators.ge(1)
_NOT_NEGATIVE = attrs.validators.ge(0)
_SOME_TIME = attrs.validators.ge(Seconds(1.0))  # seconds: with less nobody could be served


@attrs.frozen(kw_only=True)
class Limits:
    """What a listening server allows. All have defaults that suit an ordinary mail server.

    :ivar message_size: octets of a message, shown as SIZE; 0 for no limit
    :ivar header_size: octets of a message's header section
    :ivar recipients: recipients in one transaction; RFC 5321 §4.5.3.1.8 asks for 100 at least
    :ivar received_hops: ``Received`` fields from which on a message counts as looping (RFC 5321
        §6.3)
    :ivar command_line: octets of a command line with its CRLF
    :ivar data_line: octets of a line of a message with its CRLF (RFC 5321 §4.5.3.1.6); 0 for no
        limit
    :ivar errors: errors in one connection without a message handed over, then 421
    :ivar junk_commands: commands that do nothing for a message, such as NOOP, before each counts
        as an error
    :ivar login_failures: failed logins in one connection that are answered at once; as many more
        are answered after a growing delay, then 421
    :ivar login_failures_per_address: failed logins from one IP address, or one IPv6 /64, within
        ``login_window`` and over all connections to all servers, those that were broken off
        included; then no login from there is tried until the window is over; 0 for no limit
    :ivar login_failures_per_login: the same of one login, from wherever
    :ivar login_window: how long failed logins count, from the first one on
    :ivar login_delay: how long a POP3 client waits between two logins to a mailbox, shown as
        LOGIN-DELAY (RFC 2449 §6.5); 0 for no limit
    :ivar connections: connections to one listening server at a time
    :ivar connections_per_address: of these, from one IP address
    :ivar connections_per_network: of these, from one network: an IPv4 /24 or an IPv6 /64
    :ivar idle: how long a client may take for its next command (RFC 5321 §4.5.3.2.7) or for more of
        a message; and half of what it has from its connection to its first MAIL or login
    :ivar data_rate: octets of a message per second that must come on the average, once ``idle`` is
        over; 0 for no limit
    :ivar transaction: how long a client may take from MAIL to the end of the message
    :ivar session: how old a connection may become; a transaction under way is finished first
    :ivar hold: for how long at most a client that has logged in to a ``submission`` server may have
        a message held back before its first attempt (RFC 4865); 0: it may not
    :ivar plugin_time: how long a plugin may take to answer
    :ivar commit_time: how long the queue may take to keep a message that was received whole; the
        client waits ten minutes (RFC 5321 §4.5.3.2.6)
    """

    message_size: Octets = Octets(25_000_000)
    header_size: Octets = attrs.field(
        default=Octets(100 * 1024), validator=attrs.validators.ge(Octets(1))
    )
    recipients: int = attrs.field(default=1000, validator=_AT_LEAST_ONE)
    received_hops: int = attrs.field(default=50, validator=_AT_LEAST_ONE)
    command_line: Octets = attrs.field(
        default=Octets(512), validator=attrs.validators.ge(Octets(64))
    )
    data_line: Octets = Octets(1000)
    errors: int = attrs.field(default=20, validator=_AT_LEAST_ONE)
    junk_commands: int = attrs.field(default=100, validator=_NOT_NEGATIVE)
    login_failures: int = attrs.field(default=3, validator=_AT_LEAST_ONE)
    login_failures_per_address: int = attrs.field(default=20, validator=_NOT_NEGATIVE)
    login_failures_per_login: int = attrs.field(default=20, validator=_NOT_NEGATIVE)
    login_window: Seconds = attrs.field(default=Seconds(900.0), validator=_SOME_TIME)
    login_delay: Seconds = Seconds(0.0)
    connections: int = attrs.field(default=1000, validator=_AT_LEAST_ONE)
    connections_per_address: int = attrs.field(default=100, validator=_AT_LEAST_ONE)
    connections_per_network: int = attrs.field(default=300, validator=_AT_LEAST_ONE)
    idle: Seconds = attrs.field(default=Seconds(300.0), validator=_SOME_TIME)
    data_rate: Octets = Octets(50)
    transaction: Seconds = attrs.field(default=Seconds(3600.0), validator=_SOME_TIME)
    session: Seconds = attrs.field(default=Seconds(14400.0), validator=_SOME_TIME)
    hold: Seconds = Seconds(2592000.0)
    plugin_time: Seconds = attrs.field(default=Seconds(30.0), validator=_SOME_TIME)
    commit_time: Seconds = attrs.field(default=Seconds(300.0), validator=_SOME_TIME)
