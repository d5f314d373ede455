"""The words of permissions and refusals: what a person needs to know to act on them.

530 with 5.7.0 asks a client to log in (RFC 4954 §6); every other refusal is 550 with 5.7.1,
delivery not authorised (RFC 3463 §3.8).
"""

from __future__ import annotations

from collections.abc import Sequence

from mailframe.address import Address
from mailframe.authorisation.provider import Provider, Standing
from mailframe.envelope import Client
from mailframe.outcome import Deny
from mailframe.reply import Reply

PLUGIN = "providers"
NOBODY = "no provider"  # the rule when no provider recognises the client, not even by half
_FEW = 3  # patterns that a refusal names; more would not be read


def recognised(client: Client, provider: Provider, standing: Standing) -> str:
    """Why a client is a provider's customer."""
    marks = []
    if standing.network is not None and standing.customer != "login":
        marks.append(f"{client.address} is in its network {standing.network}")
    if standing.login is not None and standing.customer != "network":
        marks.append(f"{client.login} has logged in")
    return f"customer of provider {provider.name}: {' and '.join(marks)}"


def stranger(client: Client, providers: Sequence[Provider], local: bool) -> Deny:
    """No provider knows the client.

    :param providers: all of them
    :param local: the recipient is local
    """
    by_login = not providers or any(provider.looks_at_logins for provider in providers)
    if client.login is not None:
        reason = f"{client.login} at {client.address} is not a customer of any provider here"
    elif not providers:
        reason = f"{client.address} has not logged in"
    elif by_login:
        reason = f"{client.address} is not a customer of any provider here and has not logged in"
    else:
        reason = f"{client.address} is not in the network of any provider here"
    alternatives = dict.fromkeys(each.use_instead for each in providers if each.use_instead)
    advice = f"; use {' or '.join(alternatives)} instead" if alternatives else ""
    if client.protocol == "submission" and client.login is None and by_login:
        return _deny(reason, Reply(530, "5.7.0", f"authentication required: {reason}{advice}"))
    who = "customers" if providers else "those who have logged in"
    limit = "" if local else f"; mail to other domains is accepted from {who} only"
    return _deny(reason, Reply(550, "5.7.1", f"{_what(local)} denied: {reason}{limit}{advice}"))


def half_known(client: Client, provider: Provider, standing: Standing, local: bool) -> Deny:
    """A provider that asks for network and login at once knows the client by one of them."""
    reason = _missing_half(client, provider, standing)
    if client.protocol == "submission" and client.login is None:
        text = f"authentication required: {reason}{_advice(provider)}"
        return _deny(reason, Reply(530, "5.7.0", text), provider, standing)
    return _refuse(f"{_what(local)} denied", reason, provider, standing)


def server(client: Client, provider: Provider, standing: Standing, local: bool) -> Deny:
    """The provider's customers may not use this server."""
    reason = _not_this_server(client, provider)
    return _refuse(f"{_what(local)} denied", reason, provider, standing)


def relaying(provider: Provider, standing: Standing) -> Deny:
    """The provider's customers may not send to other domains."""
    reason = (
        f"provider {provider.name}'s customers may not send to other domains through this server"
    )
    return _refuse("relaying denied", reason, provider, standing)


def reverse_path(provider: Provider, standing: Standing, sender: Address | None) -> Deny:
    """The provider's customers may not use this reverse-path."""
    patterns = [pattern.text for pattern in provider.senders.patterns]
    allowed = f": {', '.join(patterns)}" if 0 < len(patterns) <= _FEW else ""
    reason = (
        f"<{sender or ''}> is not among those that provider {provider.name}'s customers may use"
        f"{allowed}"
    )
    return _refuse("sender denied", reason, provider, standing)


def mailbox(client: Client, provider: Provider, standing: Standing) -> Deny:
    """The provider would know the client, or owns its login, but does not let it read here."""
    if standing.is_customer:
        reason = _not_this_server(client, provider)
    else:
        reason = (
            f"the mailbox of {client.login} can be read over the network of provider "
            f"{provider.name} only, and {client.address} is not in it"
        )
    return _refuse("reading mail denied", reason, provider, standing)


def reading(client: Client, reason: str) -> Deny:
    """Nobody lets the client read."""
    return _deny(reason, Reply(550, "5.7.1", f"reading mail denied: {reason}"))


def _missing_half(client: Client, provider: Provider, standing: Standing) -> str:
    if standing.login is not None:
        return (
            f"{client.login} is a customer of provider {provider.name} only while in its network, "
            f"and {client.address} is not in it"
        )
    lacking = "has not logged in" if client.login is None else f"{client.login} is not one of them"
    return (
        f"{client.address} is in the network of provider {provider.name}, whose customers must "
        f"log in as well, and {lacking}"
    )


def _not_this_server(client: Client, provider: Provider) -> str:
    return f'provider {provider.name}\'s customers may not use server "{client.server}"'


def _what(local: bool) -> str:
    return "submission" if local else "relaying"


def _advice(provider: Provider) -> str:
    return f"; use {provider.use_instead} instead" if provider.use_instead else ""


def _refuse(what: str, reason: str, provider: Provider, standing: Standing) -> Deny:
    reply = Reply(550, "5.7.1", f"{what}: {reason}{_advice(provider)}")
    return _deny(reason, reply, provider, standing)


def _deny(
    reason: str, reply: Reply, provider: Provider | None = None, standing: Standing | None = None
) -> Deny:
    return Deny(
        reason=reason,
        rule=standing.rule if standing else NOBODY,
        plugin=PLUGIN,
        reply=reply,
        provider=provider.name if provider else None,
    )
