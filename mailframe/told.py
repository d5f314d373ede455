"""Whether what happens to single messages is told in the log.

To put a line of the log together costs more than some of what it tells of. Where nobody can see it,
as the log begins at a higher level, that is spared. Unless whoever begins the log says so, all is
told.
"""

from __future__ import annotations

from twisted.logger import LogLevel

_everything = [True]


def begin_at(level: str) -> None:
    """The log of this process begins at a level, and has no other observers.

    :param level: its name
    """
    _everything[0] = LogLevel.levelWithName(level) <= LogLevel.info


def is_told() -> bool:
    """Whether anybody may see what is logged at level ``info``."""
    return _everything[0]
