"""What the server's parts log while the command runs them: errors, a line each, on stderr."""

from __future__ import annotations

import sys

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner
from zope.interface import provider


def log_to_stderr() -> None:
    """Begin logging: errors in one line without a traceback, and nothing else."""
    globalLogBeginner.beginLoggingTo([write_line], redirectStandardIO=False, discardBuffer=True)


@provider(ILogObserver)
def write_line(event: LogEvent) -> None:
    """Write an error as one line on stderr."""
    if event.get("log_level", LogLevel.info) < LogLevel.error:
        return
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text = f"{text}: {failure.getErrorMessage()}"
    sys.stderr.write(f"mailframe: {text.encode('unicode_escape').decode('ascii')}\n")
