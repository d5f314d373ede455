"""``mailframe explain``: the decisions that the server would take, taken by the same code.

Admission judges the recipient, the router follows aliases to where mail ends up, and the relay
agent says which servers it would try. Nothing is sent and nothing is kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import attrs
import click

from mailframe import guard
from mailframe.address import Address
from mailframe.assembly import Parts
from mailframe.cli.addresses import MailAddress, ReversePath
from mailframe.cli.options import Misuse, config_option, json_option
from mailframe.cli.output import print_fields, print_json
from mailframe.cli.parts import read_settings, with_parts
from mailframe.cli.trace import why
from mailframe.config_errors import nearest
from mailframe.delivery.relay import RelayAgent
from mailframe.delivery.targets import PlannedHop
from mailframe.documents import (
    Document,
    client_document,
    decision_document,
    route_document,
    rules_document,
    schedule_document,
    verdict_document,
)
from mailframe.envelope import Client
from mailframe.interfaces import Account, Known
from mailframe.outcome import Permit, Redirect, Relay, Route, RuleSeen, Unroutable, Verdict
from mailframe.queue.memory import MemoryStorage
from mailframe.server.admission import Admission
from mailframe.settings import Settings
from mailframe.units import duration_text, parse_size


@attrs.frozen(kw_only=True)
class Destination:
    """Where mail for one address goes, after all aliases.

    :ivar planned: what the relay agent would do, when it is elsewhere
    :ivar rules: how the rules of the routing table fare
    """

    address: Address
    route: Route
    planned: tuple[PlannedHop, ...] = ()
    rules: tuple[RuleSeen, ...] = ()

    @property
    def is_reachable(self) -> bool:
        """Whether mail would get there, as far as can be told without trying."""
        if isinstance(self.route, Unroutable):
            return self.route.reply.is_temporary
        return not self.planned or any(
            each.reply is None or each.reply.is_temporary for each in self.planned
        )


@attrs.frozen(kw_only=True)
class Explanation:
    """All decisions about one recipient.

    :ivar route: the first decision, which is the one that counts at RCPT
    :ivar aliases: each redirection on the way, with the address it is for
    :ivar rules: for each of those addresses, how the rules of the routing table fare
    :ivar destinations: where it ends
    :ivar has_login: whether the login is an account; ``None`` when none was given
    """

    verdict: Verdict
    route: Route
    aliases: tuple[tuple[Address, Redirect], ...]
    rules: Mapping[Address, tuple[RuleSeen, ...]]
    destinations: tuple[Destination, ...]
    has_login: bool | None

    @property
    def is_yes(self) -> bool:
        """Whether the mail would be taken and no part of it would bounce."""
        return isinstance(self.verdict, Permit) and all(
            destination.is_reachable for destination in self.destinations
        )


@click.command()
@config_option
@json_option
@click.option("--server", "name", metavar="NAME", required=True, help="The name of a [[server]].")
@click.option("--from-ip", metavar="IP", required=True, help="The client's address.")
@click.option("--login", metavar="USER", type=MailAddress(), help="The account it proved to be.")
@click.option("--size", metavar="SIZE", help="The message's size, such as 20MB.")
@click.argument("sender", type=ReversePath())
@click.argument("recipient", type=MailAddress())
def explain(
    config: str,
    as_json: bool,
    name: str,
    from_ip: str,
    login: Address | None,
    size: str | None,
    sender: Address | str,
    recipient: Address,
) -> None:
    """Show which decisions the server would take for a message.

    SENDER may be "<>", the null reverse-path. The exit status is 1 when the message would not be
    taken or any part of it would bounce.
    """
    settings = read_settings(config)
    client = _client(settings, name, from_ip, login)
    reverse_path = sender if isinstance(sender, Address) else None
    octets = None if size is None else _octets(size)
    explanation = with_parts(
        settings,
        ("accounts", "authorisation", "routing"),
        lambda parts: examine(parts, client, reverse_path, recipient, octets),
    )
    document = explain_document(explanation, settings, client, reverse_path, recipient)
    if as_json:
        print_json(document)
    else:
        _print(document)
    if explanation.has_login is False:
        click.echo(f"note: {login} is no account here, so nobody can log in as it", err=True)
    if not explanation.is_yes:
        raise click.exceptions.Exit(1)


def _client(settings: Settings, name: str, from_ip: str, login: Address | None) -> Client:
    servers = {server.name: server for server in settings.servers}
    if name not in servers:
        guess = nearest(name, servers)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise Misuse(f"no [[server]] is named {name!r}; there are: {', '.join(servers)}{hint}")
    protocol = servers[name].protocol
    if protocol not in ("smtp", "submission"):
        raise Misuse(f"[[server]] {name!r} speaks {protocol} and takes no mail")
    try:
        address = ipaddress.ip_address(from_ip)
    except ValueError:
        raise Misuse(f"--from-ip {from_ip!a} is not an IP address") from None
    mapped = getattr(address, "ipv4_mapped", None)
    return Client(
        server=name,
        protocol=protocol,
        address=str(mapped or address),
        login=None if login is None else str(login),
        esmtp=True,
    )


def _octets(size: str) -> int:
    try:
        return parse_size(int(size) if size.isdecimal() else size)
    except ValueError as error:
        raise Misuse(f"--size {size!a} is not {error}") from None


async def examine(
    parts: Parts,
    client: Client,
    sender: Address | None,
    recipient: Address,
    size: int | None = None,
) -> Explanation:
    """Have every decision taken.

    :param parts: accounts, authorisation and routing
    :param size: octets of the message; ``None``: the client does not say
    """
    router = parts.router()
    admission = Admission(
        hostname=parts.site.hostname,
        # judging keeps nothing, and the queue itself is left alone
        storage=MemoryStorage(clock=parts.site.reactor, random=parts.site.random),
        storage_name="none",
        router=router,
        authorisation=parts.authorisation.part,
        authorisation_name=parts.authorisation.name,
        limits=parts.settings.limits,
        clock=parts.site.reactor,
        local_domains=parts.site.local_domains,
    )
    first, verdict = await admission.judge(client, sender, recipient, Known(size=size))
    provider = verdict.provider if isinstance(verdict, Permit) else None
    # Without a size the rest is explained as at RCPT, where it is not known either.
    known = Known(accepted=size is not None, provider=provider, size=size)
    relay = parts.relay_agent().part
    assert isinstance(relay, RelayAgent)
    now = parts.site.reactor.seconds()
    steps = await router.resolve_fully(sender, recipient, client, now, known)
    destinations: list[Destination] = []
    rules: dict[Address, tuple[RuleSeen, ...]] = {}
    for address, route in steps:
        about = known if address == recipient else attrs.evolve(known, original=recipient)
        rules[address] = await router.rules_seen(sender, address, client, now, about)
        if not isinstance(route, Redirect):
            planned = await relay.plan(route) if isinstance(route, Relay) else ()
            destinations.append(
                Destination(address=address, route=route, planned=planned, rules=rules[address])
            )
    has_login = None
    if client.login is not None:
        has_login = await _is_account(parts, Address.parse(client.login))
    return Explanation(
        verdict=verdict,
        route=first,
        aliases=tuple((each, route) for each, route in steps if isinstance(route, Redirect)),
        rules=rules,
        destinations=tuple(destinations),
        has_login=has_login,
    )


async def _is_account(parts: Parts, address: Address) -> bool | None:
    """Whether somebody can log in as this; ``None`` when the accounts' plugin does not tell."""
    name, part = parts.accounts.name, parts.accounts.part
    seconds = parts.settings.limits.plugin_time
    try:
        found = await guard.ask(name, (), parts.site.reactor, seconds, lambda: part.find(address))
    except guard.PluginFault:
        return None
    return isinstance(found, Account) and not found.reason  # a subaddress is no login


