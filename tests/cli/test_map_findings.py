"""Tests of mailframe.cli.map_findings."""

from __future__ import annotations

import os
from typing import Any

from tests.cli.commands import CommandCase


class MapFindings(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.configure(
            "[queue]",
            '[[routing.map]]\nname = "ways"\nfile = "ways.map"\n\n'
            '[[routing.rule]]\nvia = "map:ways"\n\n'
            '[routing.srs]\ndomain = "rosse.example"\nsecret_file = "srs.secret"\n\n[queue]',
        )

    def found(self, status: int) -> dict[str, Any]:
        findings = self.document("check", status=status)["findings"]
        return {each["subject"]: each for each in findings}

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        with open(self.path(name), "w") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def test_well(self) -> None:
        """Somebody would look for a mistake that is not there."""
        self.write("ways.map", "*@x.example mx")
        self.write("srs.secret", "0123456789abcdef")
        found = self.found(0)
        self.assertEqual((found["map ways"]["level"], found["srs"]["level"]), ("ok", "ok"))

    def test_mistakes(self) -> None:
        """A server would not start again, or mail wait, for a slip that could be seen before."""
        found = self.found(1)
        self.assertIn("can't be read", found["map ways"]["message"])
        self.assertIn("openssl", found["srs"]["message"])
        self.write("ways.map", "*@x.example mxx")
        self.write("srs.secret", "0123456789abcdef", 0o644)
        found = self.found(1)
        self.assertIn("line 1: 'mxx' can't be used", found["map ways"]["message"])
        self.assertEqual(found["srs"]["level"], "warn")
        self.assertIn("0644", found["srs"]["message"])

    def test_other_plugin(self) -> None:
        """The check would end in a traceback with another routing plugin."""
        with open(self.config) as file:
            text = file.read()
        start, end = text.index("[[routing.map]]"), text.index("[queue]")
        with open(self.config, "w") as file:
            file.write(text[:start] + text[end:].replace('plugin = "table"', 'plugin = "dns"'))
        self.assertNotIn("srs", self.found(0))
