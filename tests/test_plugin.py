"""Finding parts among drop-in modules."""

from __future__ import annotations

import os
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import attrs
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from mailframe.interfaces import IPart
from mailframe.plugin import (
    SEAMS,
    Installed,
    Part,
    PluginError,
    Problem,
    find_parts,
    load_builder,
    load_settings_class,
)

GOOD = """
    from mailframe.plugin import Part
    one = Part(seam="routing", name="one", help="h", settings="a.b:C", builds="a.b:d")
"""


def part(**changes: str) -> Part:
    """A part that can be loaded, with changes."""
    values = {
        "seam": "routing",
        "name": "one",
        "help": "h",
        "settings": f"{__name__}:ExampleSettings",
        "builds": f"{__name__}:build",
    }
    return Part(**{**values, **changes})


@attrs.frozen
class ExampleSettings:
    """What `part` names as its settings."""


def build(settings: object, site: object) -> object:
    """What `part` names as its builder."""
    return settings


class DropIns(SynchronousTestCase):
    """`find_parts` over a package of its own."""

    count = 0

    def package(self, **modules: str) -> ModuleType:
        """A package of drop-ins with these modules."""
        DropIns.count += 1
        name = f"drop_ins_{os.getpid()}_{DropIns.count}"
        root = Path(self.mktemp()).absolute()
        (root / name).mkdir(parents=True)
        for module, text in {"__init__": "", **modules}.items():
            (root / name / f"{module}.py").write_text(dedent(text))
        self.patch(sys, "path", [str(root), *sys.path])
        invalidate_caches()
        return import_module(name)

    def problem(self, **modules: str) -> Problem:
        """The one problem with these drop-ins."""
        (problem,) = find_parts(self.package(**modules)).problems
        return problem

    def test_found(self) -> None:
        """Otherwise an installed plugin could not be chosen."""
        installed = find_parts(self.package(good=GOOD))
        self.assertEqual(installed.problems, ())
        self.assertEqual(installed.parts["routing"]["one"].help, "h")
        self.assertEqual(set(installed.parts), set(SEAMS))

    def test_broken_module(self) -> None:
        """A drop-in that can't be imported would vanish without a word."""
        package = self.package(good=GOOD, broken="import no_such_module_at_all")
        installed = find_parts(package)
        self.assertIn("one", installed.parts["routing"])
        (problem,) = installed.problems
        self.assertEqual(problem.module, f"{package.__name__}.broken")
        self.assertIn("broken.py", problem.file)
        self.assertIn("no_such_module_at_all", str(problem))
        self.assertEqual(find_parts(package).problems, installed.problems, "said once only")

    def test_module_that_exits(self) -> None:
        """A drop-in that calls sys.exit would end every command of ours."""
        self.assertIn("SystemExit", self.problem(broken="import sys; sys.exit(3)").reason)

    def test_duplicate(self) -> None:
        """Of two parts of a name one would be used at random, perhaps the wrong one."""
        package = self.package(a=GOOD, b=GOOD)
        installed = find_parts(package)
        self.assertNotIn("one", installed.parts["routing"])
        self.assertEqual(len(installed.problems), 2)
        for problem in installed.problems:
            self.assertIn("2 times", problem.reason)
            self.assertIn(f"{package.__name__}.a", problem.reason)
        with self.assertRaises(PluginError) as caught:
            installed.find("routing", "one")
        self.assertIn("2 times", str(caught.exception))

    def test_same_object_twice(self) -> None:
        """A part with two names in its module is still one part."""
        installed = find_parts(self.package(good=GOOD + "    two = one\n"))
        self.assertEqual(installed.problems, ())

    def test_missing_attribute(self) -> None:
        """A part without a builder would fail only when mail arrives."""
        problem = self.problem(
            bad="""
            from zope.interface import implementer
            from twisted.plugin import IPlugin
            from mailframe.interfaces import IPart
            @implementer(IPlugin, IPart)
            class Mine:
                seam, name, help, settings = "routing", "mine", "h", "a:b"
            mine = Mine()
            """
        )
        self.assertIn("'builds'", problem.reason)
        self.assertEqual((problem.seam, problem.name), ("routing", "mine"))
        self.assertIn("part 'mine' of [routing]", str(problem))

    def test_not_a_plugin(self) -> None:
        """twisted.plugin.getPlugins would skip it, so we must say why it isn't there."""
        problem = self.problem(
            bad="""
            from zope.interface import implementer
            from mailframe.interfaces import IPart
            @implementer(IPart)
            class Mine:
                seam, name, help, settings, builds = "routing", "mine", "h", "a:b", "a:c"
            mine = Mine()
            """
        )
        self.assertIn("IPlugin", problem.reason)

    def test_unknown_seam(self) -> None:
        """A misspelt seam would make a part that nobody can choose."""
        problem = self.problem(bad=GOOD.replace('"routing"', '"rooting"'))
        self.assertIn("'rooting'", problem.reason)
        self.assertIn("did you mean 'routing'?", problem.reason)
        problem = self.problem(bad=GOOD.replace('"routing"', '"xyz"'))
        self.assertNotIn("did you mean", problem.reason)

    def test_wrong_path(self) -> None:
        """A dotted path in the wrong form would be found out only when the part is chosen."""
        self.assertIn("module:name", self.problem(bad=GOOD.replace("a.b:C", "a.b.C")).reason)

    def test_hidden(self) -> None:
        """A drop-in behind another of the same name is never imported."""
        package = self.package(one=GOOD)
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        package.__path__.append(str(other))
        (other / "one.py").write_text(dedent(GOOD))
        self.assertEqual(find_parts(package).problems, (), "the same file twice does no harm")
        (other / "one.py").write_text("x = 1\n")
        (problem,) = find_parts(package).problems
        self.assertIn("hidden", problem.reason)


