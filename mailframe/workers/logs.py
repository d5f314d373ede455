"""A worker's log: events go as text to the supervising process, which logs them as its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from time import time
from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
)
from zope.interface import implementer

from mailframe.workers.messages import line


class Speaker:
    """Writes messages to the supervising process, from any thread.

    It blocks while the supervising process does not keep up, as a log file does.

    :param descriptor: a pipe
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = Lock()

    def say(self, *words: Any) -> None:
        """Send a message; who has ended is not told."""
        octets = memoryview(line(words))
        with self._lock:
            try:
                while octets:
                    octets = octets[os.write(self._descriptor, octets) :]
            except OSError:
                return


@implementer(ILogObserver)
class SpokenLog:
    """Sends events.

    :param say: `Speaker.say`
    """

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say

    def __call__(self, event: LogEvent) -> None:
        """Send one."""
        level = event.get("log_level") or LogLevel.info
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        namespace = event.get("log_namespace", "-")
        self._say("log", event.get("log_time", time()), level.name, namespace, text)


def observer(speaker: Speaker, level: str) -> ILogObserver:
    """Sends the events from a level on.

    :param level: its name
    """
    predicate = LogLevelFilterPredicate(LogLevel.levelWithName(level))
    return FilteringLogObserver(SpokenLog(speaker.say), [predicate])


def publish(
    publisher: ILogObserver, number: int, at: float, level: str, namespace: str, text: str
) -> None:
    """Log in the supervising process what a worker said.

    :param publisher: `twisted.logger.globalLogPublisher`
    :param number: the worker's
    """
    publisher(
        {
            "log_time": at,
            "log_level": LogLevel.levelWithName(level),
            "log_namespace": namespace,
            "log_system": f"{number} {namespace}#{level}",
            "log_format": "{text}",
            "text": text,
            "worker": number,
        }
    )
