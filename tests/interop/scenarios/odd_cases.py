"""What becomes of messages for the servers of `odd_server`."""

from __future__ import annotations

import attrs

RELAYED, POSTPONED, REFUSED = "relayed", "postponed", "refused"
_LOGIN = 'tls = "require"\nlogin = "angelo"\npassword_file = "smarthost.password"\n'


@attrs.frozen(kw_only=True)
class Odd:
    """Messages for one server.

    :ivar name: their domain is ``NAME.example``
    :ivar way: the server's
    :ivar outcomes: what is recorded of each recipient
    :ivar reply: what is told of those who did not get it
    :ivar route: keys of the routing rule
    :ivar messages: how many of them, one after the other
    :ivar local_part: of the recipients, with a number for each
    """

    name: str
    way: str
    outcomes: tuple[str, ...] = (RELAYED,)
    reply: str = ""
    route: str = ""
    messages: int = 1
    local_part: str = "kim"


def _once(name: str, outcome: str, reply: str = "", route: str = "", way: str = "") -> Odd:
    return Odd(name=name, way=way or name, outcomes=(outcome,), reply=reply, route=route)


REQUIRE = 'tls = "require"\n'
ODD = (
    # Octets at odd times, and too many of them.
    _once("dripping", RELAYED),
    _once("wordy", POSTPONED, "lines"),
    _once("longline", POSTPONED, "line"),
    _once("foreign", POSTPONED, "reply"),
    _once("eager", POSTPONED, "it sent a reply to nothing"),
    _once("escaping", REFUSED, "550 5.1.1 "),
    _once("confused", POSTPONED, "250"),
    # TLS that fails: what may go in clear goes so, and nothing else.
    _once("secure", RELAYED, route=REQUIRE),
    _once("notls", POSTPONED, "TLS", REQUIRE, way="plain"),
    _once("refusingtls", RELAYED),
    _once("norefusingtls", POSTPONED, "454 4.7.0", REQUIRE, way="refusingtls"),
    _once("breakingtls", RELAYED),
    _once("nobreakingtls", POSTPONED, "4.7.5", REQUIRE, way="breakingtls"),
    _once("injectingtls", POSTPONED, "4."),
    # A smarthost that wants a login.
    _once("login", RELAYED, route=_LOGIN),
    _once("nologin", POSTPONED, "535 5.7.8 no such login", _LOGIN),
    _once("loginlater", POSTPONED, "454 4.7.0 ask again later", _LOGIN),
    # What a server does not take is not sent to it.
    _once("small", REFUSED, "5.3.4"),
    Odd(name="ascii", way="plain", outcomes=(REFUSED,), reply="5.6.7", local_part="käthe"),
    # Some of the recipients, and all of them in the end.
    Odd(name="few", way="few", outcomes=(RELAYED,) * 5),
    Odd(
        name="lmtp",
        way="lmtp",
        outcomes=(RELAYED, REFUSED, POSTPONED),
        reply="552 5.2.2 over quota",
        route='protocol = "lmtp"\n',
    ),
    # Connections that were kept, and are gone when they are needed.
    Odd(name="leaving", way="leaving", messages=3),
    Odd(name="impatient", way="impatient", messages=3),
)
