"""The rules that hold everywhere, read from the source: who may import whom."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent

# Each level may import those before it. Within the rooms, a room may import only itself.
VALUES = (
    "unicode_names",
    "preparation",
    "scram",
    "channel_binding",
    "address",
    "reply",
    "backoff",
    "expansion",
    "outcome",
    "envelope",
    "entry",
    "redirects",
    "units",
    "config_errors",
    "patterns",
)
SEAMS = ("files", "clocks", "credentials", "interfaces", "told", "time_limits", "guard", "plugin")
ROOMS = ("wire", "queue", "delivery", "routing", "authorisation", "accounts")
SERVER = ("server",)
MAY_USE_WIRE = ("delivery",)
# What offers everything to its users, and puts everything together, may import everything.
ABOVE = (
    "mounts",
    "durability",
    "descriptors",
    "garbage",
    "start_check",
    "settings",
    "settings_checks",
    "settings_converter",
    "settings_reader",
    "certificates",
    "listening",
    "assembly",
    "arguments",
    "embedding",
    "serving",
    "in_force",
    "running",
    "service",
    "workers",
    "tap",
    "documents",
    "hop_documents",
    "console",
    "cli",
    "testing",
)
LEVELS = (VALUES, SEAMS, ROOMS, SERVER, ABOVE)


def sources(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    """Every module below a folder, by its path, as a tree."""
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST, module_level: bool = False) -> Iterator[str]:
    """The dotted names that a module imports, those for type checkers alone left out.

    :param module_level: leave out those inside functions as well
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif not (module_level and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield from imported(node, module_level)


def room_of(name: str) -> str | None:
    """The part of mailframe that a dotted name lies in; ``None`` when it lies elsewhere."""
    parts = name.split(".")
    return parts[1] if parts[0] == "mailframe" and len(parts) > 1 else None


def level_of(room: str) -> int:
    """How far up a room is."""
    return next(i for i, level in enumerate(LEVELS) if room in level)


class ImportTests(SynchronousTestCase):
    """Dependencies point one way."""

    def test_every_module_has_its_level(self) -> None:
        """A module outside the levels would be held by no rule."""
        known = {room for level in LEVELS for room in level} | {"__init__"}
        found = {
            path.stem
            for path in (ROOT / "mailframe").iterdir()
            if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        self.assertEqual(found - known, set())

    def test_direction(self) -> None:
        """A room that knew of the server could not be used, tested or replaced without it."""
        wrong = []
        for path, tree in sources(ROOT / "mailframe"):
            room = path.split("/")[1].removesuffix(".py")
            if room == "__init__":
                continue
            for name in imported(tree):
                other = room_of(name)
                if other is None or other == room:
                    continue
                level, target = level_of(room), level_of(other)
                sideways = level == target and room in ROOMS
                by_wire = other == "wire" and room in MAY_USE_WIRE
                if target > level or (sideways and not by_wire):
                    wrong.append(f"{path} imports {name}")
        self.assertEqual(wrong, [])

    def test_the_package_itself_imports_nothing(self) -> None:
        """A drop-in that imports `mailframe.plugin` would otherwise import the whole server."""
        tree = ast.parse((ROOT / "mailframe/__init__.py").read_text(encoding="utf-8"))
        ours = [name for name in imported(tree, module_level=True) if room_of(name)]
        self.assertEqual(ours, [])

    def test_wire_is_without_twisted(self) -> None:
        """The dialogues could no longer be tested or used without a reactor."""
        wrong = [
            f"{path} imports {name}"
            for path, tree in sources(ROOT / "mailframe/wire")
            for name in imported(tree)
            if name.split(".")[0] in ("twisted", "zope")
        ]
        self.assertEqual(wrong, [])

    def test_no_reactor_on_import(self) -> None:
        """Importing the global reactor installs it: no program could choose its own any more."""
        folders = [ROOT / "mailframe", ROOT / "twisted", ROOT / "plugins", ROOT / "tests"]
        wrong = [
            path
            for folder in folders
            for path, tree in sources(folder)
            if "twisted.internet.reactor" in set(imported(tree, module_level=True))
            and not path.startswith("tests/interop/")
        ]
        self.assertEqual(wrong, [])

    def test_nothing_is_unpickled(self) -> None:
        """Whoever can write a file that is unpickled can run any program as the server."""
        wrong = [
            path
            for path, tree in sources(ROOT / "mailframe")
            if {"pickle", "shelve", "marshal"} & {n.split(".")[0] for n in imported(tree)}
        ]
        self.assertEqual(wrong, [])


class DropInTests(SynchronousTestCase):
    """The modules in ``twisted/plugins``."""

    def folders(self) -> list[Path]:
        """Those of mailframe and of each distribution beside it."""
        return [ROOT / "twisted/plugins", *ROOT.glob("plugins/*/twisted/plugins")]

    def test_thin(self) -> None:
        """Every `twistd` command on the machine imports them, whatever it is for."""
        allowed = {"mailframe.plugin", "twisted.application.service"}
        wrong = [
            f"{path} imports {name}"
            for folder in self.folders()
            for path, tree in sources(folder)
            for name in imported(tree)
            if name.rpartition(".")[0] not in allowed and not name.startswith("__future__")
        ]
        self.assertEqual(wrong, [])

    def test_no_package_file(self) -> None:
        """With an ``__init__.py`` ours would take the place of Twisted's own package."""
        for folder in self.folders():
            self.assertFalse((folder / "__init__.py").exists())
            self.assertFalse((folder.parent / "__init__.py").exists())

    def test_names(self) -> None:
        """Two distributions with a drop-in of the same name overwrite each other's."""
        names = [path.name for folder in self.folders() for path in folder.glob("*.py")]
        self.assertEqual(len(names), len(set(names)))
        for name in names:
            self.assertTrue(name.startswith("mailframe_"), name)
