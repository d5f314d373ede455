"""The time from the final dot to the 250, at a rate that a server can bear.

A process of its own does the work, with no more Python between the sockets and the clock than there
must be. Messages begin at times that were drawn before, whether or not earlier ones were answered:
otherwise a server that stands still for a moment would be asked less, and look quick. The sessions
are kept; the envelope is sent in one write (PIPELINING).

    python -m benchmarks.against_postfix.latency PORT RATE SECONDS RECIPIENT
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence

import attrs

from benchmarks.programs import PATIENCE, Failed, run

SESSIONS = 50
SIZE = 4096
WARM_UP = 1.0  # seconds that don't count


@attrs.frozen(kw_only=True)
class Latency:
    """What was measured, in seconds.

    :ivar late: the part of the messages that had to wait more than 10 ms for a session
    """

    p50: float
    p99: float
    longest: float
    rate: float
    late: float


def percentile(sorted_values: Sequence[float], part: float) -> float:
    """The value that so great a part of the values does not exceed."""
    return sorted_values[min(int(len(sorted_values) * part), len(sorted_values) - 1)]


def measure(port: int, rate: float, seconds: float, recipient: str) -> Latency:
    """Measure in another process.

    :param rate: messages a second
    """
    module = "benchmarks.against_postfix.latency"
    arguments = (str(port), f"{rate:.3f}", f"{seconds:g}", recipient)
    printed = run(sys.executable, "-m", module, *arguments, patience=seconds + PATIENCE)
    return Latency(**json.loads(printed))


class _Session:
    """One connection, that is idle or waits for the answer to one message."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._read_replies(1)
        self.socket.sendall(b"EHLO client.example\r\n")
        self._read_replies(1)
        self.dot = 0.0  # when the final dot was sent; 0 before

    def _read_replies(self, wanted: int) -> None:
        while not self.has_replies(wanted):
            pass

    def has_replies(self, wanted: int) -> bool:
        """Read, and tell whether so many replies have come; then they are forgotten."""
        octets = self.socket.recv(65536)
        if not octets:
            raise Failed(f"the server closed the connection after {self._received!r}")
        self._received += octets
        if not self._received.endswith(b"\r\n"):
            return False
        lines = [line for line in self._received.splitlines() if line[3:4] != b"-"]
        if any(line[:1] not in b"23" for line in lines):
            raise Failed(f"the server said {self._received!r}")
        if len(lines) < wanted:
            return False
        self._received = b""
        return True


def drive(port: int, rate: float, seconds: float, recipient: str) -> Latency:
    """Send messages, and measure."""
    envelope = f"MAIL FROM:<a@far.example>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
    line = b"x" * 78 + b"\r\n"
    content = b"From: a@far.example\r\nSubject: latency\r\n\r\n" + line * (SIZE // len(line))
    content += b".\r\n"
    draws = random.Random(821)
    sessions = {(each := _Session(port)).socket.fileno(): each for _ in range(SESSIONS)}
    idle = deque(sessions.values())
    poll = select.epoll()
    for descriptor in sessions:
        poll.register(descriptor, select.EPOLLIN)
    taken: list[float] = []
    late = started = 0
    now = begin = time.perf_counter()
    end = begin + WARM_UP + seconds
    following = begin
    while now < end or len(idle) < SESSIONS:
        while idle and following <= now < end:
            session = idle.popleft()
            session.socket.sendall(envelope)
            started += 1
            late += now - following > 0.01
            following += draws.expovariate(rate)
        wait = max(following - now, 0) if idle and now < end else 1.0
        for descriptor, _ in poll.poll(wait):
            session = sessions[descriptor]
            if not session.dot:
                if session.has_replies(3):
                    session.dot = time.perf_counter()
                    session.socket.sendall(content)
            elif session.has_replies(1):
                answered = time.perf_counter()
                if session.dot - begin > WARM_UP:
                    taken.append(answered - session.dot)
                session.dot = 0.0
                idle.append(session)
        now = time.perf_counter()
        if now > end + PATIENCE:
            raise Failed("the server doesn't answer any more")
    taken.sort()
    return Latency(
        p50=percentile(taken, 0.5),
        p99=percentile(taken, 0.99),
        longest=taken[-1],
        rate=started / (WARM_UP + seconds),
        late=late / started,
    )


if __name__ == "__main__":
    _, _port, _rate, _seconds, _recipient = sys.argv
    print(json.dumps(attrs.asdict(drive(int(_port), float(_rate), float(_seconds), _recipient))))
