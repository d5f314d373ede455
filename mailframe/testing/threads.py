"""Work that production does in a thread, done at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute


def in_thread(function: Callable[..., Any], *args: Any, **keywords: Any) -> Deferred[Any]:
    """``Site.in_thread`` for tests: calls the function at once, in the calling thread.

    :returns: a Deferred that has fired already, with the result or the exception
    """
    return execute(function, *args, **keywords)
