"""What must not be in the source at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailframe

SOURCE = Path(mailframe.__file__).parent

# They read addresses otherwise than RFC 5321 does, and have been fooled (CVE-2019-16056,
# CVE-2023-27043, encoded words in local parts).
OTHER_PARSERS = {"parseaddr", "getaddresses", "AddressHeader", "default", "SMTP", "SMTPUTF8"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"}


def trees() -> Iterator[tuple[str, ast.AST]]:
    """Each module."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE.parent)), ast.parse(path.read_text())


class SourceTests(SynchronousTestCase):
    """What the standard library offers, and a mail server must not use."""

    def test_one_parser_of_addresses(self) -> None:
        """An address is authorised as one reads it and routed as another does."""
        found = []
        for name, tree in trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("email"):
                    found += [
                        (name, each.name) for each in node.names if each.name in OTHER_PARSERS
                    ]
                if isinstance(node, ast.Attribute) and node.attr in ("parseaddr", "getaddresses"):
                    found.append((name, node.attr))
        self.assertEqual(found, [])

    def test_no_shell(self) -> None:
        """A recipient's local part is run as a command."""
        found = []
        for name, tree in trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.keyword) and node.arg == "shell":
                    found.append((name, "shell="))
                called = node.func if isinstance(node, ast.Call) else None
                word = getattr(called, "attr", getattr(called, "id", ""))
                if word in SHELLS | {"eval", "exec"}:
                    found.append((name, word))
        self.assertEqual(found, [])

    def test_the_search_finds(self) -> None:
        """These tests would pass whatever the source holds."""
        self.assertGreater(sum(1 for _ in trees()), 100)
