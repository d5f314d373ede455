"""Who gets the mail for an address of a local domain, when nobody has just that address.

Looked for in this order, of which the first that is found counts:

1. an account or alias of just that address;
2. the account or alias without its subaddress: ``angelo+news`` is ``angelo`` (RFC 5233);
3. ``postmaster`` and ``abuse`` (RFC 5321 §4.5.1, RFC 2142): whom the configuration names for them;
4. the catch-all of its domain, but not of a domain above it.

For mail alone: nobody logs in as any of these.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from mailframe.accounts.reading import key_of
from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.interfaces import Account, Alias

ROLES = ("postmaster", "abuse")


@attrs.frozen(kw_only=True)
class Lookup:
    """How addresses are looked up.

    :ivar subaddress: characters, each of which begins a subaddress; empty: there are none
    :ivar postmaster: gets the mail for `ROLES` where nobody has these addresses, or ``None``
    """

    subaddress: str = ""
    postmaster: Address | None = None

    def find(self, store: AccountStore, address: Address) -> Account | Alias | None:
        """Who gets the mail for an address; ``None`` when there is nobody."""
        found = store.find(address)
        if found is not None:
            return found
        if self.subaddress:
            for base in self._bases(address):
                found = store.find(base)
                if found is not None:
                    tag = address.local_part[len(base.local_part) :]
                    return attrs.evolve(found, reason=f"{tag!a} is a subaddress of {found.address}")
        return self._for_role(address) or self._caught(store, address)

    def _for_role(self, address: Address) -> Alias | None:
        to = self.postmaster
        if to is None or address.local_part.lower() not in ROLES or key_of(address) == key_of(to):
            return None
        return Alias(
            address=address,
            addresses=(to,),
            reason=f"nobody has {address}, so [accounts] postmaster gets its mail",
        )

    def _caught(self, store: AccountStore, address: Address) -> Alias | None:
        caught = store.catch_all.get(address.domain)
        if caught is None or address in caught:
            return None
        return Alias(
            address=address,
            addresses=caught,
            reason=f"nobody has {address}, and @{address.domain} catches all",
        )

    def _bases(self, address: Address) -> Iterator[Address]:
        """The address without its subaddress; the longest that may be meant comes first."""
        local_part = address.local_part
        for place in range(len(local_part) - 1, 0, -1):
            if local_part[place] in self.subaddress:
                yield Address(local_part[:place], address.domain)
