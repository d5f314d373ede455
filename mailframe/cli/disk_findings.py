"""What ``mailframe check`` finds out about the disks that mail is kept on."""

from __future__ import annotations

import os

from mailframe.cli.findings import Finding
from mailframe.queue.room import free_at
from mailframe.settings import Settings
from mailframe.start_check import examine, folders

ACCEPT = "or accept it: require_durable = false in [queue]"


def of_disks(settings: Settings) -> list[Finding]:
    """Whether queue and mailboxes survive a power cut where they are; as at the server's start."""
    return [*_of_doubts(settings), *_of_room(settings)]


def _of_doubts(settings: Settings) -> list[Finding]:
    doubts = examine(settings)
    if not doubts:
        kept = folders(settings)
        return (
            [Finding("ok", "disk", "keeps what it is given, as far as that shows")] if kept else []
        )
    required = settings.durability.require_durable
    return [
        Finding(
            doubt.level if required else "warn",
            "disk",
            f"{doubt.subject} {doubt.problem}",
            f"{doubt.mend}, {ACCEPT}" if required and doubt.level == "error" else doubt.mend,
        )
        for doubt in doubts
    ]


def _of_room(settings: Settings) -> list[Finding]:
    """Whether there is more than the reserve on the queue's disk."""
    own = settings.chosen["queue"].settings
    reserve, files = getattr(own, "reserve", None), getattr(own, "reserve_files", 0)
    if reserve is None:
        return []
    folder = own.path or os.path.join(settings.state_dir, "queue")
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        free = free_at(folder)
    except OSError as error:
        return [Finding("error", "disk", f"{folder}: {error.strerror or error}", "repair it")]
    if free.octets > reserve and free.files > files:
        return []
    return [
        Finding(
            "error",
            "disk",
            f"{free.octets:.0f} octets and {free.files:g} files are left for the queue, which is "
            "not more than the reserve: every message is refused with 452",
            "make room, or lower reserve and reserve_files in [queue]",
        )
    ]
