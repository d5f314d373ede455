"""What ``mailframe check`` finds in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mailframe.cli.findings import Finding
from mailframe.cli.options import Refusal
from mailframe.cli.parts import missing_queue, with_storage
from mailframe.interfaces import IQueueStorage
from mailframe.settings import Settings


async def damaged(storage: IQueueStorage) -> Sequence[tuple[str, str]]:
    """The ids of entries that can't be read, each with the reason.

    Empty for a storage that does not tell, for its interface does not ask it to.
    """
    tells: Any = getattr(storage, "damaged", None)
    return () if tells is None else await tells()


def of_queue(settings: Settings) -> list[Finding]:
    """Entries that can't be read. A queue that was not made yet is not made for this."""
    if settings.chosen["queue"].part.name != "sqlite" or missing_queue(settings) is not None:
        return []
    try:
        entries = with_storage(settings, damaged)
    except Refusal as refusal:
        return [Finding("error", "queue", refusal.message, "repair it, or restore a backup")]
    if not entries:
        return [Finding("ok", "queue", "every entry that was looked at can be read")]
    return [
        Finding(
            "error",
            "queue",
            f"{id} is damaged and set aside: {reason}",
            f"mailframe queue salvage {id} -c {settings.path} > {id}.eml,"
            f" then mailframe queue remove {id} -c {settings.path}",
        )
        for id, reason in entries
    ]
