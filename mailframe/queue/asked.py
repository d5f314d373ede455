"""Of what a sender wants to be told: the rules of NOTIFY (RFC 3461 §4.1, §5.2), as one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from mailframe.envelope import Notify, Recipient

# What a notice says of a recipient, in the words of RFC 3464 §2.3.3.
Action: TypeAlias = Literal["failed", "delayed", "delivered", "relayed", "expanded"]

_KEYWORD: Mapping[Action, Notify] = {
    "failed": "FAILURE",
    "delayed": "DELAY",
    "delivered": "SUCCESS",
    "relayed": "SUCCESS",
    "expanded": "SUCCESS",
}
_UNSAID: frozenset[Action] = frozenset(("failed", "delayed"))


def is_asked(action: Action, original: Recipient) -> bool:
    """Whether the sender is to be told.

    :param original: the recipient of the envelope, as `mailframe.entry.Entry.original` gives it
    """
    if not original.notify:
        return action in _UNSAID
    return _KEYWORD[action] in original.notify
