"""``mailframe explain``: the decisions that the server would take, taken by the same code.

Admission judges the recipient, the router follows aliases to where mail ends up, and the relay
agent says which servers it would try. Nothing is sent and nothing is kept.
"""

from __future__ import annotations

import ipaddress

import attrs
import click

from mailframe import guard
from mailframe.address import Address
from mailframe.assembly import Parts
from mailframe.cli.addresses import POSTMASTER, MailAddress, RecipientAddress, ReversePath
from mailframe.cli.destinations import Followed, Follower
from mailframe.cli.explain_message import explain_message
from mailframe.cli.explain_text import verdict_fields, way_fields
from mailframe.cli.not_in_force import note_if_not_in_force
from mailframe.cli.options import Misuse, config_option, json_option
from mailframe.cli.output import print_fields, print_json
from mailframe.cli.parts import read_settings, with_parts
from mailframe.cli.send import CLIENT, EVIDENCE
from mailframe.config_errors import nearest
from mailframe.documents import (
    Document,
    client_document,
    route_document,
    schedule_document,
    verdict_document,
)
from mailframe.envelope import Client
from mailframe.interfaces import Account, Known
from mailframe.outcome import Deny, Permit, Relay, Route, Unroutable, Verdict
from mailframe.queue.memory import MemoryStorage
from mailframe.reply import Reply
from mailframe.routing.resolution import Router
from mailframe.server.admission import Admission
from mailframe.settings import Settings
from mailframe.units import parse_size


@attrs.frozen(kw_only=True)
class Explanation:
    """All decisions about one recipient.

    :ivar route: the first decision, which is the one that counts at RCPT
    :ivar followed: those after it
    :ivar has_login: whether the login is an account; ``None`` when none was given
    :ivar now: POSIX seconds
    """

    verdict: Verdict
    route: Route
    followed: Followed
    has_login: bool | None
    now: float

    @property
    def is_yes(self) -> bool:
        """Whether the mail would be taken and no part of it would bounce."""
        return isinstance(self.verdict, Permit) and self.followed.is_reachable


@click.command()
@config_option
@json_option
@click.option("--message", "id", metavar="ID", help="A message of the queue, and nothing else.")
@click.option("--server", "name", metavar="NAME", help="The name of a [[server]].")
@click.option("--from-ip", metavar="IP", help="The client's address.")
@click.option("--login", metavar="USER", type=MailAddress(), help="The account it proved to be.")
@click.option("--size", metavar="SIZE", help="The message's size, such as 20MB.")
@click.argument("sender", type=ReversePath(), required=False)
@click.argument("recipient", type=RecipientAddress(), required=False)
def explain(
    config: str,
    as_json: bool,
    id: str | None,
    name: str | None,
    from_ip: str | None,
    login: Address | None,
    size: str | None,
    sender: Address | str | None,
    recipient: Address | str | None,
) -> None:
    """Show which decisions the server would take for a message.

    Either for one that a client would hand over, which takes --server, --from-ip, SENDER and
    RECIPIENT; SENDER may be "<>", the null reverse-path. With --server local it is a program on
    this machine that hands it over, by `mailframe send`. Or, with --message, for one that is in the
    queue. Nothing is sent. The exit status is 1 when the message would not be taken or any part of
    it would bounce.
    """
    given = (name, from_ip, login, size, sender, recipient)
    if id is not None:
        if any(each is not None for each in given):
            raise Misuse(
                "explain --message ID takes nothing besides: the queue knows who sent the message, "
                "and to whom"
            )
        explain_message(read_settings(config), id, as_json)
        return
    is_local = name == CLIENT.server
    if name is None or sender is None or recipient is None or (from_ip is None and not is_local):
        raise Misuse(
            "explain takes --server NAME --from-ip IP SENDER RECIPIENT, or --server local for a "
            "program on this machine, or --message ID for a message of the queue"
        )
    if is_local and (from_ip is not None or login is not None):
        raise Misuse("a program on this machine (--server local) has no --from-ip and no --login")
    settings = read_settings(config)
    client = CLIENT if from_ip is None else _client(settings, name, from_ip, login)
    reverse_path = sender if isinstance(sender, Address) else None
    if not isinstance(recipient, Address):
        recipient = Address(POSTMASTER, settings.default_domain)
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
    note_if_not_in_force(settings)
    if not explanation.is_yes:
        raise click.exceptions.Exit(1)


