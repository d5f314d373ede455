"""The configuration file: read, checked as far as that is possible without side effects, frozen.

`load` gives a `Settings` or raises one `SettingsError` with everything that is wrong. The tables of
replaceable parts are read by the settings classes of the chosen plugins, which are imported for
that; nothing else of a plugin is.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import attrs

from mailframe.config_errors import Mistake, SettingsError
from mailframe.delivery.relay_settings import RelaySettings
from mailframe.durability import Durability
from mailframe.plugin import (
    SEAMS,
    Installed,
    Part,
    PluginError,
    Problem,
    find_parts,
    load_settings_class,
)
from mailframe.queue.notices import NoticeSettings
from mailframe.queue.schedule import Schedule
from mailframe.server.limits import Limits
from mailframe.settings_checks import (
    check_dane_routes,
    check_dns,
    check_mailboxes,
    check_processes,
    check_providers,
    check_relay,
    check_retry,
    check_routing_names,
    check_servers,
    check_shaping,
)
from mailframe.settings_converter import DomainName
from mailframe.settings_reader import found_instead, read_table
from mailframe.units import FilePath

# What stands for a table that is not there.
DEFAULT_TABLES: Mapping[str, Mapping[str, str]] = {
    "accounts": {"plugin": "file", "path": "accounts.toml"},
    "authorisation": {"plugin": "providers"},
    "routing": {"plugin": "table"},
    "queue": {"plugin": "sqlite"},
    "delivery": {"plugin": "maildir"},
}
T = TypeVar("T", Schedule, NoticeSettings, Durability)
Protocol: TypeAlias = Literal["smtp", "submission", "lmtp", "pop3", "console"]
Tls: TypeAlias = Literal["none", "starttls", "implicit"]
_QUEUE_KEYS = tuple(
    f.name for cls in (Schedule, NoticeSettings, Durability) for f in attrs.fields(cls)
)


@attrs.frozen(kw_only=True)
class ServerSettings:
    """One ``[[server]]``.

    :ivar name: how decisions, logs and providers refer to it
    :ivar protocol: what it speaks
    :ivar listen: Twisted server endpoint strings, at least one
    :ivar tls: ``None`` stands for the default, which `load` fills in
    :ivar xclient: networks whose programs may say for whom they speak (XCLIENT)
    :ivar proxies: networks of the proxies behind a ``haproxy:`` endpoint; nobody else gets in there
    :ivar show_login: the trace header names the client's login
    :ivar show_reason: the trace header says why the client was let in, and by which rule
    :ivar mechanisms: those of SASL that may be offered; ``None``: all that anybody could use
    """

    name: str
    protocol: Protocol
    listen: tuple[str, ...]
    tls: Tls | None = None
    xclient: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    show_login: bool = False
    show_reason: bool = True
    mechanisms: tuple[str, ...] | None = None


@attrs.frozen(kw_only=True)
class TlsSettings:
    """``[tls]``: PEM files, the certificate with its chain."""

    certificate: FilePath
    private_key: FilePath


@attrs.frozen(kw_only=True)
class DnsSettings:
    """``[dns]``.

    :ivar servers: ``address:port``; empty means the system's resolvers
    :ivar validating: they validate DNSSEC, and nobody can change their answers on the way here
    """

    servers: tuple[str, ...] = ()
    validating: bool = False


@attrs.frozen(kw_only=True)
class Chosen:
    """A plugin with its settings."""

    part: Part
    settings: Any  # an instance of the part's own settings class


@attrs.frozen(kw_only=True)
class Settings:
    """A configuration without mistakes.

    :ivar path: the absolute path of its file
    :ivar hostname: in normal form
    :ivar state_dir: absolute
    :ivar local_domains: in normal form, in the order of the file
    :ivar processes: how many worker processes `twistd` and `twist` are to run it in
    :ivar chosen: the plugin of each seam (`mailframe.plugin.SEAMS`)
    :ivar problems: the drop-ins that can't be used; none of them was chosen
    """

    path: str
    hostname: str
    state_dir: str
    local_domains: tuple[str, ...] = ()
    processes: int = 1
    servers: tuple[ServerSettings, ...] = ()
    tls: TlsSettings | None = None
    schedule: Schedule = attrs.Factory(Schedule)
    notices: NoticeSettings = attrs.Factory(NoticeSettings)
    durability: Durability = attrs.Factory(Durability)
    limits: Limits = attrs.Factory(Limits)
    relay: RelaySettings = attrs.Factory(RelaySettings)
    dns: DnsSettings = attrs.Factory(DnsSettings)
    chosen: Mapping[str, Chosen]
    problems: tuple[Problem, ...] = ()

    @property
    def default_domain(self) -> str:
        """Whose postmaster ``<Postmaster>`` without a domain is (RFC 5321 §4.5.1)."""
        return (*self.local_domains, self.hostname)[0]


@attrs.frozen(kw_only=True)
class _File:
    """The file's top, with the tables of plugins left as they are."""

    hostname: DomainName
    state_dir: FilePath = FilePath("state")
    local_domains: tuple[DomainName, ...] = ()
    processes: int = 1
    server: tuple[ServerSettings, ...] = ()
    tls: TlsSettings | None = None
    limits: Limits = attrs.Factory(Limits)
    relay: RelaySettings = attrs.Factory(RelaySettings)
    dns: DnsSettings = attrs.Factory(DnsSettings)
    accounts: Mapping[str, Any] = attrs.Factory(dict)
    authorisation: Mapping[str, Any] = attrs.Factory(dict)
    routing: Mapping[str, Any] = attrs.Factory(dict)
    queue: Mapping[str, Any] = attrs.Factory(dict)
    delivery: Mapping[str, Any] = attrs.Factory(dict)


