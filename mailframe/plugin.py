"""What a drop-in module offers, and how the parts of the server are found by seam and name.

`find_parts` walks over the same modules as `twisted.plugin.getPlugins`, but that function leaves
out in silence what does not load, what lacks an attribute and what exists twice. Here each of those
is a `Problem`, to be shown by ``mailframe plugins``, logged at start-up and told to whoever chose
the part. No ``dropin.cache`` is read or written, so a folder that is not writable makes no
difference.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import attrs
from twisted.plugin import IPlugin
from twisted.python.modules import getModule
from zope.interface import implementer

from mailframe.config_errors import nearest
from mailframe.interfaces import (
    IAccounts,
    IDeliveryAgent,
    IPart,
    IQueueStorage,
    IRelayAuthorisation,
    IRoutingPolicy,
    Site,
)

# Each seam, which is also the name of its configuration table, with what its parts provide.
SEAMS: Mapping[str, Any] = {  # Any: mypy has no type for "an interface class"
    "accounts": IAccounts,
    "authorisation": IRelayAuthorisation,
    "routing": IRoutingPolicy,
    "queue": IQueueStorage,
    "delivery": IDeliveryAgent,
}
_ATTRIBUTES = ("seam", "name", "help", "settings", "builds")
_DOTTED_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@implementer(IPlugin, IPart)
@attrs.frozen(kw_only=True)
class Part:
    """One replaceable part, by names only; see `mailframe.interfaces.IPart`."""

    seam: str
    name: str
    help: str
    settings: str
    builds: str


class PluginError(Exception):
    """A part can't be had: nobody offers it, or what is offered does not work."""


@attrs.frozen(kw_only=True)
class Problem:
    """Something offered by a drop-in that can't be used.

    :ivar module: the dotted name of the drop-in
    :ivar file: where it lies
    :ivar reason: one clause, without a final dot
    :ivar seam: which seam it would serve, or ``""`` when that is not known
    :ivar name: the part's name, or ``""`` when that is not known
    """

    module: str
    file: str
    reason: str
    seam: str = ""
    name: str = ""

    def __str__(self) -> str:
        part = f"part {self.name!r} of [{self.seam}]: " if self.seam and self.name else ""
        return f"drop-in {self.module} ({self.file}): {part}{self.reason}"


@attrs.frozen(kw_only=True)
class Installed:
    """What the installed drop-ins offer.

    :ivar parts: the usable parts, by seam and then by name, in alphabetical order
    :ivar problems: what can't be used, and why
    """

    parts: Mapping[str, Mapping[str, Part]]
    problems: tuple[Problem, ...] = ()

    def find(self, seam: str, name: str) -> Part:
        """The part that users write as ``[seam] plugin = "name"``.

        :raises PluginError: there is none; the message names the nearest, and the drop-ins that
            failed, for it may be in one of those
        """
        offered = self.parts[seam]
        if name in offered:
            return offered[name]
        words = [f"no usable plugin {name!r} for [{seam}]; installed: {', '.join(offered) or '-'}"]
        guess = nearest(name, offered)
        if guess:
            words.append(f"did you mean {guess!r}?")
        concerned = [p for p in self.problems if not p.name or (p.seam, p.name) == (seam, name)]
        raise PluginError("; ".join([*words, *map(str, concerned)]))


