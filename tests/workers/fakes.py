"""Processes that are not there."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.python.failure import Failure

from mailframe.testing.network import VirtualReactor
from mailframe.workers.messages import line
from mailframe.workers.place import TO_PARENT


class FakeProcess:
    """A process as its parent sees it."""

    def __init__(self, protocol: Any, pid: int) -> None:
        self.protocol = protocol
        self.pid = pid
        self.written: list[bytes] = []
        self.signals: list[str] = []
        self.stdin_is_open = True
        self.has_ended = False

    def write(self, octets: bytes) -> None:
        """The parent says something."""
        self.written.append(octets)

    def closeStdin(self) -> None:
        """The parent has nothing more to say."""
        self.stdin_is_open = False

    def signalProcess(self, name: str) -> None:
        """The parent sends a signal."""
        if self.has_ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def say(self, *words: Any) -> None:
        """The process tells its parent something."""
        self.protocol.childDataReceived(TO_PARENT, line(words))

    def print(self, octets: bytes, descriptor: int = 2) -> None:
        """The process prints."""
        self.protocol.childDataReceived(descriptor, octets)

    def end(self, code: int | None = 0, number: int | None = None) -> None:
        """The process ends, with an exit status or by a signal."""
        self.has_ended = True
        done = ProcessDone(0) if code == 0 else ProcessTerminated(code, number, 0)
        failure: Any = Failure(done)  # type: ignore[no-untyped-call]  # Twisted's
        self.protocol.processEnded(failure)


class ProcessReactor(VirtualReactor):
    """A virtual reactor that starts no real processes either."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.started: list[dict[str, Any]] = []
        self.trouble: OSError | None = None
        self.stopped = 0

    def spawnProcess(self, protocol: Any, executable: str, args: Any, **options: Any) -> None:
        """Note what was asked for."""
        if self.trouble:
            raise self.trouble
        process = FakeProcess(protocol, 100 + len(self.processes))
        self.processes.append(process)
        self.started.append({"executable": executable, "args": args, **options})
        protocol.transport = process

    def stop(self) -> Any:
        """Note that it was asked to end."""
        self.stopped += 1
