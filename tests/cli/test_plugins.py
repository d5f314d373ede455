"""``mailframe plugins``."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Literal

import attrs

from mailframe.cli import plugins as plugins_module
from mailframe.plugin import SEAMS, Installed, Part, Problem
from mailframe.units import Octets, Seconds
from tests.cli.commands import CommandCase


def part(name: str, settings: str) -> Part:
    """A queue part."""
    return Part(seam="queue", name=name, help="keeps mail", settings=settings, builds="x:y")


class Plugins(CommandCase):
    """What is installed."""

    def test_shipped(self) -> None:
        """A user could not find out which options there are."""
        document = json.loads(self.run_here("plugins", "--json").stdout)
        self.assertEqual(document["problems"], [])
        kinds = {kind["name"] for kind in document["checkers"]}
        self.assertLessEqual({"file", "unix", "memory"}, kinds)
        self.assertNotIn("anonymous", kinds)
        found = {(each["seam"], each["name"]): each for each in document["plugins"]}
        for key in (
            ("accounts", "file"),
            ("authorisation", "providers"),
            ("routing", "table"),
            ("routing", "dns"),
            ("queue", "sqlite"),
            ("queue", "memory"),
            ("delivery", "maildir"),
        ):
            self.assertIn(key, found)
            self.assertTrue(found[key]["help"])
        options = {option["name"]: option for option in found["queue", "sqlite"]["options"]}
        self.assertEqual(
            options["inline"],
            {
                "name": "inline",
                "type": "size",
                "required": False,
                "default": 65536,
                "options": [],
            },
        )
        self.assertIs(found["queue", "sqlite"]["in_use"], True)
        self.assertIs(found["queue", "memory"]["in_use"], False)
        self.assertEqual(options["history"]["default"], "2w")
        rules, *_ = found["routing", "table"]["options"]
        self.assertIn("via", [option["name"] for option in rules["options"]])
        path, *_ = found["accounts", "file"]["options"]
        self.assertEqual((path["name"], path["required"]), ("path", True))

    def test_text(self) -> None:
        """A person would have to read JSON."""
        text = self.run_here("plugins").stdout
        self.assertIn("queue\tsqlite", text)
        self.assertIn("\t\tpath\tpath, required\n", text)
        self.assertIn("\t\trule.via\t", text)
        self.assertIn('\t\thistory\tduration, default "2w"\n', text)

    def test_types(self) -> None:
        """Types of Python would be shown, which nobody writes into a configuration."""

        @attrs.frozen
        class Inner:
            size: Octets = Octets(1)

        for hint, words in (
            (bool, "true or false"),
            (Literal["a", "b"], '"a" | "b"'),
            (int | None, "whole number"),
            (Seconds | None, "duration"),
            (tuple[str, ...], "list of: text"),
            (tuple[Inner, ...], "list of: table"),
            (Inner, "table"),
            (PurePath, "PurePath"),
        ):
            self.assertEqual(plugins_module.type_text(hint), words)

    def test_defaults(self) -> None:
        """A default that can't be shown as JSON would end in a traceback."""

        @attrs.frozen
        class Odd:
            made: list[PurePath] = attrs.Factory(lambda: [PurePath("a/b")])
            computed: str = attrs.Factory(lambda self: "x", takes_self=True)
            other: PurePath = PurePath("a/c")  # noqa: RUF009  # frozen

        defaults = [option["default"] for option in plugins_module.options_of(Odd)]
        self.assertEqual(defaults, [["a/b"], None, "a/c"])

    def test_without_a_configuration(self) -> None:
        """Who has no configuration yet, or a broken one, could not find out what to write."""
        result = self.run_command("plugins", "--json", "-c", "/nowhere/x.toml")
        for each in json.loads(result.stdout)["plugins"]:
            self.assertIsNone(each["in_use"])

    def test_failures(self) -> None:
        """A plugin that does not load would be missing without a word."""
        parts = {seam: {} for seam in SEAMS}
        parts["queue"] = {"odd": part("odd", "nowhere:Settings")}
        problem = Problem(module="twisted.plugins.x", file="/x.py", reason="ImportError: y")
        installed = Installed(parts=parts, problems=(problem,))
        self.patch(plugins_module, "find_parts", lambda: installed)
        result = self.run_here("plugins")
        self.assertIn("ImportError: y", result.stderr)
        self.assertIn("nowhere", result.stderr)
        document = json.loads(self.run_here("plugins", "--json").stdout)
        self.assertEqual(document["plugins"], [])
        self.assertEqual(len(document["problems"]), 2)
