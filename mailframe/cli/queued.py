"""Messages of the queue, as commands look for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from mailframe.cli.options import Refusal
from mailframe.cli.queue_findings import damaged
from mailframe.entry import Entry, Event
from mailframe.interfaces import IQueueStorage
from mailframe.outcome import Decision

PAGE = 500  # messages fetched at once
# Events that carry the decision where a recipient's mail went or was to go.
_ROUTED = frozenset(
    ("routed", "postponed", "throttled", "held", "delivered", "relayed", "refused", "redirected")
)


async def pages(storage: IQueueStorage) -> AsyncIterator[Sequence[Entry]]:
    """The whole queue in the order of the ids, a page at a time."""
    after = None
    while page := await storage.messages(after, PAGE):
        yield page
        after = page[-1].id


async def wanted(
    storage: IQueueStorage, ids: Sequence[str], refused: list[str]
) -> AsyncIterator[Sequence[Entry]]:
    """The messages that a command is for, some at a time.

    :param ids: these; empty: all
    :param refused: gets a line for each that is not there
    """
    if not ids:
        async for page in pages(storage):
            yield page
    for id in ids:
        try:
            yield [await find_message(storage, id)]
        except Refusal as refusal:
            refused.append(refusal.message)


async def find_message(storage: IQueueStorage, id: str) -> Entry:
    """One message.

    :raises Refusal: it is not there
    """
    entry = await storage.find(id)
    if entry is None:
        raise await not_there(storage, id)
    return entry


async def not_there(storage: IQueueStorage, id: str) -> Refusal:
    """Why there is no such message."""
    for each, reason in await damaged(storage):
        if each == id:
            what = f"{id} is damaged and set aside: {reason}"
            return Refusal(f"{what}; `mailframe queue salvage {id}` writes what is left")
    return Refusal(f"no message {id!a} is in the queue")


async def why_not_tried(storage: IQueueStorage, entry: Entry, now: float) -> str:
    """Why a message can't be made due now; ``""`` when it can."""
    if entry.held:
        return f"{entry.id} is held; `mailframe queue release {entry.id}` makes it due"
    if entry.next_attempt <= now:
        due = await storage.next_due()
        if due is None or due > now:
            # Its time has come and yet nothing waits to be claimed: somebody has it.
            return f"{entry.id} is being tried now"
    return ""


def last_routes(events: Sequence[Event]) -> dict[str, Decision]:
    """The last decision about each recipient that a history tells of, by its address."""
    return {
        str(event.recipient): Decision(reason=event.reason, rule=event.rule, plugin=event.plugin)
        for event in events
        if event.kind in _ROUTED and event.recipient is not None
    }
