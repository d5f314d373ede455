"""What ``mailframe check`` finds in the configuration by itself."""

from __future__ import annotations

from types import SimpleNamespace

import attrs

from mailframe.cli.settings_findings import of_settings
from mailframe.plugin import Problem
from mailframe.queue.schedule import Schedule
from mailframe.server.limits import Limits
from mailframe.units import Octets, Seconds
from tests.cli.test_findings import FindingsCase


class OfSettings(FindingsCase):
    """The configuration as a whole."""

    def test_well(self) -> None:
        """A good configuration would be complained about."""
        self.assert_well(of_settings(self.settings))

    def test_problems(self) -> None:
        """A drop-in that does not load would be skipped without a word."""
        problem = Problem(module="twisted.plugins.x", file="/x.py", reason="ImportError: y")
        self.assert_found(of_settings(self.change(problems=(problem,))), "warn", "ImportError: y")

    def test_half_configured(self) -> None:
        """A server that serves nothing or nobody would pass for a good one."""
        self.assert_found(of_settings(self.change(servers=())), "error", "[[server]]")
        self.assert_found(of_settings(self.change(local_domains=())), "warn", "local_domains")
        self.assert_found(of_settings(self.change(hostname="mx")), "warn", "hostname")

    def test_impossible_schedule(self) -> None:
        """Senders would never be told of a delay, or mail would be tried twice and given up."""
        hour = 3600.0
        for times, words in (
            ((900, 5 * hour, 5 * hour), "warn_after"),
            ((900, 5 * hour, 4 * hour), "warn_after"),
            ((6 * hour, 0, 5 * hour), "retry_every"),
        ):
            retry, warn, give_up = map(Seconds, times)
            schedule = Schedule(retry_every=retry, warn_after=warn, give_up_after=give_up)
            self.assert_found(of_settings(self.change(schedule=schedule)), "warn", "[queue]", words)
        self.assert_well(of_settings(self.change(schedule=Schedule(warn_after=Seconds(0)))))

    def test_open_relay(self) -> None:
        """A network too wide would make the server relay for everybody."""
        for network in ("0.0.0.0/0", "::/0"):
            provider = SimpleNamespace(name="all", networks=("192.0.2.0/24", network))
            self.own["authorisation"].provider = (provider,)
            self.assert_found(of_settings(self.settings), "warn", "open relay", network)

    def test_limits(self) -> None:
        """Mail from servers that keep to what is common would be refused."""
        for key in ("recipients", "command_line", "data_line"):
            limits = attrs.evolve(Limits(), **{key: 99})
            self.assert_found(of_settings(self.change(limits=limits)), "warn", "[limits]", key)
        self.assert_well(of_settings(self.change(limits=Limits(data_line=Octets(0)))))
