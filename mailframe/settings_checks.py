"""What can only be seen by looking at several keys of a configuration at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from mailframe.authorisation.networks import parse_network
from mailframe.cli.endpoints import is_one_place
from mailframe.config_errors import Mistake, nearest, shown
from mailframe.delivery.resolver import parse_server
from mailframe.listening import check_endpoint
from mailframe.settings_reader import found_instead, mistake_at, table_name
from mailframe.wire.sasl import SERVER_MECHANISMS

if TYPE_CHECKING:
    from mailframe.delivery.relay_settings import RelaySettings
    from mailframe.delivery.shaping_settings import ShapingTable
    from mailframe.settings import Chosen, ServerSettings

MAX_PROCESSES = 64
_SMTP = ("smtp", "submission", "lmtp")
_PORT_25 = re.compile(r"(?:haproxy:)?(?:tcp6?|ssl):(?:port=)?25(?::|$)")


def check_servers(
    servers: Sequence[ServerSettings], document: Mapping[str, Any], has_tls: bool
) -> list[Mistake]:
    """Every ``[[server]]`` by itself and beside the others."""
    mistakes: list[Mistake] = []
    seen: dict[str, str] = {}
    for index, server in enumerate(servers):
        mistakes += _check_server(server, document, index, has_tls, seen)
    return mistakes + _check_places(servers, document)


def check_processes(
    processes: int, document: Mapping[str, Any], queue: Chosen | None
) -> list[Mistake]:
    """``processes``, and whether they can share the queue.

    :param queue: the chosen plugin; ``None`` when there was a mistake in its table
    """
    if not 1 <= processes <= MAX_PROCESSES:
        allowed = f"a whole number from 1 to {MAX_PROCESSES}, about as many as there are CPUs"
        return [found_instead(document, ("processes",), allowed)]
    if processes > 1 and queue and not getattr(queue.settings, "shared_by_processes", True):
        problem = f"{processes} processes can't share the queue of plugin {queue.part.name!r}"
        return [Mistake(key="processes", problem=problem, allowed="1, or another [queue] plugin")]
    return []


def check_retry(document: Mapping[str, Any]) -> list[Mistake]:
    """``[queue]``: the interval stays the same, or it grows."""
    queue = document.get("queue")
    if not (isinstance(queue, Mapping) and "retry" in queue and "retry_every" in queue):
        return []
    problem = "is there beside retry, whose waits would hold"
    allowed = "one of the two; drop retry_every to have them grow, or retry to have all the same"
    return [mistake_at(document, ("queue", "retry_every"), problem, allowed)]


def check_dns(servers: Sequence[str], document: Mapping[str, Any]) -> list[Mistake]:
    """``[dns] servers``: addresses, for a name could not be looked up."""
    mistakes: list[Mistake] = []
    for index, server in enumerate(servers):
        try:
            parse_server(server)
        except ValueError:
            allowed = 'an IP address and a port, such as "127.0.0.1:53" or "[::1]:53"'
            mistakes.append(found_instead(document, ("dns", "servers", index), allowed))
    return mistakes


def check_relay(
    relay: RelaySettings, validating: bool, document: Mapping[str, Any]
) -> list[Mistake]:
    """What the relay client is to believe and to use must be there.

    :param validating: whether the name servers validate DNSSEC
    """
    mistakes: list[Mistake] = []
    if relay.dane and not validating:
        problem = "needs name servers that validate DNSSEC, and [dns] does not say that they do"
        allowed = "false, or validating = true in [dns]"
        mistakes.append(mistake_at(document, ("relay", "dane"), problem, allowed))
    seen: set[tuple[str | None, str]] = set()
    for index, source in enumerate(relay.source):
        if (source.name, source.address) in seen:
            problem = f"{source.address} is there twice"
            mistakes.append(mistake_at(document, ("relay", "source", index, "address"), problem))
        seen.add((source.name, source.address))
    return mistakes


def check_dane_routes(
    settings: Any, validating: bool, document: Mapping[str, Any]
) -> list[Mistake]:
    """A routing rule that asks for DANE needs that it is found.

    :param settings: the routing plugin's
    :param validating: whether the relay client heeds what DNSSEC vouches for
    """
    problem = '"dane" needs validating = true in [dns], and dane not to be false in [relay]'
    return [
        mistake_at(document, ("routing", "rule", index, "tls"), problem)
        for index, rule in enumerate(getattr(settings, "rule", ()))
        if getattr(rule, "tls", None) == "dane" and not validating
    ]


def check_mailboxes(
    settings: Any, local_domains: Sequence[str], document: Mapping[str, Any]
) -> list[Mistake]:
    """A path made of ``{mailbox}`` alone would give people of several domains one mailbox.

    :param settings: the delivery plugin's
    """
    path = getattr(settings, "path", None)
    if not isinstance(path, str) or "{mailbox}" not in path or "{domain}" in path:
        return []
    if len(set(local_domains)) < 2:
        return []
    allowed = "a path with {domain} as well, as there are several local_domains, such as "
    return [found_instead(document, ("delivery", "path"), allowed + '"mail/{domain}/{mailbox}"')]


def check_providers(
    settings: Any, document: Mapping[str, Any], names: Sequence[str]
) -> list[Mistake]:
    """Every server that a provider names must exist, or its customers would use nothing."""
    mistakes: list[Mistake] = []
    for index, provider in enumerate(getattr(settings, "provider", ())):
        for name in getattr(provider, "servers", None) or ():
            if name not in names:
                mistakes.append(
                    mistake_at(
                        document,
                        ("authorisation", "provider", index, "servers"),
                        f"there is no [[server]] named {shown(name)}",
                        ", ".join(dict.fromkeys(map(shown, names))),
                        nearest(name, names),
                    )
                )
    return mistakes


def check_routing_names(
    settings: Any,
    document: Mapping[str, Any],
    servers: Sequence[str],
    providers: Sequence[str] | None,
    sources: Sequence[str] = (),
) -> list[Mistake]:
    """Every server and provider that a routing rule names must exist, or it would never match.

    :param settings: the routing plugin's
    :param providers: ``None``: the authorisation plugin doesn't tell
    :param sources: names of the ``[[relay.source]]`` tables
    """
    mistakes: list[Mistake] = []
    known = {
        "servers": ("[[server]]", (*servers, "local")),
        "source": ("[[relay.source]]", tuple(sources)),
    }
    if providers is not None:
        known["providers"] = ("[[authorisation.provider]]", tuple(providers))
    for index, rule in enumerate(getattr(settings, "rule", ())):
        for key, (table, names) in known.items():
            found = getattr(rule, key, None)
            found = () if found is None else found
            for name in (found,) if isinstance(found, str) else found:
                if name not in names:
                    mistakes.append(
                        mistake_at(
                            document,
                            ("routing", "rule", index, key),
                            f"there is no {table} named {shown(name)}",
                            ", ".join(dict.fromkeys(map(shown, names))),
                            nearest(name, names),
                        )
                    )
    return mistakes


def check_shaping(
    tables: Sequence[ShapingTable], document: Mapping[str, Any], providers: Sequence[str]
) -> list[Mistake]:
    """Every provider that a shaping table names must exist, or it would limit nothing."""
    return [
        mistake_at(
            document,
            ("relay", "shaping", index, "providers"),
            f"there is no [[authorisation.provider]] named {shown(name)}",
            ", ".join(map(shown, ("*", *dict.fromkeys(providers)))),
            nearest(name, providers),
        )
        for index, table in enumerate(tables)
        for name in table.providers or ()
        if name not in ("*", *providers)
    ]


def _check_server(
    server: ServerSettings,
    document: Mapping[str, Any],
    index: int,
    has_tls: bool,
    seen: dict[str, str],
) -> list[Mistake]:
    mistakes: list[Mistake] = []
    place = ("server", index)
    if not server.name.strip() or server.name == "local" or not server.name.isprintable():
        allowed = 'a name of its own; "local" stands for programs on this machine'
        mistakes.append(found_instead(document, (*place, "name"), allowed))
    name_key = f"name {server.name}"
    if name_key in seen:
        problem = f"is also the name of {seen[name_key]}"
        mistakes.append(mistake_at(document, (*place, "name"), problem))
    seen.setdefault(name_key, table_name(document, place))
    if server.tls in ("starttls", "implicit") and not has_tls:
        problem = f'"{server.tls}" needs a certificate, and there is no table [tls]'
        mistakes.append(mistake_at(document, (*place, "tls"), problem))
    if server.protocol == "console" and server.tls == "starttls":
        allowed = '"none", "implicit"'
        mistakes.append(found_instead(document, (*place, "tls"), allowed))
    mistakes += _check_extras(server, document, place)
    if not server.listen:
        allowed = 'at least one Twisted endpoint string, such as "tcp:25"'
        mistakes.append(found_instead(document, (*place, "listen"), allowed))
    for listen in server.listen:
        problem = check_endpoint(listen)
        if problem:
            mistakes.append(mistake_at(document, (*place, "listen"), problem))
    return mistakes


def _check_places(servers: Sequence[ServerSettings], document: Mapping[str, Any]) -> list[Mistake]:
    """Two sockets can't be opened at one place, however it is written."""
    mistakes: list[Mistake] = []
    taken: list[tuple[str, str]] = []  # an endpoint string, and the table that it stands in
    for index, server in enumerate(servers):
        for listen in server.listen:
            for other, table in taken:
                if is_one_place(listen, other):
                    written = "" if other == listen else f', written "{other}"'
                    problem = f'"{listen}" is also used by {table}{written}'
                    mistakes.append(mistake_at(document, ("server", index, "listen"), problem))
                    break
            taken.append((listen, table_name(document, ("server", index))))
    return mistakes


