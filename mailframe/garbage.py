"""How often Python looks for garbage that refers to itself, in a process that is a server.

What hardly any message leaves behind is looked for often, by default: each time the messages that
are under way have 700 objects more than a moment ago. And each time that was in vain, what was
looked at is taken for something that stays, until all that the process has is looked at. That is a
tenth of what Python does for a message.
"""

from __future__ import annotations

import gc

OBJECTS = 10_000  # more than a moment ago, as they are in a few MB


def collect_seldom() -> None:
    """From now on look for garbage seldom, and never again at what is there now.

    To be called when all parts of the server are built. It holds for the whole process, and is for
    programs to call, not for what is embedded in one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS, *gc.get_threshold()[1:])
