"""What ``mailframe check`` finds in the routing rules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs

from mailframe.cli.findings import Finding
from mailframe.cli.routing_findings import of_routing
from mailframe.routing.table import RuleSettings, TableSettings
from tests.cli.test_findings import FindingsCase


class RoutingFindingsTests(FindingsCase):
    """`of_routing`."""

    def found(self, via: str | tuple[str, ...], tls: Any, **more: Any) -> list[Finding]:
        more = {"login": "user", "password_file": "/run/password", **more}
        rule = RuleSettings(via=via, tls=tls, **more)
        return self.found_in(TableSettings(rule=(RuleSettings(via="local"), rule)))

    def found_in(self, routing: Any) -> list[Finding]:
        chosen = attrs.evolve(self.settings.chosen["routing"], settings=routing)
        settings = attrs.evolve(self.settings, chosen={**self.settings.chosen, "routing": chosen})
        return list(of_routing(settings))

    def test_password_for_anybody(self) -> None:
        """An operator would never learn that his smarthost's password is anybody's who listens."""
        for tls in ("opportunistic", "require"):
            (finding,) = self.found("tcp:smart.example:587", tls)
            self.assertEqual(finding.level, "warn")
            self.assertEqual(finding.subject, "routing rule 2")
            self.assertIn(f'for tcp:smart.example:587: tls = "{tls}" verifies', finding.message)
            self.assertIn('"verify"', finding.mend)
        (finding,) = self.found(
            ("tcp:127.0.0.1:587", "ssl:host=smart.example:port=465"), "none", name="smart"
        )
        self.assertEqual(finding.subject, "routing smart")
        self.assertIn("for ssl:host=smart.example", finding.message)
        self.assertIn("tls:", finding.mend)

    def test_password_for_nobody(self) -> None:
        """All mail of a rule would wait for five days, for want of a login."""
        (finding,) = self.found("tcp:smart.example:587", "none")
        self.assertIn("sends no login", finding.message)

    def test_well(self) -> None:
        """Warnings about what is well teach people to read none."""
        for via, tls in (
            ("tcp:smart.example:587", "verify"),
            ("tls:smart.example:465", "opportunistic"),
            ("tcp:127.0.0.1:587", "opportunistic"),
            ("tcp:localhost:587", "none"),
            ("unix:/run/lmtp", "none"),
        ):
            self.assertEqual(self.found(via, tls), [], via)
        for tls in ("none", "opportunistic"):
            found = self.found("tcp:smart.example:25", tls, login=None, password_file=None)
            self.assertEqual(found, [])

    def test_other_policies(self) -> None:
        """A routing plugin with settings of its own would break the command."""
        self.assertEqual(self.found_in(SimpleNamespace()), [])
        self.assertEqual(self.found_in(SimpleNamespace(rule=(SimpleNamespace(),))), [])