def _check_mechanisms(
    server: ServerSettings, document: Mapping[str, Any], place: tuple[str, int]
) -> list[Mistake]:
    """Mechanisms that there are, or clients would be offered less than was meant."""
    known = ", ".join(map(shown, SERVER_MECHANISMS))
    if server.mechanisms == ():
        problem = "is empty: nobody could log in"
        return [mistake_at(document, (*place, "mechanisms"), problem, known)]
    return [
        found_instead(document, (*place, "mechanisms", index), known, SERVER_MECHANISMS)
        for index, name in enumerate(server.mechanisms or ())
        if name.upper() not in SERVER_MECHANISMS
    ]


def _check_extras(
    server: ServerSettings, document: Mapping[str, Any], place: tuple[str, int]
) -> list[Mistake]:
    """The keys that are not for every protocol."""
    mistakes: list[Mistake] = []
    for key in ("xclient", "proxies"):
        for index, text in enumerate(getattr(server, key)):
            try:
                parse_network(text)
            except ValueError:
                allowed = 'a network such as "127.0.0.1" or "192.0.2.0/24"'
                mistakes.append(found_instead(document, (*place, key, index), allowed))
    proxied = any(listen.startswith("haproxy:") for listen in server.listen)
    if proxied and not server.proxies:
        problem = 'a "haproxy:" endpoint needs the networks of its proxies'
        allowed = 'networks, such as ["192.0.2.7", "10.0.0.0/8"]'
        mistakes.append(mistake_at(document, (*place, "proxies"), problem, allowed))
    if server.proxies and not proxied:
        problem = 'proxies are heard at a "haproxy:" endpoint, and there is none in listen'
        mistakes.append(mistake_at(document, (*place, "proxies"), problem))
    mistakes += _check_mechanisms(server, document, place)
    logins = (*_SMTP, "pop3")
    usual = attrs.fields_dict(type(server))
    for key, wanted in (
        *((key, _SMTP) for key in ("xclient", "show_login", "show_reason")),
        ("mechanisms", logins),
    ):
        if getattr(server, key) != usual[key].default and server.protocol not in wanted:
            problem = f"a server of protocol {server.protocol!r} has no use for it"
            mistakes.append(mistake_at(document, (*place, key), problem))
    if server.protocol == "lmtp" and any(_PORT_25.match(listen) for listen in server.listen):
        # RFC 2033 section 5: others would take it for the server of the domain's mail.
        problem = "LMTP is never spoken on port 25"
        mistakes.append(mistake_at(document, (*place, "listen"), problem, "another port"))
    return mistakes
