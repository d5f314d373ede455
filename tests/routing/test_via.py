"""Tests of mailframe.routing.via."""

from __future__ import annotations

from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address, AddressError
from mailframe.routing.via import Via, parse_via


class ParseTests(SynchronousTestCase):
    def test_endpoints(self) -> None:
        """A smarthost could not be named."""
        for text in (
            "tcp:127.0.0.1:2600",
            "tcp:host=smarthost.example:port=25",
            "tcp:smarthost.example:port=25:timeout=5",
            r"tcp:\:\:1:25",
            "tls:smarthost.example:465",
            "ssl:smarthost.example:465",
            "unix:/run/lmtp.sock",
            "TCP:smarthost.example:25",
        ):
            with self.subTest(text=text):
                self.assertEqual(parse_via(text), Via(kind="hops", where=(text,)))

    def test_mail_exchangers(self) -> None:
        """Mail for one domain could not be sent to the exchangers of another."""
        self.assertEqual(parse_via("mx"), Via(kind="hops", where=("mx",)))
        self.assertEqual(
            parse_via("mx:Other.Example."), Via(kind="hops", where=("mx:other.example",))
        )
        several = parse_via(("mx", "tcp:backup.example:25"))
        self.assertEqual(several.where, ("mx", "tcp:backup.example:25"))
        self.assertTrue(several.uses_mx)
        self.assertTrue(parse_via("mx:other.example").uses_mx)
        self.assertFalse(parse_via("tcp:mx:25").uses_mx)

    def test_local_and_reject(self) -> None:
        """Mail could neither be kept here nor refused by a rule."""
        self.assertEqual(parse_via("local"), Via(kind="local"))
        self.assertEqual(parse_via(("local",)), Via(kind="local"))
        self.assertEqual(parse_via("reject: moved away"), Via(kind="reject", reason="moved away"))

    def test_hold(self) -> None:
        """Mail could not be kept for an operator to look at."""
        self.assertEqual(parse_via("hold"), Via(kind="hold"))
        self.assertEqual(parse_via("hold: ask Mary"), Via(kind="hold", reason="ask Mary"))

    def test_redirect(self) -> None:
        """A domain that has moved could not have its mail sent on."""
        recipient = Address("two words", "rosse.example")
        for text, wanted in [
            ("redirect:jsmith@Mindspring.COM", "jsmith@mindspring.com"),
            ("redirect: $local@mindspring.com", '"two words"@mindspring.com'),
            ("redirect:$local-$domain@sub.$domain", '"two words-rosse.example"@sub.rosse.example'),
            ('redirect:"$domain x"@$domain', '"rosse.example x"@rosse.example'),
            ("redirect:$vip@$domain", "$vip@rosse.example"),
        ]:
            via = parse_via(text)
            self.assertEqual(via.kind, "redirect")
            self.assertEqual(str(via.targets[0].address(recipient)), wanted)
        several = parse_via(("redirect:a@x.example", "redirect:$local@y.example"))
        self.assertEqual(len(several.targets), 2)

    @given(st.text(max_size=30).filter(bool))
    @settings(deadline=None, max_examples=200)
    def test_no_part_of_a_recipient_is_taken_for_a_place(self, local_part: str) -> None:
        """A sender could choose to whom mail is redirected."""
        try:
            recipient = Address(local_part, "rosse.example")
        except AddressError:
            return
        target = parse_via("redirect:$local@mindspring.com").targets[0]
        self.assertEqual(target.address(recipient), Address(local_part, "mindspring.com"))

    def test_mistakes(self) -> None:
        """Mail would wait for days before anybody learns of a typing error."""
        for value, words in [
            ((), "names nothing"),
            ("", "it is no endpoint"),
            ("smarthost.example", "it is no endpoint"),
            ("tpc:smarthost.example:25", 'did you mean "tcp"?'),
            ("MX", 'did you mean "mx"?'),
            ("locl", 'did you mean "local"?'),
            ("tcp:smarthost.example", "the port is missing"),
            ("tcp:host=smarthost.example", "the port is missing"),
            ("tcp::25", "the host is missing"),
            ("tcp:", "the host is missing"),
            ("tcp:smarthost.example:smtp", "'smtp' is not a port"),
            ("tcp:smarthost.example:0", "'0' is not a port"),
            ("tls:smarthost.example:65536", "'65536' is not a port"),
            ("tcp:::1:25", "the host is missing"),
            ("tcp:[2001:db8::1]:25", r"written \:"),
            ("tcp:smarthost.example:25:tiemout=5", "TypeError"),
            ("unix:", "the path is missing"),
            ("tcp:smart\r\nhost:25", "not printable ASCII"),
            ("mx:", "the domain is empty"),
            ("mx:tcp:a:25", "not a host name"),
            ("reject:", "the reason is missing"),
            ("reject:caf\u00e9", "not printable ASCII"),
            ("reject:a\r\nb", "not printable ASCII"),
            ("hold:", "the reason is missing"),
            ("redirect:", "local part is missing"),
            ("redirect:jsmith", "local part is missing"),
            ("redirect:a b@mindspring.com", "needs quoting"),
            ("redirect:$local@$domian", "not a host name"),
            ("redirect:$locl@x.example", "$locl stands for nothing"),
            ("redirect:${local}@x.example", "${local} stands for nothing; allowed"),
            ("redirect:x.${locl}@x.example", "${locl} stands for nothing; allowed"),
            ("redirect:a-$Local@x.example", 'did you mean "$local"?'),
            (("redirect:a@x.example", "mx"), "can't be one of several"),
            (("hold", "mx"), "can't be one of several"),
            (("local", "mx"), "can't be one of several"),
            (("mx", "reject:no"), "can't be one of several"),
        ]:
            with self.subTest(value=value):
                error = self.assertRaises(ValueError, parse_via, value)
                self.assertIn(words, str(error))
                self.assertIn('"mx", "mx:other.example", "local", "redirect:', str(error))

    def test_endpoints_of_plugins(self) -> None:
        """The kinds of connection that installed packages offer could not be used."""

        class Onion:
            prefix = "onion"

        with mock.patch("mailframe.routing.via.getPlugins", return_value=[Onion()]):
            self.assertEqual(parse_via("onion:abc.onion:25").where, ("onion:abc.onion:25",))
            self.assertRaises(ValueError, parse_via, "onion")
            self.assertRaises(ValueError, parse_via, "onoin:abc.onion:25")
