"""What a routing rule may say after ``via``, read and checked without opening anything."""

from __future__ import annotations

import re
from typing import Any, Literal, TypeAlias

import attrs
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import (
    IReactorPluggableNameResolver,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import getPlugins
from zope.interface import implementer

from mailframe.address import Address, AddressError, normal_domain
from mailframe.config_errors import nearest

Kind: TypeAlias = Literal["hops", "local", "redirect", "hold", "reject", "map"]

MX = "mx:"
MAP = "map:"
_REJECT = "reject:"
_HOLD = "hold"
_REDIRECT = "redirect:"
_ALONE = (_REJECT, f"{_HOLD}:", _REDIRECT, MAP)  # no one of several
_PARTS = ("local", "domain")
_PLACE = re.compile(rf"\$({'|'.join(_PARTS)})\b")
_WORD = re.compile(r"\$(?:\{(\w+)\}|(\w+))")  # as shells have it as well
_ALLOWED = (
    'a Twisted client endpoint string such as "tcp:127.0.0.1:2600", "tls:smarthost.example:465" or '
    '"unix:/run/lmtp.sock" (or a list of them), "mx", "mx:other.example", "local", '
    '"redirect:user@other.example" (or a list of them; $local and $domain stand for those of the '
    'recipient), "hold", "hold:reason", "reject:reason", "map:name"'
)
_WITH_PORT = ("tcp", "ssl", "tls")
_BUILT_IN = (*_WITH_PORT, "unix")


@attrs.frozen(kw_only=True)
class Target:
    """An address to redirect to; in both parts ``$local`` and ``$domain`` stand for those of the
    recipient.

    :ivar text: as it was written
    :ivar local_part: without its quoting
    """

    text: str
    local_part: str
    domain: str

    def address(self, recipient: Address) -> Address:
        """The address for a recipient.

        :raises AddressError: with the parts of this recipient it is none
        """
        parts = {"local": recipient.local_part, "domain": recipient.domain}
        local_part = _PLACE.sub(lambda place: parts[place[1]], self.local_part)
        domain = _PLACE.sub(lambda place: parts[place[1]], self.domain)
        return Address(local_part, normal_domain(domain))


@attrs.frozen(kw_only=True)
class Via:
    """Where a rule sends mail.

    :ivar kind: to servers, into a mailbox here, to other addresses, into the queue until an
        operator decides, or nowhere; or where a map says
    :ivar where: for ``hops``: endpoint strings, ``mx:`` with a domain in normal form, or ``mx`` for
        the recipient's own domain
    :ivar targets: for ``redirect``
    :ivar reason: for ``reject``: what the client is told; for ``hold``: what the operator is told,
        or ``""``
    :ivar map: for ``map``: its name
    """

    kind: Kind
    where: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()
    reason: str = ""
    map: str = ""

    @property
    def uses_mx(self) -> bool:
        """Whether mail exchangers are looked up for one of the hops."""
        return any(where == "mx" or where.startswith(MX) for where in self.where)


def parse_via(value: str | tuple[str, ...]) -> Via:
    """Read the value of ``via``.

    :raises ValueError: it can't be used; the message says what is allowed
    """
    texts = (value,) if isinstance(value, str) else tuple(value)
    if not texts:
        raise ValueError(f"via names nothing; allowed: {_ALLOWED}")
    if len(texts) == 1 and texts[0] == "local":
        return Via(kind="local")
    if len(texts) == 1 and texts[0].startswith(_REJECT):
        return Via(kind="reject", reason=_reason(texts[0], _REJECT))
    if len(texts) == 1 and texts[0] == _HOLD:
        return Via(kind="hold")
    if len(texts) == 1 and texts[0].startswith(f"{_HOLD}:"):
        return Via(kind="hold", reason=_reason(texts[0], f"{_HOLD}:"))
    if len(texts) == 1 and texts[0].startswith(MAP):
        return Via(kind="map", map=_reason(texts[0], MAP, "name"))
    if all(text.startswith(_REDIRECT) for text in texts):
        return Via(kind="redirect", targets=tuple(map(_parse_target, texts)))
    return Via(kind="hops", where=tuple(map(_parse_hop, texts)))


def _reason(text: str, prefix: str, what: str = "reason") -> str:
    reason = text.removeprefix(prefix).strip()
    if not reason:
        raise _refused(text, f"the {what} is missing")
    if not (reason.isascii() and reason.isprintable()):
        raise _refused(text, f"the {what} holds a character that is not printable ASCII")
    return reason


def _parse_target(text: str) -> Target:
    local_part, _, domain = text.removeprefix(_REDIRECT).strip().rpartition("@")
    for place in _WORD.finditer(local_part):
        meant = nearest(place[1] or place[2], _PARTS)
        if meant is not None and place[2] not in _PARTS:
            raise _refused(text, f"{place[0]} stands for nothing", f"${meant}")
    try:
        # A $ may stand in any local part, but in no domain.
        sample = _PLACE.sub("name", domain)
        local_part = Address.parse(f"{local_part}@{sample}").local_part
    except AddressError as error:
        raise _refused(text, str(error)) from None
    return Target(text=text.removeprefix(_REDIRECT).strip(), local_part=local_part, domain=domain)


def _parse_hop(text: str) -> str:
    if text == "mx":
        return text
    if text.startswith(MX):
        try:
            return MX + normal_domain(text.removeprefix(MX))
        except AddressError as error:
            raise _refused(text, str(error)) from None
    if text in ("local", _HOLD) or text.startswith(_ALONE):
        raise _refused(text, "it can't be one of several")
    _check_endpoint(text)
    return text


def _check_endpoint(text: str) -> None:
    kind, colon, _ = text.partition(":")
    if not (text.isascii() and text.isprintable()):
        raise _refused(text, "it holds a character that is not printable ASCII")
    if kind.lower() not in _BUILT_IN:
        # What other parsers do with a reactor is not known here: the kind alone is checked.
        plugins = getPlugins(IStreamClientEndpointStringParserWithReactor)
        known = {*_BUILT_IN, *(plugin.prefix.lower() for plugin in plugins)}
        if kind.lower() not in known or not colon:
            meant = nearest(kind, {*known, "mx", "local", "redirect", "hold", "reject", "map"})
            raise _refused(text, "it is no endpoint", meant)
        return
    if kind.lower() in _WITH_PORT:
        _check_host_and_port(text)
    elif text.lower() in ("unix:", "unix:path="):
        raise _refused(text, "the path is missing")
    try:
        # twisted.internet.endpoints has no annotations here
        clientFromString(_Nowhere(), text)  # type: ignore[no-untyped-call]
    except Exception as error:  # endpoint parsers raise whatever they like
        raise _refused(text, f"{type(error).__name__}: {error}") from None


def _check_host_and_port(text: str) -> None:
    """Parts are divided by colons; a backslash stands before a colon that belongs to a part."""
    parts = [part.replace("\0", ":") for part in text.replace("\\:", "\0").split(":")[1:]]
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    plain = [part for part in parts if "=" not in part]
    host = named.get("host", plain[0] if plain else "")
    port = named.get("port", plain[-1] if len(plain) > ("host" not in named) else "")
    if not host:
        raise _refused(text, "the host is missing")
    if not port:
        raise _refused(text, "the port is missing")
    if len(plain) > 2:
        raise _refused(text, "it has too many parts; a colon in an IPv6 address is written \\:")
    if not (port.isdecimal() and 0 < int(port) <= 65535):
        raise _refused(text, f"{port!r} is not a port")


def _refused(text: str, why: str, meant: str | None = None) -> ValueError:
    hint = f'; did you mean "{meant}"?' if meant else ""
    return ValueError(f"{text!r} can't be used: {why}; allowed: {_ALLOWED}{hint}")


@implementer(IReactorPluggableNameResolver)
class _Nowhere:
    """As much of a reactor as it takes to make an endpoint that is never connected."""

    nameResolver: Any = None

    def installNameResolver(self, resolver: Any) -> Any:
        """Nothing is ever resolved."""
        return resolver
