"""What ``mailframe check`` finds out about the disks that mail is kept on."""

from __future__ import annotations

from mailframe.cli.findings import Finding
from mailframe.settings import Settings
from mailframe.start_check import examine, folders

ACCEPT = "or accept it: require_durable = false in [queue]"


def of_disks(settings: Settings) -> list[Finding]:
    """Whether queue and mailboxes survive a power cut where they are; as at the server's start."""
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
