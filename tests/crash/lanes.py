"""Parts of a campaign side by side, each in a process with a world of its own.

In a round much is waited for: a server that starts, a mail that is tried again. Meanwhile others
use the processors. A part that is done is handed back, and can be kept in a file, so that a
campaign that was broken off, or that is to have more rounds, goes on where it ended.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import attrs
import cattrs

from tests.crash.disks import Unavailable
from tests.crash.zygote import PR_SET_PDEATHSIG, Zygote

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Part(Protocol[R_co]):
    """A part of a campaign."""

    def __call__(self, zygote: Zygote, *, progress: Callable[[Any], None]) -> R_co:
        """Do it. :param progress: called with the report now and then"""


@attrs.define
class Kept(Generic[R]):
    """The reports of parts that are done, in a file, if there is to be one.

    :param path: of the file; empty: none
    :param campaign: what they are parts of
    """

    path: str
    campaign: str

    def read(self, kind: type[R]) -> dict[int, R]:
        """The reports, each by its part's number."""
        return {int(n): cattrs.structure(each, kind) for n, each in self._all_here().items()}

    def add(self, number: int, report: R) -> None:
        """One more."""
        if not self.path:
            return
        everything = self._everything()
        everything.setdefault(self.campaign, {})[str(number)] = cattrs.unstructure(report)
        written = Path(f"{self.path}.tmp")
        written.write_text(json.dumps(everything))
        written.replace(self.path)

    def _all_here(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._everything().get(self.campaign, {})
        return found

    def _everything(self) -> dict[str, Any]:
        with suppress(FileNotFoundError):
            if self.path:
                everything: dict[str, Any] = json.loads(Path(self.path).read_text())
                return everything
        return {}


class Failed(Exception):
    """A part came to no end; the message says why."""


def side_by_side(
    parts: Mapping[int, Part[R]],
    lanes: int,
    told: Callable[[int, R, bool], None],
) -> None:
    """Do parts of a campaign, some of them at once.

    :param parts: by their numbers
    :param lanes: how many at once, at the most
    :param told: called with a part's number, its report and whether it is done
    :raises Unavailable: that can't be found out here
    :raises Failed: a part came to no end
    """
    context = multiprocessing.get_context("fork")
    left = [*parts.items()][::-1]
    running: dict[Connection, ForkProcess] = {}
    try:
        for _ in range(min(lanes, len(parts))):
            ours, theirs = context.Pipe()
            lane = context.Process(target=_work, args=(theirs,))
            lane.start()
            theirs.close()
            running[ours] = lane
            ours.send(left.pop())
        while running:
            for ready in wait([*running]):
                assert isinstance(ready, Connection)
                if not _hear(ready, told):
                    continue
                if left:
                    ready.send(left.pop())
                else:
                    ready.send(None)
                    ready.close()
                    running.pop(ready).join()
    finally:
        for lane in running.values():
            lane.terminate()
            lane.join(30)


def _hear(lane: Connection, told: Callable[[int, R, bool], None]) -> bool:
    """Hear what a lane has to say; whether it has nothing to do any more."""
    try:
        word, number, what = lane.recv()
    except EOFError:
        raise Failed("a lane has died") from None
    if word == "unavailable":
        raise Unavailable(what)
    if word == "failed":
        raise Failed(f"part {number}: {what}")
    told(number, what, word == "done")
    return bool(word == "done")


def _work(connection: Connection) -> None:
    """Do one part after the other, in a process of its own."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    with closing(Zygote()) as zygote:
        while (task := connection.recv()) is not None:
            number, part = task

            def progress(report: Any, number: int = number) -> None:
                connection.send(("progress", number, report))

            try:
                report = part(zygote, progress=progress)
            except Unavailable as error:
                connection.send(("unavailable", number, str(error)))
            except Exception:
                connection.send(("failed", number, traceback.format_exc()))
            else:
                connection.send(("done", number, report))
