"""Tests of mailframe.accounts.lookup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.lookup import Lookup
from mailframe.accounts.reading import Contents, Kept
from mailframe.accounts.store import AccountStore
from mailframe.address import Address
from mailframe.interfaces import Account, Alias

ANGELO = Address("angelo", "rosse.example")
MARY = Address("mary", "rosse.example")
INFO = Address("info", "rosse.example")
JSMITH = Address("jsmith", "mindspring.com")


def store(*accounts: Address, **catch_all: Sequence[Address]) -> AccountStore:
    """A store with these accounts, the alias info for Angelo, and catch-alls of ``x.example``."""
    contents = Contents(
        accounts={address: Kept() for address in accounts},
        aliases={INFO: (ANGELO,)},
        catch_all={f"{name}.example": tuple(to) for name, to in catch_all.items()},
    )
    return AccountStore("accounts.toml", contents)


class LookupTests(SynchronousTestCase):
    def test_subaddress(self) -> None:
        """Mail to angelo+news would be refused, or angelo+news' own mail go to Angelo."""
        lookup = Lookup(subaddress="+")
        tagged = Address("Angelo+News", "rosse.example")
        self.assertEqual(
            lookup.find(store(ANGELO), tagged),
            Account(address=ANGELO, reason="'+News' is a subaddress of angelo@rosse.example"),
        )
        self.assertEqual(lookup.find(store(ANGELO, tagged), tagged), Account(address=tagged))
        found = lookup.find(store(ANGELO), Address("info+x", "rosse.example"))
        assert isinstance(found, Alias)
        self.assertEqual((found.address, found.addresses), (INFO, (ANGELO,)))
        for other in ("angelo-news", "+angelo", "angel+o", "nobody+angelo"):
            self.assertIsNone(lookup.find(store(ANGELO), Address(other, "rosse.example")))
        self.assertIsNone(lookup.find(store(ANGELO), Address("angelo+x", "sub.rosse.example")))
        self.assertIsNone(Lookup().find(store(ANGELO), tagged))

    def test_several_delimiters(self) -> None:
        """John-Paul's lists would go to John."""
        john, john_paul = Address("john", "rosse.example"), Address("john-paul", "rosse.example")
        found = Lookup(subaddress="+-").find(
            store(john, john_paul), Address("john-paul-list+x", "rosse.example")
        )
        assert isinstance(found, Account)
        self.assertEqual(found.address, john_paul)

    def test_postmaster(self) -> None:
        """Who can't reach a postmaster or abuse@ is refused by many; RFC 5321 §4.5.1 forbids it."""
        lookup = Lookup(postmaster=ANGELO)
        for name in ("postmaster", "PostMaster", "abuse"):
            address = Address(name, "blu.example")
            self.assertEqual(
                lookup.find(store(ANGELO), address),
                Alias(
                    address=address,
                    addresses=(ANGELO,),
                    reason=f"nobody has {address}, so [accounts] postmaster gets its mail",
                ),
            )
        own = Address("abuse", "rosse.example")
        self.assertEqual(lookup.find(store(own), own), Account(address=own))
        self.assertIsNone(Lookup().find(store(ANGELO), own))
        self.assertIsNone(lookup.find(store(ANGELO), Address("root", "rosse.example")))
        itself = Lookup(postmaster=Address("Postmaster", "rosse.example"))
        self.assertIsNone(itself.find(store(), Address("postmaster", "rosse.example")))

    def test_catch_all(self) -> None:
        """A catch-all would take others' mail, or that of subdomains that nobody asked it to."""
        here = store(ANGELO, rosse=[MARY, JSMITH])
        lookup = Lookup(subaddress="+", postmaster=ANGELO)
        address = Address("whoever+x", "rosse.example")
        self.assertEqual(
            lookup.find(here, address),
            Alias(
                address=address,
                addresses=(MARY, JSMITH),
                reason=f"nobody has {address}, and @rosse.example catches all",
            ),
        )
        for text, to in [
            ("angelo@rosse.example", None),
            ("angelo+x@rosse.example", None),
            ("info@rosse.example", (ANGELO,)),
            ("postmaster@rosse.example", (ANGELO,)),
        ]:
            found = lookup.find(here, Address.parse(text))
            self.assertEqual(getattr(found, "addresses", None), to, text)
        for text in ("x@sub.rosse.example", "x@xrosse.example", "mary@rosse.example"):
            self.assertIsNone(lookup.find(here, Address.parse(text)), text)

    NAMES: Mapping[str, Address] = {
        name: Address(name, "rosse.example") for name in ("a", "b", "a+b", "a+b+c", "b+a", "+")
    }

    @given(
        st.sets(st.sampled_from(sorted(NAMES))),
        st.text(st.sampled_from("ab+c"), min_size=1, max_size=7),
    )
    @settings(deadline=None, max_examples=200)
    def test_against_definition(self, accounts: set[str], name: str) -> None:
        """A tag would be read otherwise than is documented."""
        found = Lookup(subaddress="+").find(
            AccountStore(
                "", Contents(accounts={self.NAMES[n]: Kept() for n in accounts}, aliases={})
            ),
            Address(name, "rosse.example"),
        )
        fitting = [n for n in accounts if name == n or name.startswith(n + "+")]
        wanted = self.NAMES[max(fitting, key=len)] if fitting else None
        self.assertEqual(None if found is None else found.address, wanted)
