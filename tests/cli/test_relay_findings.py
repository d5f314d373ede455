"""What the check says about the addresses that mail goes out from."""

from __future__ import annotations

import socket

from mailframe.cli.relay_findings import of_sources
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.delivery.source import Source
from tests.cli.test_findings import FindingsCase


class SourcesTests(FindingsCase):
    """Whether this machine has them."""

    def test_sources(self) -> None:
        """All mail would wait because of a mistyped address."""
        bound: list[tuple[object, ...]] = []

        class Socket:
            def __init__(self, family: object, _kind: object) -> None:
                self.family = family

            def bind(self, address: tuple[str, int]) -> None:
                bound.append((self.family, *address))
                if address[0] == "192.0.2.8":
                    raise OSError(99, "Cannot assign requested address")

            def close(self) -> None:
                pass

        self.patch(socket, "socket", Socket)
        sources = (
            Source(address="192.0.2.7"),
            Source(address="192.0.2.8", name="bulk"),
            Source(address="2001:db8::7"),
        )
        findings = list(of_sources(self.change(relay=RelaySettings(source=sources))))
        self.assertEqual([each.level for each in findings], ["ok", "error", "ok"])
        self.assert_found(findings, "error", "192.0.2.8", "Cannot assign")
        self.assertEqual(findings[1].subject, "relay.source bulk")
        self.assertEqual(bound[2], (socket.AF_INET6, "2001:db8::7", 0))

    def test_none(self) -> None:
        """Whoever has no such table would be told about it."""
        self.assertEqual(list(of_sources(self.settings)), [])