class Shipped(SynchronousTestCase):
    """The parts that mailframe ships."""

    def test_as_get_plugins(self) -> None:
        """What Twisted's own function finds must be what ours finds."""
        ours = {p for offered in find_parts().parts.values() for p in offered.values()}
        self.assertTrue({p for p in getPlugins(IPart) if isinstance(p, Part)} <= ours)
        names = {(p.seam, p.name) for p in ours}
        self.assertTrue(
            {
                ("accounts", "file"),
                ("authorisation", "providers"),
                ("routing", "table"),
                ("routing", "dns"),
                ("queue", "sqlite"),
                ("queue", "memory"),
                ("delivery", "maildir"),
            }
            <= names
        )

    def test_all_load(self) -> None:
        """A shipped part that can't be loaded could not be used."""
        for offered in find_parts().parts.values():
            for each in offered.values():
                self.assertTrue(attrs.has(load_settings_class(each)))
                self.assertTrue(callable(load_builder(each)))


class Choosing(SynchronousTestCase):
    """`Installed.find` and loading."""

    def test_nearest(self) -> None:
        """Who misspells a plugin's name wants to be told the right one."""
        installed = Installed(parts={"routing": {"one": part(), "table": part(name="table")}})
        self.assertEqual(installed.find("routing", "one"), part())
        with self.assertRaises(PluginError) as caught:
            installed.find("routing", "tabel")
        self.assertIn("did you mean 'table'?", str(caught.exception))
        with self.assertRaises(PluginError) as caught:
            installed.find("routing", "xyz")
        self.assertIn("installed: one, table", str(caught.exception))

    def test_failed_drop_in_is_named(self) -> None:
        """The plugin asked for may be in the module that failed to import."""
        problem = Problem(module="m", file="f", reason="ImportError: x")
        installed = Installed(parts={"routing": {}}, problems=(problem,))
        with self.assertRaises(PluginError) as caught:
            installed.find("routing", "one")
        self.assertIn(str(problem), str(caught.exception))

    def test_loaded(self) -> None:
        """What a part names is what is used."""
        self.assertIs(load_settings_class(part()), ExampleSettings)
        self.assertIs(load_builder(part()), build)

    def test_not_loadable(self) -> None:
        """Each way in which a part's names can be wrong is told."""
        cases = [
            (load_builder, part(builds="no_such_module_at_all:x"), "ModuleNotFoundError"),
            (load_builder, part(builds=f"{__name__}:missing"), "AttributeError"),
            (load_builder, part(builds=f"{__name__}:GOOD"), "not callable"),
            (load_settings_class, part(settings=f"{__name__}:build"), "not an attrs class"),
        ]
        for load, offered, words in cases:
            with self.assertRaises(PluginError) as caught:
                load(offered)
            self.assertIn(words, str(caught.exception))
            self.assertIn("plugin 'one' of [routing]", str(caught.exception))
