"""Destinations that take one octet a second, beside one that is fast."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.interop.programs import free_ports
from tests.interop.scenarios.faulty_servers import FaultyServersCase

MESSAGES = 300  # for each destination: more than the queue tries at a time
SLOW_SINK = Path(__file__).with_name("slow_sink.py")
CUSTOMERS = (
    'plugin = "providers"\n[[authorisation.provider]]\nname = "load"\nnetworks = ["127.0.0.0/8"]\n'
)


class SlowDestinationTests(FaultyServersCase):
    """All of the mail would wait for those who take it slowest."""

    def start_slow_sink(self, port: int, stage: str) -> Path:
        """Returns the file that it prints to."""
        process = self.start(sys.executable, SLOW_SINK, str(port), stage)
        self.wait_for_port(port, process)
        log: Path = process.log
        return log

    def send(self, recipient: str) -> None:
        """Have many messages for one recipient accepted."""
        source = self.program("smtp-source", "postfix")
        self.run_program(
            *(source, "-d", "-s", "5", "-m", str(MESSAGES), "-l", "4096"),
            *("-f", "kim@far.example", "-t", recipient, f"127.0.0.1:{self.smtp}"),
        )

    def seconds_for_the_fast(self, count: int) -> float:
        """Send to the fast destination; how long until it has that many in all."""
        begin = time.monotonic()
        self.send("kim@fast.example")
        self.wait_for(
            "the fast destination to have all",
            lambda: self.taken("fast")["kim@fast.example"] >= count,
            60,
        )
        return time.monotonic() - begin

    def test_one_octet_a_second(self) -> None:
        """A destination's mail waits for another destination."""
        slow = dict(zip(("commands", "content"), free_ports(2), strict=True))
        (fast,), _ = self.start_sinks([()], "fast")
        logs = {stage: self.start_slow_sink(port, stage) for stage, port in slow.items()}
        self.serve_mail(
            rules="".join(
                self.rule(f"tcp:127.0.0.1:{port}", f"*@{name}.example", name=name)
                for name, port in {**slow, "fast": fast}.items()
            ),
            authorisation=CUSTOMERS,
        )
        alone = self.seconds_for_the_fast(MESSAGES)
        for stage in slow:
            self.send(f"kim@{stage}.example")
        self.wait_for(
            "both slow ones to be at work",
            # The first connection is that of `wait_for_port`.
            lambda: all(log.read_text().count("connection") > 1 for log in logs.values()),
        )
        beside = self.seconds_for_the_fast(2 * MESSAGES)
        for log in logs.values():
            self.assertNotIn("message", log.read_text())
        assert self.server is not None
        self.stop_hard(self.server)  # the slow ones would be waited for
        # A machine that is busy with other things is slow for a while; it is not stuck.
        self.assertLess(beside, 10 * alone + 10)
