"""``[authorisation] plugin = "providers"``: whose customers may use which server.

A provider knows its customers by the network they connect from, by their login, or by both. The
first provider, in the order of the configuration, that recognises a client and allows what it wants
to do decides; when there is none, the refusal of the provider that came closest to allowing it is
told. Whoever is recognised by no provider is refused: also a client on this machine, for a web form
that was broken into connects from there.

Without any provider everyone who has logged in may send and read; everybody else is refused.

Reading a mailbox asks for more than sending: when its account is among some provider's
``accounts``, only those providers' rules count. So the customers of one provider can't read, over
their own network, the mailboxes of another that wants them read over its network alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailframe.address import Address
from mailframe.authorisation import refusals
from mailframe.authorisation.networks import parse_network
from mailframe.authorisation.provider import Customer, Provider, Standing
from mailframe.authorisation.refusals import PLUGIN
from mailframe.envelope import Client
from mailframe.interfaces import IRelayAuthorisation, Site
from mailframe.outcome import Deny, Permit, Verdict
from mailframe.patterns import AddressPattern


def _each(check: Callable[[str], object]) -> Any:
    """A validator that reads every text of a list."""

    def validate(_instance: object, attribute: Any, value: Iterable[str]) -> None:
        for text in value:
            try:
                check(text)
            except ValueError as error:
                raise ValueError(f"'{attribute.name}' {error}") from None

    return validate


def _name(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None and not (value.strip() and value.isprintable() and value.isascii()):
        raise ValueError(f"'{attribute.name}' found {value!r}; allowed: a name in printable ASCII")


def _account_pattern(text: str) -> None:
    if AddressPattern.parse(text).text == "<>":
        raise ValueError("'<>' is no login; allowed: address patterns such as \"*@rosse.example\"")


@attrs.frozen(kw_only=True)
class ProviderSettings:
    """One ``[[authorisation.provider]]`` table.

    :ivar name: how decisions, logs and refusals refer to it
    :ivar networks: its customers by address
    :ivar accounts: its customers by login, as address patterns
    :ivar customer: recognised by ``network``, ``login``, ``either`` or ``both``
    :ivar servers: the names of the servers that its customers may use; ``None`` for all
    :ivar relay: whether they may send to other domains
    :ivar senders: the reverse-paths they may use, as address patterns
    :ivar use_instead: what a refused customer is told to use
    """

    name: str = attrs.field(validator=_name)
    networks: tuple[str, ...] = attrs.field(default=(), validator=_each(parse_network))
    accounts: tuple[str, ...] = attrs.field(default=(), validator=_each(_account_pattern))
    customer: Customer = attrs.field(
        default="either", validator=attrs.validators.in_(("network", "login", "either", "both"))
    )
    servers: tuple[str, ...] | None = None
    relay: bool = True
    senders: tuple[str, ...] = attrs.field(default=("*",), validator=_each(AddressPattern.parse))
    use_instead: str | None = attrs.field(default=None, validator=_name)

    def __attrs_post_init__(self) -> None:
        needed = {
            "network": ("networks", bool(self.networks)),
            "login": ("accounts", bool(self.accounts)),
            "either": ("networks or accounts", bool(self.networks or self.accounts)),
            "both": ("networks and accounts", bool(self.networks and self.accounts)),
        }
        keys, given = needed[self.customer]
        if not given:
            raise ValueError(
                f"'customer' \"{self.customer}\" needs {keys}, or provider {self.name} would "
                "recognise nobody"
            )


def _unique_names(_instance: object, attribute: Any, value: Sequence[ProviderSettings]) -> None:
    seen: set[str] = set()
    for provider in value:
        if provider.name in seen:
            raise ValueError(f"'{attribute.name}' two providers are named {provider.name!r}")
        seen.add(provider.name)


@attrs.frozen(kw_only=True)
class ProvidersSettings:
    """The ``[authorisation]`` table."""

    provider: tuple[ProviderSettings, ...] = attrs.field(default=(), validator=_unique_names)


def build(settings: ProvidersSettings, site: Site) -> ProvidersAuthorisation:
    """Make the part."""
    return ProvidersAuthorisation(settings.provider, site.local_domains)


@implementer(IRelayAuthorisation)
class ProvidersAuthorisation:
    """Decides by providers.

    :param settings: of each provider, in the order in which they are asked
    :param local_domains: mail for these is not relayed, so ``relay`` says nothing about it
    """

    def __init__(self, settings: Iterable[ProviderSettings], local_domains: frozenset[str]) -> None:
        self._providers = tuple(Provider(**attrs.asdict(each, recurse=False)) for each in settings)
        self._local_domains = local_domains

    def authorise(
        self, client: Client, sender: Address | None, recipient: Address
    ) -> Deferred[Verdict]:
        """May this client have us carry mail to this recipient?"""
        local = recipient.domain in self._local_domains
        verdict = _local_program(client) or self._judge(client, sender, local)
        return succeed(verdict)

    def admit(self, client: Client) -> Deferred[Verdict]:
        """May this client read the mailbox of its login over this server?"""
        return succeed(_local_program(client) or self._judge_reading(client))

    # --- sending ------------------------------------------------------------------------------

    def _judge(self, client: Client, sender: Address | None, local: bool) -> Verdict:
        if not self._providers:
            if client.login is not None:
                return _logged_in(client)
            return refusals.stranger(client, (), local)
        objections: list[tuple[int, Deny]] = []
        for provider in self._providers:
            standing = provider.standing(client)
            if standing.is_customer:
                objection = _objection(client, provider, standing, sender, local)
                if objection is None:
                    return _customer(client, provider, standing)
                objections.append(objection)
            elif standing.is_half_known:
                objections.append((0, refusals.half_known(client, provider, standing, local)))
        if objections:
            return max(objections, key=lambda pair: pair[0])[1]  # the first of several as close
        return refusals.stranger(client, self._providers, local)

    # --- reading ------------------------------------------------------------------------------

    def _judge_reading(self, client: Client) -> Verdict:
        if client.login is None:
            return refusals.reading(client, "nobody has logged in")
        if not self._providers:
            return _logged_in(client)
        owners = [each for each in self._providers if each.owns_login(client)]
        closest: Deny | None = None
        for provider in owners or self._providers:
            standing = provider.standing(client)
            if standing.is_customer and provider.serves(client.server):
                return _customer(client, provider, standing)
            if closest is None and (standing.is_customer or owners):
                closest = refusals.mailbox(client, provider, standing)
        nobody = f"{client.login} is not a customer of any provider here"
        return closest or refusals.reading(client, nobody)


def _objection(
    client: Client, provider: Provider, standing: Standing, sender: Address | None, local: bool
) -> tuple[int, Deny] | None:
    """What a provider has against what its customer wants to do.

    :returns: how close it came to allowing it, and the refusal; ``None`` when it allows it
    """
    if not provider.serves(client.server):
        return 1, refusals.server(client, provider, standing, local)
    if not (provider.relay or local):
        return 2, refusals.relaying(provider, standing)
    if not provider.senders.matches(sender):
        return 3, refusals.reverse_path(provider, standing, sender)
    return None


def _customer(client: Client, provider: Provider, standing: Standing) -> Permit:
    return Permit(
        reason=refusals.recognised(client, provider, standing),
        rule=standing.rule,
        plugin=PLUGIN,
        provider=provider.name,
    )


def _local_program(client: Client) -> Permit | None:
    """What a program on this machine puts into the queue comes from somebody let in already."""
    if client.protocol != "local":
        return None
    reason = "a program on this machine handed it to the queue"
    return Permit(reason=reason, rule="local program", plugin=PLUGIN)


def _logged_in(client: Client) -> Permit:
    return Permit(reason=f"{client.login} has logged in", rule="login", plugin=PLUGIN)