def _client(settings: Settings, name: str, from_ip: str, login: Address | None) -> Client:
    servers = {server.name: server for server in settings.servers}
    if name not in servers:
        guess = nearest(name, servers)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise Misuse(f"no [[server]] is named {name!r}; there are: {', '.join(servers)}{hint}")
    protocol = servers[name].protocol
    if protocol not in ("smtp", "submission", "lmtp"):
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
    follower = Follower(parts)
    admission = Admission(
        hostname=parts.site.hostname,
        # judging keeps nothing, and the queue itself is left alone
        storage=MemoryStorage(clock=parts.site.reactor, random=parts.site.random),
        storage_name="none",
        router=follower.router,
        authorisation=parts.authorisation.part,
        authorisation_name=parts.authorisation.name,
        limits=parts.settings.limits,
        clock=parts.site.reactor,
        local_domains=parts.site.local_domains,
    )
    if client is CLIENT:
        first, verdict = await _of_program(follower.router, sender, recipient, parts)
    else:
        first, verdict = await admission.judge(client, sender, recipient, Known(size=size))
    refusal = admission.mail(client, sender, size, "7BIT")
    if isinstance(refusal, Reply):
        most = parts.settings.limits.message_size
        reason = f"the message's size is {size} octets, and [limits] message_size is {int(most)}"
        verdict = Deny(reason=reason, rule="message_size", reply=refusal)
    # What is taken is routed anew before its first attempt, when all is known but perhaps the size.
    taken = isinstance(verdict, Permit)
    known = Known(accepted=taken, provider=verdict.provider, size=size)
    followed = await follower.follow(client=client, sender=sender, recipient=recipient, known=known)
    has_login = None
    if client.login is not None:
        has_login = await _is_account(parts, Address.parse(client.login))
    return Explanation(
        verdict=verdict,
        route=first,
        followed=followed,
        has_login=has_login,
        now=parts.site.reactor.seconds(),
    )


async def _of_program(
    router: Router, sender: Address | None, recipient: Address, parts: Parts
) -> tuple[Route, Verdict]:
    """What ``mailframe send`` decides of a recipient."""
    route = await router.route(sender, recipient, CLIENT, parts.site.reactor.seconds())
    if isinstance(route, Unroutable) and route.reply.is_permanent:
        refused = Deny(reason=route.reason, rule=route.rule, plugin=route.plugin, reply=route.reply)
        return route, refused
    return route, EVIDENCE


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
    followed = explanation.followed
    destinations = {each.address: each for each in followed.destinations}
    own = destinations.get(recipient)
    document: Document = {
        "client": client_document(client),
        "sender": None if sender is None else str(sender),
        "recipient": str(recipient),
        "authorised": isinstance(explanation.verdict, Permit),
        "authorisation": verdict_document(explanation.verdict),
        **followed.documents(),
        "route": own.document() if own else route_document(explanation.route),
        "retry": schedule_document(settings.schedule),
    }
    for shown, destination in zip(document["destinations"], followed.destinations, strict=True):
        route = destination.route
        retry = route.retry if isinstance(route, Relay) else None
        opens = (route.not_before if isinstance(route, Relay) else None) or explanation.now
        wait = max(0, round(opens - explanation.now))
        shown["retry"] = schedule_document(settings.schedule, retry, wait)
        if sender is None:
            shown["retry"]["warn_after"] = None  # nobody is told
    return document


def _print(document: Document) -> None:
    print_fields([*verdict_fields(document), *way_fields(document)])
