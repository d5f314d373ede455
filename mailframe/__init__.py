"""mailframe: a pluggable mail server framework on Twisted.

`MailServer` is the whole server as a Twisted service; what a plugin's author needs is in
`mailframe.interfaces`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mailframe.embedding import SendHandle, Settled
    from mailframe.service import MailServer

__all__ = ["MailServer", "SendHandle", "Settled"]

_WHERE = {
    "MailServer": "mailframe.service",
    "SendHandle": "mailframe.embedding",
    "Settled": "mailframe.embedding",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: a drop-in that imports `mailframe.plugin` needs none."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)
