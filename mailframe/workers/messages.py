"""What a supervising process and its workers say to each other: JSON, one line each.

To the worker, over its standard input: first a `Greeting`, then an `Order` each time the
configuration was read again. The end of this input means that it is to stop, or that the
supervising process has ended.

From the worker, over a descriptor of its own: ``["log", time, level, namespace, text]``, then
``["ready"]`` once it serves, or ``["failed", reason]`` when it can't start; and ``["alive"]`` every
few seconds from then on.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from mailframe.certificates import KeyPair

ALIVE_EVERY = 5.0  # seconds between two signs of life


@attrs.frozen(kw_only=True)
class Order:
    """A configuration to use.

    :ivar text: what the file holds
    :ivar pair: certificate and key, which a worker may not be allowed to read
    """

    text: str
    pair: KeyPair | None


@attrs.frozen(kw_only=True)
class Greeting:
    """What a worker is to know at its start.

    :ivar worker: its number, from 1 on
    :ivar workers: how many there are
    :ivar path: of the configuration file
    :ivar first: the configuration that the sockets were opened for
    :ivar latest: the one in force, where it was read again since then
    :ivar sockets: the descriptors of the listening sockets, in the order of the first
        configuration's endpoint strings
    :ivar reactor: the module of the reactor to use
    :ivar log_level: the lowest level that is logged
    """

    worker: int
    workers: int
    path: str
    first: Order
    latest: Order | None
    sockets: tuple[int, ...]
    reactor: str
    log_level: str


def line(message: Any) -> bytes:
    """A message as it is sent: anything of JSON, or a `Greeting` or `Order`."""
    if attrs.has(type(message)):
        message = attrs.asdict(message, value_serializer=_without_octets)
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def read_greeting(octets: bytes) -> Greeting:
    """The greeting that a line holds."""
    values = json.loads(octets)
    values["first"] = _order(values["first"])
    values["latest"] = values["latest"] and _order(values["latest"])
    values["sockets"] = tuple(values["sockets"])
    return Greeting(**values)


def read_order(octets: bytes) -> Order:
    """The order that a line holds."""
    return _order(json.loads(octets))


def _order(values: dict[str, Any]) -> Order:
    pair = values["pair"]
    if pair is not None:
        pair = {k: v.encode("latin-1") if k in _OCTETS else v for k, v in pair.items()}
        pair = KeyPair(**pair)
    return Order(text=values["text"], pair=pair)


_OCTETS = ("certificate", "private_key")


def _without_octets(_instance: object, _field: object, value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Lines:
    """Puts lines together again from what a pipe gives."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, octets: bytes) -> list[bytes]:
        """The lines that are whole by now, without their ends."""
        *lines, self._rest = (self._rest + octets).split(b"\n")
        return lines

    def end(self) -> list[bytes]:
        """What is left when nothing more comes."""
        return [self._rest] if self._rest else []