def explain_document(
    explanation: Explanation,
    settings: Settings,
    client: Client,
    sender: Address | None,
    recipient: Address,
) -> Document:
    """The document of ``explain --json``."""
    destinations = {each.address: each for each in explanation.destinations}
    own = destinations.get(recipient)
    return {
        "client": client_document(client),
        "sender": None if sender is None else str(sender),
        "recipient": str(recipient),
        "authorised": isinstance(explanation.verdict, Permit),
        "authorisation": verdict_document(explanation.verdict),
        "route": route_document(explanation.route, own.planned if own else ()),
        "aliases": [
            {
                "address": str(address),
                "addresses": [str(target) for target in redirect.addresses],
                **decision_document(redirect),
                "rules": rules_document(explanation.rules[address]),
            }
            for address, redirect in explanation.aliases
        ],
        "destinations": [
            {
                "address": str(each.address),
                "route": route_document(each.route, each.planned),
                "rules": rules_document(each.rules),
            }
            for each in explanation.destinations
        ],
        "retry": schedule_document(settings.schedule),
    }


def _print(document: Document) -> None:
    verdict = document["authorisation"]
    fields: list[tuple[str, object]] = [
        ("authorised", "yes" if document["authorised"] else "no"),
        ("because", why(verdict["reason"], verdict["plugin"], verdict["rule"])),
    ]
    if verdict["provider"]:
        fields.append(("customer of", verdict["provider"]))
    if verdict["reply"]:
        fields.append(("told", verdict["reply"]))
    for step in document["aliases"]:
        to = ", ".join(step["addresses"])
        if step["rule"] == "alias":
            fields.append(("alias", f"{step['address']} stands for {to}"))
        else:
            fields.append(("redirect", f"from {step['address']} to {to}"))
        fields.append(("because", why(step["reason"], step["plugin"], step["rule"])))
        fields += _rules(step["rules"])
    for destination in document["destinations"]:
        route = destination["route"]
        fields += [
            ("mail for", destination["address"]),
            ("goes", _where(route)),
            ("because", why(route["reason"], route["plugin"], route["rule"])),
            *_rules(destination["rules"]),
        ]
        if route["reverse_path"]:
            fields.append(("sender told", route["reverse_path"]))
        for hop in route["hops"]:
            fields.append(("next hop", f"{hop['where']}, {hop['protocol']}, tls {hop['tls']}"))
            if hop["reply"]:
                fields.append(("", hop["reply"]))
            for server in hop["servers"]:
                if server["address"]:
                    place = f"{server['host']} [{server['address']}]:{server['port']}"
                    fields.append(("", place))
        if route["hops"]:
            fields.append(("retried", _retries(document["retry"])))
    print_fields(fields)


def _rules(seen: list[Document]) -> list[tuple[str, object]]:
    return [("rules" if not n else "", f"{r['rule']}: {r['reason']}") for n, r in enumerate(seen)]


def _where(route: Document) -> str:
    if route["kind"] == "local":
        return f"into the mailbox {route['mailbox']}"
    if route["kind"] == "reject":
        return f"nowhere: {route['reply']}"
    if route["kind"] == "hold":
        return "nowhere, until an operator releases it from the queue"
    return "to another server"


def _retries(retry: Document) -> str:
    warning = (
        f", a warning after {duration_text(retry['warn_after'])}" if retry["warn_after"] else ""
    )
    return (
        f"every {duration_text(retry['retry_every'])}{warning}, "
        f"given up after {duration_text(retry['give_up_after'])}"
    )
