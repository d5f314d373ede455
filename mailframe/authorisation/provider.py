"""One provider: who is its customer, and what its customers may do."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from mailframe.address import Address, AddressError
from mailframe.authorisation.networks import Network, Networks
from mailframe.envelope import Client
from mailframe.patterns import AddressPattern, AddressPatterns

Customer: TypeAlias = Literal["network", "login", "either", "both"]


@attrs.frozen(kw_only=True)
class Standing:
    """How a client stands with one provider.

    :ivar customer: by what the provider recognises its customers
    :ivar network: the provider's network that the client is in, or ``None``
    :ivar login: the provider's pattern that the client's login fits, or ``None``
    """

    customer: Customer
    network: Network | None
    login: AddressPattern | None

    @property
    def is_customer(self) -> bool:
        """Whether the provider recognises the client."""
        by_network, by_login = self.network is not None, self.login is not None
        if self.customer == "both":
            return by_network and by_login
        return (by_network and self.customer != "login") or (
            by_login and self.customer != "network"
        )

    @property
    def is_half_known(self) -> bool:
        """One of two marks of a customer is there and the other is missing."""
        return self.customer == "both" and (self.network is None) != (self.login is None)

    @property
    def rule(self) -> str:
        """What it is recognised by: ``network 192.0.2.0/24 and login *@rosse.example``."""
        marks = []
        if self.network is not None and self.customer != "login":
            marks.append(f"network {self.network}")
        if self.login is not None and self.customer != "network":
            marks.append(f"login {self.login}")
        return " and ".join(marks)


class Provider:
    """A provider, ready to be asked.

    :param name: its name
    :param networks: its customers by address
    :param accounts: its customers by login, as address patterns
    :param customer: which of the two marks makes a customer
    :param servers: the names of the servers they may use; ``None`` for all
    :param relay: whether they may send to other domains
    :param senders: the reverse-paths they may use, as address patterns
    :param use_instead: what a refused customer is told to use, or ``None``
    """

    def __init__(
        self,
        *,
        name: str,
        networks: tuple[str, ...],
        accounts: tuple[str, ...],
        customer: Customer,
        servers: tuple[str, ...] | None,
        relay: bool,
        senders: tuple[str, ...],
        use_instead: str | None,
    ) -> None:
        self.name = name
        self.relay = relay
        self.use_instead = use_instead
        self.customer: Customer = customer
        self.networks = Networks(networks)
        self.accounts = AddressPatterns(accounts)
        self.senders = AddressPatterns(senders)
        self._servers = None if servers is None else frozenset(servers)

    @property
    def looks_at_logins(self) -> bool:
        """Whether a client can become its customer, or half of one, by logging in."""
        return self.customer != "network" and bool(self.accounts.patterns)

    def serves(self, server: str) -> bool:
        """Whether its customers may use a server."""
        return self._servers is None or server in self._servers

    def standing(self, client: Client) -> Standing:
        """How a client stands with it."""
        login = _login(client)
        return Standing(
            customer=self.customer,
            network=self.networks.find(client.address),
            login=None if login is None else self.accounts.find(login),
        )

    def owns_login(self, client: Client) -> bool:
        """Whether the client's login is one of its accounts, whatever its customers are known by.

        A pattern that fits logins of every domain makes no account its own.
        """
        address = _login(client)
        return address is not None and any(
            pattern.domain not in ("", "*") and pattern.matches(address)
            for pattern in self.accounts.patterns
        )


def _login(client: Client) -> Address | None:
    try:
        return None if client.login is None else Address.parse(client.login)
    except AddressError:
        return None