def find_parts(package: ModuleType | None = None) -> Installed:
    """Find every part that the drop-in modules offer, importing nothing but those modules.

    :param package: the package of drop-ins; ``twisted.plugins`` unless a test brings its own
    """
    if package is None:
        package = import_module("twisted.plugins")
    offers: defaultdict[tuple[str, str], list[tuple[Part, str, str]]] = defaultdict(list)
    problems = list(_hidden(package))
    for name, file in _drop_ins(package):
        try:
            module = import_module(name)
        except (Exception, SystemExit) as error:
            problems.append(Problem(module=name, file=file, reason=_failure(error)))
            continue
        for part in _offered_by(module):
            reason = _defect(part)
            if reason:
                problems.append(_problem_with(part, name, file, reason))
            else:
                offers[part.seam, part.name].append((cast(Part, part), name, file))
    parts: dict[str, dict[str, Part]] = {seam: {} for seam in SEAMS}
    for (seam, name), found in sorted(offers.items()):
        if len(found) == 1:
            parts[seam][name] = found[0][0]
        else:
            modules = ", ".join(sorted({module for _, module, _ in found}))
            reason = f"offered {len(found)} times, by {modules}, so that none of them is used"
            problems += [
                Problem(module=module, file=file, reason=reason, seam=seam, name=name)
                for _, module, file in found
            ]
    return Installed(parts=parts, problems=tuple(problems))


def load_settings_class(part: Part) -> type[Any]:
    """Import the class of a part's settings.

    :raises PluginError: it can't be imported or is not an attrs class
    """
    found = _load(part, part.settings)
    if not (isinstance(found, type) and attrs.has(found)):
        raise PluginError(
            f"plugin {part.name!r} of [{part.seam}]: {part.settings} is not an attrs class"
        )
    return found


def load_builder(part: Part) -> Callable[[Any, Site], Any]:
    """Import the callable that builds a part.

    :raises PluginError: it can't be imported or called
    """
    found = _load(part, part.builds)
    if not callable(found):
        raise PluginError(f"plugin {part.name!r} of [{part.seam}]: {part.builds} is not callable")
    return cast(Callable[[Any, Site], Any], found)


def _load(part: Part, path: str) -> object:
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except Exception as error:
        raise PluginError(
            f"plugin {part.name!r} of [{part.seam}] can't be loaded: {path}: {_failure(error)}"
        ) from error


def _drop_ins(package: ModuleType) -> Iterator[tuple[str, str]]:
    # twisted.python.modules has no annotations
    for module in getModule(package.__name__).iterModules():  # type: ignore[no-untyped-call]
        yield module.name, module.filePath.path


def _hidden(package: ModuleType) -> Iterator[Problem]:
    """The drop-ins that differ from another of the same name, which is imported instead."""
    first: dict[str, Path] = {}
    for folder in package.__path__:
        for file in sorted(Path(folder).glob("*.py")):
            winner = first.setdefault(file.name, file)
            if winner is not file and winner.read_bytes() != file.read_bytes():
                reason = f"hidden by another of the same name, {winner}"
                yield Problem(
                    module=f"{package.__name__}.{file.stem}", file=str(file), reason=reason
                )


def _offered_by(module: ModuleType) -> Iterator[Any]:
    seen: set[int] = set()
    for value in list(vars(module).values()):
        # An imported *class* of parts has the interface as implemented, not as provided.
        if IPart.providedBy(value) and id(value) not in seen:
            seen.add(id(value))
            yield value


def _defect(part: Any) -> str:
    """Why this object can't be used as a part, or ``""``."""
    for attribute in _ATTRIBUTES:
        value = getattr(part, attribute, None)
        if not isinstance(value, str) or not value:
            return f"its attribute {attribute!r} is missing or not a text"
    if part.seam not in SEAMS:
        guess = nearest(part.seam, SEAMS)
        hint = f"; did you mean {guess!r}?" if guess else ""
        return f"there is no seam {part.seam!r}, only {', '.join(SEAMS)}{hint}"
    for attribute in ("settings", "builds"):
        if not _DOTTED_PATH.fullmatch(getattr(part, attribute)):
            return f"its attribute {attribute!r} is not written as 'module:name'"
    if not IPlugin.providedBy(part):
        return "it does not provide twisted.plugin.IPlugin"
    return ""


def _problem_with(part: Any, module: str, file: str, reason: str) -> Problem:
    seam, name = (str(getattr(part, attribute, "")) for attribute in ("seam", "name"))
    return Problem(module=module, file=file, reason=reason, seam=seam, name=name)


def _failure(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
