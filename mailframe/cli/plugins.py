"""``mailframe plugins``: what is installed, which options it has, and what does not load."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, get_type_hints

import attrs
import click

from mailframe.cli.options import config_option, json_option
from mailframe.cli.output import print_json, print_table
from mailframe.config_errors import SettingsError
from mailframe.documents import Document
from mailframe.plugin import Installed, Part, PluginError, find_parts, load_settings_class
from mailframe.settings import load


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
        rows += [
            ("", "", option["name"], f"{option['type']}{_default_text(option)}")
            for option in part["options"]
        ]
    print_table(("seam", "plugin", "option", "what it is"), rows)
    for problem in document["problems"]:
        click.echo(
            f"failed: {problem['module']} ({problem['file']}): {problem['reason']}", err=True
        )


def _default_text(option: Document) -> str:
    return ", required" if option["required"] else f", default {option['default']}"


def _in_use(config: str) -> Mapping[str, str] | None:
    """The plugin of each seam; ``None`` when the configuration does not tell.

    A broken one must not keep a user from finding out which plugins and options there are.
    """
    try:
        return {seam: chosen.part.name for seam, chosen in load(config).chosen.items()}
    except SettingsError:
        return None


def plugins_document(installed: Installed, in_use: Mapping[str, str] | None) -> Document:
    """The installed parts with their options, and the problems.

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
    return {"plugins": parts, "problems": problems}


def _options(part: Part) -> list[Document]:
    settings = load_settings_class(part)
    hints = get_type_hints(settings)
    return [
        {
            "name": field.name,
            "type": _type_text(hints.get(field.name, field.type)),
            "required": field.default is attrs.NOTHING,
            "default": _default(field.default),
        }
        for field in attrs.fields(settings)
    ]


def _type_text(hint: Any) -> str:
    name = getattr(hint, "__name__", None)
    # A generic type such as tuple[str, ...] has the bare name of its origin; its text says more.
    return (
        name if name and not getattr(hint, "__args__", None) else str(hint).replace("typing.", "")
    )


def _default(value: Any) -> object:
    if value is attrs.NOTHING:
        return None
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]  # the stub calls it a function
        return _default(value.factory()) if not value.takes_self else "computed"
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, tuple | list | set | frozenset):
        return [str(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
