"""The settings of a server that a program puts together without a configuration file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from mailframe.config_errors import Mistake, SettingsError
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.durability import Durability
from mailframe.plugin import Installed, Part
from mailframe.queue.notices import NoticeSettings
from mailframe.queue.schedule import Schedule
from mailframe.server.limits import Limits
from mailframe.settings import (
    Chosen,
    ServerSettings,
    Settings,
    TlsSettings,
    choose,
    from_document,
)


@attrs.frozen(kw_only=True)
class Arguments:
    """What `MailServer` was called with, besides its parts."""

    hostname: str
    local_domains: Iterable[str] = ()
    state_dir: str = "state"
    servers: Sequence[ServerSettings | Mapping[str, Any]] = ()
    tls: TlsSettings | Mapping[str, str] | None = None
    dns: Sequence[str] = ()
    limits: Limits | None = None
    schedule: Schedule | None = None
    notices: NoticeSettings | None = None
    relay: RelaySettings | None = None
    durability: Durability | None = None


def read_arguments(arguments: Arguments, choices: Mapping[str, Chosen]) -> Settings:
    """Check a program's arguments as a configuration file is checked.

    :param choices: the parts that are plugins. Paths are relative to the current folder
    :raises SettingsError: the arguments can't be used
    """
    document: dict[str, Any] = {
        "hostname": arguments.hostname,
        "local_domains": _texts(arguments.local_domains),
        "state_dir": arguments.state_dir,
        "server": [_table(server) for server in arguments.servers],
        "dns": {"servers": _texts(arguments.dns)},
    }
    if arguments.tls is not None:
        document["tls"] = _table(arguments.tls)
    settings = from_document(document, "", Installed(parts={}), seams=())
    changes: dict[str, Any] = {
        key: value
        for key in ("limits", "schedule", "notices", "relay", "durability")
        if (value := getattr(arguments, key)) is not None
    }
    return attrs.evolve(settings, chosen=choices, **changes)


def read_parts(
    parts: Mapping[str, Any], installed: Installed
) -> tuple[dict[str, Chosen], dict[str, Any]]:
    """Tell plugins from objects among the parts that a program asks for.

    :param parts: by seam a plugin's name, a table such as ``{"plugin": "table", "rule": […]}``, an
        instance of a plugin's settings class, or an object that provides the seam's interface
    :returns: the plugins with their settings, and the objects
    :raises SettingsError: a name or a table can't be used
    """
    chosen: dict[str, Chosen] = {}
    given: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for seam, value in parts.items():
        if isinstance(value, str | Mapping):
            table = {"plugin": value} if isinstance(value, str) else _table(value)
            choice, more = choose(seam, table, installed, os.getcwd(), {seam: table})
            mistakes += more
            if choice is not None:
                chosen[seam] = choice
        elif part := _part_of_settings(value, installed.parts[seam].values()):
            chosen[seam] = Chosen(part=part, settings=value)
        else:
            given[seam] = value
    if mistakes:
        raise SettingsError("", mistakes)
    return chosen, given


def _table(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {key: _as_in_toml(each) for key, each in value.items()}
    table: dict[str, Any] = attrs.asdict(value)
    return {key: _as_in_toml(each) for key, each in table.items() if each is not None}


def _as_in_toml(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _part_of_settings(value: Any, parts: Iterable[Part]) -> Part | None:
    """The part whose settings class this is an instance of."""
    path = f"{type(value).__module__}:{type(value).__qualname__}"
    return next((part for part in parts if part.settings == path), None)


def _texts(given: Iterable[str]) -> str | list[str]:
    """What was given as texts; one text will do, as in a file, and is not taken to pieces."""
    return given if isinstance(given, str) else list(given)
