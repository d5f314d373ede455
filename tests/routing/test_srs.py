"""Tests of mailframe.routing.srs."""

from __future__ import annotations

import os

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address, AddressError
from mailframe.routing.srs import DAY, Srs, SrsError, SrsSettings, read_secrets
from mailframe.units import FilePath, Seconds

SECRET = b"0123456789abcdef"
SRS = Srs("rosse.example", [SECRET], 21.0 * DAY)
OTHER = Srs("blu.example", [b"fedcba9876543210"], 21.0 * DAY)
JSMITH = Address("JSmith", "mindspring.com")
NOW = 1_772_452_800.0

local_parts = st.one_of(
    st.text(st.sampled_from('aBz09.=+-SRrs1@ "\\'), min_size=1, max_size=20),
    st.text(min_size=1, max_size=12),
)
domains = st.sampled_from(["mindspring.com", "x.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
times = st.integers(0, 4_000_000_000).map(float)


def address(local_part: str, domain: str) -> Address:
    try:
        return Address(local_part, domain)
    except AddressError:
        assume(False)
        raise


class RoundTripTests(SynchronousTestCase):
    def test_form(self) -> None:
        """Other forwarders would not know our addresses for what they are."""
        made = SRS.forward(JSMITH, NOW)
        self.assertRegex(
            str(made), r"^SRS0=[a-z2-7]{8}=[a-z2-7]{2}=mindspring\.com=JSmith@rosse\.example$"
        )
        chained = OTHER.forward(made, NOW)
        self.assertRegex(
            str(chained), r"^SRS1=[a-z2-7]{8}=rosse\.example==[a-z2-7]{8}=..=mindspring\.com=JSm"
        )
        again = SRS.forward(chained, NOW)
        self.assertRegex(str(again), r"^SRS1=[a-z2-7]{8}=rosse\.example==.*@rosse\.example$")
        self.assertEqual(len(str(again)), len(str(chained)) + 2)

    @given(local_parts, domains, times, st.integers(0, 21))
    @settings(deadline=None, max_examples=300)
    def test_there_and_back(self, local_part: str, domain: str, now: float, days: int) -> None:
        """A bounce of forwarded mail would be lost, or go to somebody else."""
        sender = address(local_part, domain)
        made = SRS.forward(sender, now)
        self.assertTrue(SRS.is_meant(made))
        self.assertEqual(Address.parse(str(made)), made)
        back = SRS.reverse(made, now + days * DAY)
        if made.local_part.startswith("SRS0"):
            self.assertEqual(back, sender)
        else:
            self.assertTrue(back.local_part.startswith("SRS0"))

    @given(local_parts, domains, times)
    @settings(deadline=None, max_examples=200)
    def test_through_two_forwarders(self, local_part: str, domain: str, now: float) -> None:
        """A bounce would not find its way back past the second forwarder."""
        sender = address(local_part, domain)
        assume(not local_part.lower().startswith("srs"))
        first = SRS.forward(sender, now)
        second = OTHER.forward(first, now)
        third = Srs("third.example", [SECRET * 2], 21.0 * DAY).forward(second, now)
        self.assertEqual(OTHER.reverse(second, now), first)
        self.assertTrue(third.local_part.startswith("SRS1"))
        back = Srs("third.example", [SECRET * 2], 21.0 * DAY).reverse(third, now)
        self.assertEqual(SRS.reverse(back, now), sender)

    @given(
        st.text(st.sampled_from("abcXYZ.019-+="), min_size=1, max_size=12),
        st.lists(st.booleans(), min_size=70, max_size=70),
    )
    @settings(deadline=None, max_examples=200)
    def test_case_folding(self, local_part: str, flips: list[bool]) -> None:
        """A bounce would be refused because a server on the way changed the case of letters."""
        sender = address(local_part, "mindspring.com")
        for srs, before in ((SRS, sender), (OTHER, SRS.forward(sender, NOW))):
            made = srs.forward(before, NOW)
            text = "".join(
                letter.swapcase() if flip else letter
                for letter, flip in zip(made.local_part, flips * 2, strict=False)
            )
            back = srs.reverse(Address(text, made.domain), NOW)
            self.assertEqual(str(back).lower(), str(before).lower())


class RefusalTests(SynchronousTestCase):
    @given(st.data())
    @settings(deadline=None, max_examples=300)
    def test_tampering(self, data: st.DataObject) -> None:
        """Anyone could have us carry mail to anybody, as a bounce."""
        maker = data.draw(st.sampled_from([SRS, OTHER]))
        before = JSMITH if maker is SRS else SRS.forward(JSMITH, NOW)
        made = maker.forward(before, NOW)
        place = data.draw(st.integers(5, len(made.local_part) - 1))
        letter = data.draw(st.sampled_from("abcdefgh=.+-z27@"))
        assume(made.local_part[place].lower() != letter)
        text = made.local_part[:place] + letter + made.local_part[place + 1 :]
        self.assertRaises(SrsError, maker.reverse, address(text, made.domain), NOW)

    def test_age(self) -> None:
        """A spammer who saw an address once could use it for ever."""
        made = SRS.forward(JSMITH, NOW)
        for days in (0, 21, -1):
            self.assertEqual(SRS.reverse(made, NOW + days * DAY), JSMITH)
        for days in (22, 500, -2):
            error = self.assertRaises(SrsError, SRS.reverse, made, NOW + days * DAY)
            self.assertIn("days ago", str(error))

    def test_secrets(self) -> None:
        """A secret could not be replaced without refusing the bounces of three weeks."""
        made = SRS.forward(JSMITH, NOW)
        newer = Srs("rosse.example", [b"another secret!!", SECRET], 21.0 * DAY)
        self.assertEqual(newer.reverse(made, NOW), JSMITH)
        self.assertNotEqual(newer.forward(JSMITH, NOW), made)
        gone = Srs("rosse.example", [b"another secret!!"], 21.0 * DAY)
        self.assertIn("not ours", str(self.assertRaises(SrsError, gone.reverse, made, NOW)))

    def test_no_such_address(self) -> None:
        """A mailbox could not have a name that begins like ours, or a slip end in a traceback."""
        self.assertFalse(SRS.is_meant(Address("srs", "rosse.example")))
        self.assertFalse(SRS.is_meant(Address("srs0x=y", "rosse.example")))
        self.assertFalse(SRS.is_meant(SRS.forward(JSMITH, NOW).__class__("SRS0=a", "x.example")))
        for text in ("SRS0=a", "SRS0=a=bb=c", "srs1=a", "SRS1=a=b=c", "SRS0=a=!!=x=y", "srs0+"):
            found = Address(text, "rosse.example")
            self.assertTrue(SRS.is_meant(found))
            self.assertRaises(SrsError, SRS.reverse, found, NOW)

    def test_an_address_inside_that_is_none(self) -> None:
        """What only we can have made, and could not, would end in a traceback."""
        made = SRS._hash(SECRET, "aa", "no domain", "x")
        found = Address(f"SRS0={made}=aa=no domain=x", "rosse.example")
        error = self.assertRaises(SrsError, SRS.reverse, found, 0.0)
        self.assertIn("it holds no address", str(error))

    def test_too_long(self) -> None:
        """A reverse-path would be cut, and bounces go astray."""
        self.assertRaises(AddressError, SRS.forward, Address("x" * 230, "x.example"), NOW)


class SettingsTests(SynchronousTestCase):
    def test_secrets_of_a_file(self) -> None:
        """Hashes would be made with a secret that can be guessed."""
        path = os.path.abspath(self.mktemp())
        error = self.assertRaises(ValueError, read_secrets, path)
        self.assertIn("`openssl rand -hex 32` makes a secret", error.args[0])
        for text in (b"", b"\n\n", b"short\n", SECRET + b"\nshort\n"):
            with open(path, "wb") as file:
                file.write(text)
            error = self.assertRaises(ValueError, read_secrets, path)
            self.assertIn("at least one line", error.args[0])
        with open(path, "wb") as file:
            file.write(SECRET + b"\r\n\n  " + SECRET * 2)
        self.assertEqual(read_secrets(path), (SECRET, SECRET * 2))

    def test_mistakes(self) -> None:
        """Addresses would be made that nobody can send to."""
        for keys, words in [
            ({"domain": "no domain"}, "'domain' found 'no domain'"),
            ({"max_age": Seconds(3600.0)}, "allowed: 1d to 512d"),
            ({"max_age": Seconds(600.0 * DAY)}, "allowed: 1d to 512d"),
        ]:
            error = self.assertRaises(
                ValueError,
                SrsSettings,
                **{"domain": "x.example", "secret_file": FilePath("/x"), **keys},
            )
            self.assertIn(words, error.args[0])