def load(path: str, installed: Installed | None = None) -> Settings:
    """Read a configuration file.

    :param path: the file
    :param installed: the parts to choose from; those that are installed unless a test brings others
    :raises SettingsError: it can't be read or used; ``str(error)`` is the message for the user
    """
    path = os.path.abspath(path)
    return from_text(read_text(path), path, installed)


def from_text(text: str, path: str, installed: Installed | None = None) -> Settings:
    """Check what `read_text` gave.

    :param path: the absolute path of the file
    :param installed: as for `load`
    :raises SettingsError: it can't be used
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, [Mistake(problem=f"is not TOML: {error}")]) from None
    return from_document(document, path, installed or find_parts())


def from_document(
    document: Mapping[str, Any],
    path: str,
    installed: Installed,
    seams: Iterable[str] = tuple(SEAMS),
) -> Settings:
    """Check what a configuration file holds.

    :param document: its content
    :param path: its absolute path, to which paths in it are relative; ``""`` when there is no file,
        which makes them relative to the current folder
    :param seams: those whose plugin is to be chosen
    :raises SettingsError: it can't be used
    """
    folder = os.path.dirname(path) or os.getcwd()
    top, mistakes = read_table(_File, document, (), folder, document)
    chosen: dict[str, Chosen] = {}
    for seam in seams:
        table = document.get(seam, DEFAULT_TABLES[seam])
        if isinstance(table, Mapping):
            choice, more = choose(seam, table, installed, folder, document, other_keys(seam))
            mistakes += more
            if choice is not None:
                chosen[seam] = choice
    schedule, more = _of_queue(Schedule, document, folder)
    mistakes += more + check_retry(document)
    notices, more = _of_queue(NoticeSettings, document, folder)
    mistakes += more
    durability, more = _of_queue(Durability, document, folder)
    mistakes += more
    if top is not None:
        mistakes += check_processes(top.processes, document, chosen.get("queue"))
        mistakes += check_servers(top.server, document, top.tls is not None)
        mistakes += check_dns(top.dns.servers, document)
        mistakes += check_relay(top.relay, top.dns.validating, document)
        if "delivery" in chosen:
            delivery = chosen["delivery"].settings
            mistakes += check_mailboxes(delivery, top.local_domains, document)
        if "authorisation" in chosen:
            names = [server.name for server in top.server]
            mistakes += check_providers(chosen["authorisation"].settings, document, names)
        if "routing" in chosen and "authorisation" in chosen:
            found = getattr(chosen["authorisation"].settings, "provider", None)
            providers = None if found is None else [getattr(each, "name", "") for each in found]
            names = [server.name for server in top.server]
            routing = chosen["routing"].settings
            sources = [source.name for source in top.relay.source if source.name is not None]
            mistakes += check_routing_names(routing, document, names, providers, sources)
            validating = top.dns.validating and top.relay.dane is not False
            mistakes += check_dane_routes(routing, validating, document)
            if providers is not None:
                mistakes += check_shaping(top.relay.shaping, document, providers)
    if mistakes or top is None or schedule is None or notices is None or durability is None:
        raise SettingsError(path, mistakes)
    default_tls: Tls = "starttls" if top.tls else "none"
    return Settings(
        path=path,
        hostname=top.hostname,
        state_dir=top.state_dir,
        local_domains=tuple(dict.fromkeys(top.local_domains)),
        processes=top.processes,
        servers=tuple(with_default_tls(server, default_tls) for server in top.server),
        tls=top.tls,
        schedule=schedule,
        notices=notices,
        durability=durability,
        limits=top.limits,
        relay=top.relay,
        dns=top.dns,
        chosen=chosen,
        problems=installed.problems,
    )


def with_default_tls(server: ServerSettings, default: Tls) -> ServerSettings:
    """The server with its ``tls`` filled in; a console has none unless it is asked for."""
    if server.tls is not None:
        return server
    return attrs.evolve(server, tls="none" if server.protocol == "console" else default)


def other_keys(seam: str) -> tuple[str, ...]:
    """The keys of a seam's table that are not its plugin's."""
    return ("plugin", *_QUEUE_KEYS) if seam == "queue" else ("plugin",)


def choose(
    seam: str,
    table: Mapping[str, Any],
    installed: Installed,
    folder: str,
    document: Mapping[str, Any],
    not_for_plugin: Sequence[str] = ("plugin",),
) -> tuple[Chosen | None, list[Mistake]]:
    """Find the plugin of a table and have its settings class read the table's other keys.

    :param folder: what paths are relative to
    :param document: the file's content, to name the place of a mistake
    :returns: the choice, or ``None`` with the mistakes that prevented it
    """
    name = table.get("plugin", DEFAULT_TABLES[seam]["plugin"])
    if not isinstance(name, str):
        return None, [found_instead(document, (seam, "plugin"), "a plugin's name, in quotes")]
    try:
        part = installed.find(seam, name)
        settings_class = load_settings_class(part)
    except PluginError as error:
        return None, [Mistake(table=f"[{seam}]", key="plugin", problem=str(error))]
    values = {key: value for key, value in table.items() if key not in not_for_plugin}
    settings, mistakes = read_table(
        settings_class, document, (seam,), folder, values, not_for_plugin
    )
    return (None if mistakes else Chosen(part=part, settings=settings)), mistakes


def read_text(path: str) -> str:
    """What a configuration file holds.

    :param path: its absolute path
    :raises SettingsError: it can't be read
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except OSError as error:
        problem = f"can't be read: {error.strerror or error}"
        if isinstance(error, FileNotFoundError):
            problem += "; `mailframe init` writes one"
        raise SettingsError(path, [Mistake(problem=problem)]) from None
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 (octet {error.start})"
        raise SettingsError(path, [Mistake(problem=problem)]) from None


def _of_queue(
    cls: type[T], document: Mapping[str, Any], folder: str
) -> tuple[T | None, list[Mistake]]:
    """What of ``[queue]`` is the same for all its plugins."""
    table = document.get("queue", {})
    table = table if isinstance(table, dict) else {}
    keys = [field.name for field in attrs.fields(cls)]
    values = {key: table[key] for key in keys if key in table}
    return read_table(cls, document, ("queue",), folder, values)
