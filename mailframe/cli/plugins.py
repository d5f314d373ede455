"""``mailframe plugins``: what is installed, which options it has, and what does not load."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import click

from mailframe.accounts.strcred_checkers import kinds
from mailframe.cli.options import config_option, json_option
from mailframe.cli.output import print_json, print_table
from mailframe.config_errors import SettingsError
from mailframe.documents import Document
from mailframe.plugin import Installed, Part, PluginError, find_parts, load_settings_class
from mailframe.settings import load
from mailframe.units import FilePath, Octets, Seconds, duration_text


@click.command()
@config_option
@json_option
def plugins(config: str, as_json: bool) -> None:
    """List every installed plugin with its options, and those that fail to load.

    Those that the configuration names, if there is one, are marked as in use.
    """
    document = plugins_document(find_parts(), _in_use(config))
    if as_json:
        print_json(document)
        return
    rows = []
    for part in document["plugins"]:
        help = part["help"] + (" (in use)" if part["in_use"] else "")
        rows.append((part["seam"], part["name"], "", help))
        rows += [("", "", *row) for row in _option_rows(part["options"])]
    rows += [
        ("checkers", kind["name"], "", f"in [accounts] checkers; after the colon: {kind['help']}")
        for kind in document["checkers"]
    ]
    print_table(("seam", "plugin", "option", "what it is"), rows)
    for problem in document["problems"]:
        click.echo(
            f"failed: {problem['module']} ({problem['file']}): {problem['reason']}", err=True
        )


def _option_rows(options: Sequence[Document], table: str = "") -> Iterator[tuple[str, str]]:
    for option in options:
        name = f"{table}{option['name']}"
        if option["options"]:
            yield name, option["type"]
            yield from _option_rows(option["options"], f"{name}.")
        elif option["required"]:
            yield name, f"{option['type']}, required"
        elif option["default"] is None:
            yield name, f"{option['type']}, optional"
        else:
            yield name, f"{option['type']}, default {json.dumps(option['default'])}"


def _in_use(config: str) -> Mapping[str, str] | None:
    """The plugin of each seam; ``None`` when the configuration does not tell.

    A broken one must not keep a user from finding out which plugins and options there are.
    """
    try:
        return {seam: chosen.part.name for seam, chosen in load(config).chosen.items()}
    except SettingsError:
        return None


def plugins_document(installed: Installed, in_use: Mapping[str, str] | None) -> Document:
    """The installed parts with their options, the kinds of checkers for logins, and the problems.

    :param in_use: the name of the plugin that is used for each seam, when that is known
    """
    parts = []
    problems = [
        {
            "seam": problem.seam,
            "name": problem.name,
            "module": problem.module,
            "file": problem.file,
            "reason": problem.reason,
        }
        for problem in installed.problems
    ]
    for named in installed.parts.values():
        for part in named.values():
            try:
                options = _options(part)
            except PluginError as error:
                reason = str(error)
                module = part.settings.partition(":")[0]
                problems.append(
                    {
                        "seam": part.seam,
                        "name": part.name,
                        "module": module,
                        "file": "",
                        "reason": reason,
                    }
                )
            else:
                parts.append(
                    {
                        "seam": part.seam,
                        "name": part.name,
                        "help": part.help,
                        "in_use": None if in_use is None else in_use[part.seam] == part.name,
                        "options": options,
                    }
                )
    checkers = [
        {"name": kind.authType, "help": " ".join(str(kind.argStringFormat).split())}
        for kind in kinds()
    ]
    return {"plugins": parts, "checkers": checkers, "problems": problems}


def _options(part: Part) -> list[Document]:
    return options_of(load_settings_class(part))


def options_of(settings: type[Any]) -> list[Document]:
    """The options that a settings class reads, those of tables within it included."""
    hints = get_type_hints(settings)
    options = []
    for field in attrs.fields(settings):
        hint = hints.get(field.name, field.type)
        inner = _tables_of(hint)
        options.append(
            {
                "name": field.name,
                "type": type_text(hint),
                "required": field.default is attrs.NOTHING,
                "default": None if inner else _default(field.default, hint),
                "options": options_of(inner) if inner else [],
            }
        )
    return options


def _tables_of(hint: Any) -> type[Any] | None:
    """The settings class of a table within a table, or of an array of such tables."""
    for each in (hint, *get_args(hint)):
        if isinstance(each, type) and attrs.has(each):
            return each
    return None


_WORDS: Mapping[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    Seconds: "duration",
    Octets: "size",
    FilePath: "path",
}


def type_text(hint: Any) -> str:
    """What may be written for an option, in words."""
    if hint in _WORDS:
        return _WORDS[hint]
    if isinstance(hint, type) and attrs.has(hint):
        return "table"
    arguments = [each for each in get_args(hint) if each not in (type(None), Ellipsis)]
    origin = get_origin(hint)
    if origin is Literal:
        return " | ".join(f'"{each}"' for each in arguments)
    if origin in (Union, UnionType):
        return " or ".join(map(type_text, arguments))
    if origin is not None and arguments:
        return f"list of: {type_text(arguments[0])}"
    return getattr(hint, "__name__", None) or str(hint)


def _default(value: Any, hint: Any) -> object:
    if value is attrs.NOTHING:
        return None
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]  # the stub calls it a function
        return None if value.takes_self else _default(value.factory(), hint)
    if isinstance(value, tuple | list | set | frozenset):
        return [_default(item, None) for item in value]
    if hint is Seconds:
        return duration_text(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
