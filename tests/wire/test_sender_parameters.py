"""What a client says with MAIL and RCPT."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.envelope import Recipient
from mailframe.testing.samples import EVIDENCE
from mailframe.wire.sender_parameters import (
    Limits,
    limits,
    mail_command,
    rcpt_command,
    refusal,
    takes_binary,
    xtext,
)
from tests.wire.sending import BOB, transaction

OFFERED = "SIZE 8BITMIME BINARYMIME CHUNKING PIPELINING SMTPUTF8 REQUIRETLS DSN DELIVERBY"
ALL = dict.fromkeys(OFFERED.split(), "")
WIDE = Address("bøb", "blu.example")


def recipient(**kwargs: Any) -> Recipient:
    """A recipient of the envelope."""
    return Recipient(evidence=EVIDENCE, **{"address": BOB, **kwargs})


class RefusalTests(SynchronousTestCase):
    """Transactions that a server can't be given."""

    def test_each(self) -> None:
        """A server would be sent what it does not take."""
        for changes, missing, code, status in (
            ({"body": "8BITMIME"}, "8BITMIME", 554, "5.6.3"),
            ({"body": "BINARYMIME"}, "BINARYMIME", 554, "5.6.3"),
            ({"body": "BINARYMIME"}, "CHUNKING", 554, "5.6.3"),
            ({"body": "BINARYMIME"}, "PIPELINING", 554, "5.6.3"),
            ({"smtputf8": True}, "SMTPUTF8", 550, "5.6.7"),
            ({"recipients": [WIDE]}, "SMTPUTF8", 550, "5.6.7"),
            ({"require_tls": True}, "REQUIRETLS", 550, "5.7.30"),
        ):
            asked = transaction(**changes)
            self.assertIsNone(refusal(asked, ALL, encrypted=True))
            offered = {name: "" for name in ALL if name != missing}
            reply = refusal(asked, offered, encrypted=True)
            assert reply is not None
            self.assertEqual((reply.code, reply.status), (code, status))
            self.assertIsNone(refusal(transaction(), offered, encrypted=True))

    def test_require_tls_in_clear(self) -> None:
        """REQUIRETLS would be believed of somebody in between."""
        asked = transaction(require_tls=True)
        self.assertIsNotNone(refusal(asked, ALL, encrypted=False))

    def test_size(self) -> None:
        """Messages would be refused whose size is not known beforehand."""
        offered = {**ALL, "SIZE": "10"}
        self.assertIsNotNone(refusal(transaction(size=11), offered, encrypted=False))
        for size in (10, None):
            self.assertIsNone(refusal(transaction(size=size), offered, encrypted=False))

    def test_takes_binary(self) -> None:
        """Binary content would be sent in lines."""
        self.assertTrue(takes_binary(ALL))
        self.assertFalse(takes_binary({"BINARYMIME": "", "CHUNKING": ""}))


class CommandTests(SynchronousTestCase):
    """The commands."""

    def test_mail(self) -> None:
        """What the client asked for would be lost at the next server, or in a wrong form."""
        asked = transaction(
            size=5,
            body="BINARYMIME",
            smtputf8=True,
            require_tls=True,
            ret="FULL",
            envid="x=1",
            by="9;N",
        )
        self.assertEqual(
            mail_command(asked, ALL),
            b"MAIL FROM:<angelo@rosse.example> SIZE=5 BODY=BINARYMIME SMTPUTF8 REQUIRETLS RET=FULL "
            b"ENVID=x+3D1 BY=9;N\r\n",
        )
        self.assertEqual(
            mail_command(transaction(ret="FULL", envid="x", by="9;N"), {}),
            b"MAIL FROM:<angelo@rosse.example>\r\n",
        )
        self.assertNotIn(b"SIZE", mail_command(transaction(size=None), ALL))

    def test_rcpt(self) -> None:
        """The original recipient would be named wrongly, so that a notice means nobody."""
        for original, words in (
            (recipient(), b"ORCPT=rfc822;bob@blu.example"),
            (recipient(address=WIDE), rb"ORCPT=utf-8;b\x{F8}b@blu.example"),
            (recipient(orcpt="x400;a b"), b"ORCPT=x400;a+20b"),
            (recipient(orcpt="UTF-8;a\\+=ø"), rb"ORCPT=UTF-8;a\x{5C}\x{2B}\x{3D}\x{F8}"),
            (recipient(notify=("NEVER",), orcpt="rfc822;x"), b"NOTIFY=NEVER ORCPT=rfc822;x"),
        ):
            asked = transaction(originals=(original,))
            self.assertEqual(
                rcpt_command(asked, 0, ALL), b"RCPT TO:<bob@blu.example> " + words + b"\r\n"
            )
            self.assertEqual(rcpt_command(asked, 0, {}), b"RCPT TO:<bob@blu.example>\r\n")
        self.assertEqual(rcpt_command(transaction(), 0, ALL), b"RCPT TO:<bob@blu.example>\r\n")

    @settings(deadline=None, max_examples=150)
    @given(st.text(), st.text())
    def test_one_line(self, envid: str, orcpt: str) -> None:
        """Whatever a client sent as a parameter could become a command of its own."""
        for kind in ("rfc822;", "utf-8;"):
            asked = transaction(envid=envid, originals=(recipient(orcpt=kind + orcpt),))
            for command in (mail_command(asked, ALL), rcpt_command(asked, 0, ALL)):
                self.assertRegex(command, rb"\A[\x20-\x7e]+\r\n\Z")
                self.assertEqual(command.count(b" "), 3 if command.startswith(b"M") else 2)

    @settings(deadline=None, max_examples=100)
    @given(st.text())
    def test_xtext(self, text: str) -> None:
        """A parameter would arrive as something else."""
        octets, rest = b"", xtext(text).encode("ascii")
        while rest:
            if rest[:1] == b"+":
                octets, rest = octets + bytes.fromhex(rest[1:3].decode()), rest[3:]
            else:
                octets, rest = octets + rest[:1], rest[1:]
        self.assertEqual(octets.decode(), text)


class LimitsTests(SynchronousTestCase):
    """LIMITS (RFC 9422)."""

    def test_read(self) -> None:
        """A server's nonsense would stop its mail."""
        self.assertEqual(limits({}), Limits())
        self.assertEqual(
            limits({"LIMITS": "MAILMAX=5 rcptmax=20 RCPTDOMAINMAX=1 OTHER=3"}),
            Limits(transactions=5, recipients=20, domains=1),
        )
        self.assertEqual(
            limits({"LIMITS": "MAILMAX=0 RCPTMAX=-1 RCPTDOMAINMAX RCPTMAX=9999999999999"}), Limits()
        )
