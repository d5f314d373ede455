"""How many files and sockets the process may have open.

Systems let a process have 1,024 of them unless it asks for more, so that programs which can't cope
with large descriptors are safe; and let it ask for many times that. A POP3 session with a Maildir
takes six, and the servers together let in thousands of clients.
"""

from __future__ import annotations

import resource
from contextlib import suppress


def allow_all() -> None:
    """Allow the process, and those it starts, all that the system lets it have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A system may say that there is no limit, and then refuse to do without one.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
