"""How envelopes, recipients and events are written down: JSON, one text each.

Never by line and never a pickle: what a peer sent stands inside JSON strings. Defaults are left
out, so that the texts stay small and a field added later reads as its default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import cattrs
from cattrs.gen import make_dict_unstructure_fn

from mailframe.address import Address
from mailframe.entry import Event, QueuedRecipient
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.reply import Reply


class DamagedEntry(ValueError):
    """What was kept can't be read back. ``str(error)`` says what is wrong with it."""


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(Address, str)
    converter.register_structure_hook(Address, lambda text, _: Address.parse(text))
    for cls in (Reply, Permit, Recipient, Client, Envelope, QueuedRecipient, Event):
        converter.register_unstructure_hook(
            cls, make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True)
        )
    return converter


_converter_ = _converter()
_dumps = json.JSONEncoder(separators=(",", ":")).encode


def dump_envelope(envelope: Envelope) -> str:
    """Write an envelope down."""
    return _dumps(_converter_.unstructure(envelope))


def load_envelope(text: str) -> Envelope:
    """Read an envelope back. :raises DamagedEntry: it isn't one"""
    envelope: Envelope = _load(text, Envelope)
    return envelope


def dump_recipients(recipients: Iterable[QueuedRecipient]) -> str:
    """Write the state of a message's recipients down."""
    return _dumps([_converter_.unstructure(recipient) for recipient in recipients])


def load_recipients(text: str) -> tuple[QueuedRecipient, ...]:
    """Read the state of a message's recipients back. :raises DamagedEntry: it can't be read"""
    return tuple(_load(text, list[QueuedRecipient]))


def dump_events(events: Iterable[Event]) -> str:
    """Write a part of a message's history down."""
    return _dumps([_converter_.unstructure(event) for event in events])


def load_events(text: str) -> list[Event]:
    """Read a part of a message's history back. :raises DamagedEntry: it can't be read"""
    events: list[Event] = _load(text, list[Event])
    return events


def _load(text: str, kind: Any) -> Any:
    try:
        return _converter_.structure(json.loads(text), kind)
    except Exception as error:  # cattrs raises groups, json and attrs ValueErrors, all for bad data
        raise DamagedEntry(f"{type(error).__name__}: {error}") from error
