"""``docs/security.rst`` names for each class of attack tests that there are."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).parent.parent / "docs" / "security.rst"
ROWS = 29


def rows() -> dict[int, list[str]]:
    """The names under each number."""
    _, _, proof = PAGE.read_text().partition("What proves it\n")
    found: dict[int, list[str]] = {}
    for line in proof.splitlines():
        if match := re.match(r"(\d+)\. ", line):
            number = int(match[1])
            found[number] = []
        elif match := re.fullmatch(r"   - ``(tests\.[\w.*]+)``", line):
            found[number].append(match[1])
    return found


def tests_of(owner: type) -> list[str]:
    """The tests of one class."""
    return [name for name in dir(owner) if name.startswith("test")]


def count(name: str) -> int:
    """How many tests a name stands for."""
    words = name.split(".")
    modules = [word for word in words if not re.match(r"[A-Z]", word) and word != words[-1]]
    if re.match(r"[A-Z]", words[-1]) or words[-1].startswith("test_"):
        try:
            module: ModuleType = import_module(name)
        except ModuleNotFoundError:
            module = import_module(".".join(modules))
        else:
            return sum(len(tests_of(c)) for c in vars(module).values() if isinstance(c, type))
    rest = words[len(modules) :]
    owner = getattr(module, rest[0], None)
    if not isinstance(owner, type):
        return 0
    pattern = rest[1] if len(rest) > 1 else "test*"
    return sum(fnmatchcase(test, pattern) for test in tests_of(owner))


class RowTests(SynchronousTestCase):
    """The page promises what is tested, and nothing else."""

    def test_every_row(self) -> None:
        """A class of attack has no test, or the page doesn't say which."""
        found = rows()
        self.assertEqual(list(found), list(range(1, ROWS + 1)))
        for number, names in found.items():
            self.assertGreater(len(names), 0, f"row {number} names no test")

    def test_every_name(self) -> None:
        """A test that the page names was renamed or lost."""
        missing = [
            (number, name) for number, names in rows().items() for name in names if not count(name)
        ]
        self.assertEqual(missing, [])

    def test_the_count_counts(self) -> None:
        """A name that stands for nothing would pass."""
        here = f"{__name__}.RowTests"
        self.assertEqual(count(here), 3)
        self.assertEqual(count(__name__), 3)
        self.assertEqual(count(f"{here}.test_every_row"), 1)
        self.assertEqual(count(f"{here}.test_every_*"), 2)
        self.assertEqual(count(f"{here}.test_nothing"), 0)
        self.assertEqual(count(f"{__name__}.NoTests"), 0)
