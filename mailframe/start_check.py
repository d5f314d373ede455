"""What is looked at before a server starts: whether its disks can keep what it will promise."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing

from twisted.logger import Logger

from mailframe.assembly import PartError
from mailframe.durability import Doubt, Folder, doubts_about
from mailframe.mounts import parse_mounts
from mailframe.settings import Settings

log = Logger()


def check_disks(settings: Settings, given: Collection[str] = ()) -> None:
    """Refuse to start where mail would not be kept as promised; doubts are logged.

    :param given: the seams whose parts a program made by itself, and answers for
    :raises PartError: the promise can't be kept, and nobody said that this is known
    """
    doubts = examine(settings, given)
    errors = [doubt for doubt in doubts if doubt.level == "error"]
    if errors and settings.durability.require_durable:
        lines = "".join(f"\n  {doubt.subject} {doubt.problem}; {doubt.mend}" for doubt in errors)
        raise PartError(
            "mail would not survive a power cut here, nor maybe a restart. Mend it, or, where that "
            f"does not matter, set require_durable = false in [queue]:{lines}"
        )
    for doubt in doubts:
        log.warn(
            "mail may not be kept: {subject} {problem}; {mend}",
            subject=doubt.subject,
            problem=doubt.problem,
            mend=doubt.mend,
        )


def examine(
    settings: Settings, given: Collection[str] = (), *, process: str = "/proc/self"
) -> list[Doubt]:
    """What there is to doubt about the places where mail is kept; nothing where it is kept in none.

    :param given: see `check_disks`
    :param process: the folder in which Linux tells about a process
    """
    kept = folders(settings, given)
    if not kept:
        return []
    mounts = parse_mounts(_read(f"{process}/mountinfo"))
    doubts = doubts_about(kept, mounts=mounts, maps=_read(f"{process}/maps"))
    if _is_sqlite(settings, given):
        doubts += _of_sqlite()
    return doubts


def folders(settings: Settings, given: Collection[str] = ()) -> list[Folder]:
    """The folders that mail is kept in, as far as the settings of the plugins tell.

    None for a queue that is known to keep nothing.
    """
    found = []
    if "queue" in settings.chosen and "queue" not in given:
        own = settings.chosen["queue"].settings
        if not getattr(own, "durable", True):
            return []
        path = getattr(own, "path", None)
        if _is_sqlite(settings, given):
            path = path or os.path.join(settings.state_dir, "queue")
        if isinstance(path, str):
            found.append(Folder(path=path, moves=("incoming", "large")))
    if "delivery" in settings.chosen and "delivery" not in given:
        path = getattr(settings.chosen["delivery"].settings, "path", None)
        if isinstance(path, str):
            # "mail/{domain}/{mailbox}": what stands before the first place is there for all
            root = os.path.dirname(path.partition("{")[0]) if "{" in path else path
            found.append(Folder(path=os.path.abspath(root), ours=False))
    return found


def _is_sqlite(settings: Settings, given: Collection[str]) -> bool:
    chosen = settings.chosen.get("queue")
    return "queue" not in given and chosen is not None and chosen.part.name == "sqlite"


def _of_sqlite() -> list[Doubt]:
    """Whether the SQLite library syncs at all."""
    with closing(sqlite3.connect(":memory:")) as connection:
        options = {option for (option,) in connection.execute("PRAGMA compile_options")}
    if "NO_SYNC" not in options:
        return []
    return [
        Doubt("error", "SQLite", "was compiled with SQLITE_NO_SYNC: it syncs nothing", "replace it")
    ]


def _read(path: str) -> str:
    """What a file of the system holds; nothing where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
