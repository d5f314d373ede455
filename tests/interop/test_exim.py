"""Exim sends to us, and is our next hop."""

from __future__ import annotations

from tests.interop import neighbours
from tests.interop.exim import EximCase
from tests.interop.programs import maildir


class EximTests(EximCase, neighbours.NeighbourTests):
    """What every neighbour is put through."""

    neighbour = EximCase.start_exim

    def test_chunks(self) -> None:
        """CHUNKING is used in both directions: K in Exim's log (RFC 3030)."""
        port, box = self.start_with_us(tls=False)
        self.send(port, "kim@mindspring.example", "jsmith@demo.example")
        self.submit_octets(tls=False)
        self.wait_for("both to arrive", lambda: maildir(box) and self.inbox("jsmith"))
        self.wait_for_its_queue()
        log = (self.folder / "exim/var/log/exim/mainlog").read_text()
        self.assertRegex(log, r"<= angelo@demo.example .* P=esmtp K ")
        self.assertRegex(log, r"=> jsmith@demo.example .* K C=")
