"""The fields of delivery status notifications."""

from __future__ import annotations

import email
from email.message import Message

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.queue import dsn
from mailframe.reply import Reply

MESSAGE = dsn.MessageStatus(hostname="mx.rosse.example", queue_id="q1", arrived=0.0)


def status(
    reply: Reply | None = None, where: str = "", retry_until: float | None = None
) -> dsn.RecipientStatus:
    return dsn.RecipientStatus(
        recipient=Address.parse("jsmith@mindspring.com"),
        action="failed",
        status=dsn.status_code(reply, "failed"),
        reply=reply,
        where=where,
        attempted=86400.0,
        retry_until=retry_until,
    )


def blocks(
    status_: dsn.RecipientStatus, message: dsn.MessageStatus = MESSAGE, utf8: bool = False
) -> list[Message]:
    """The fields about the message, and those of its one recipient."""
    body = dsn.delivery_status(message, [status_], utf8)
    part = email.message_from_string("Content-Type: message/delivery-status\r\n\r\n" + body)
    return part.get_payload()


def fields(status_: dsn.RecipientStatus) -> Message:
    """The fields of the one recipient in a status part."""
    _about_message, about_recipient = blocks(status_)
    return about_recipient


class OneLineTests(SynchronousTestCase):
    def test_controls(self) -> None:
        """A remote server can write into a terminal or forge a line of our report."""
        self.assertEqual(dsn.one_line("a\r\nb\x1b[31m\u2028c  d\0 "), "a??b?[31m?c d?")

    def test_truncation(self) -> None:
        """A remote server can blow up the report with one endless reply."""
        shortened = dsn.one_line("x" * 5000)
        self.assertEqual(len(shortened), dsn.MAX_TEXT)
        self.assertTrue(shortened.endswith("x..."))

    def test_kept_whole_at_limit(self) -> None:
        """The last words of a reply are lost although there was room."""
        self.assertEqual(dsn.one_line("abcd", 4), "abcd")


class StatusCodeTests(SynchronousTestCase):
    def test_remote_code_is_kept(self) -> None:
        """The sender's software reads "5.0.0" where the remote server had said what is wrong."""
        self.assertEqual(dsn.status_code(Reply(550, "5.1.1", "no such user"), "failed"), "5.1.1")

    def test_class_when_none_was_given(self) -> None:
        """A reply without an enhanced code is reported as something it did not say."""
        self.assertEqual(dsn.status_code(Reply(550, None, "go away"), "failed"), "5.0.0")
        self.assertEqual(dsn.status_code(Reply(451, None, "later"), "delayed"), "4.0.0")

    def test_never_tried(self) -> None:
        """A message that expired untried is reported without a status, which RFC 3464 forbids."""
        self.assertEqual(dsn.status_code(None, "failed"), "4.4.7")

    def test_success(self) -> None:
        """A success is reported with a code that says failure, and software takes it for one."""
        self.assertEqual(dsn.status_code(Reply(250, "2.1.5", "ok"), "relayed"), "2.1.5")
        self.assertEqual(dsn.status_code(Reply(250, None, "ok"), "relayed"), "2.0.0")
        self.assertEqual(dsn.status_code(Reply(250, "4.2.0", "ok?"), "delivered"), "2.0.0")
        self.assertEqual(dsn.status_code(None, "expanded"), "2.0.0")


class RemoteMtaTests(SynchronousTestCase):
    def test_host_with_address(self) -> None:
        """The sender's postmaster can't tell which server refused the message."""
        self.assertEqual(dsn.remote_mta("mx.example [192.0.2.1]:25"), "mx.example")

    def test_address_only(self) -> None:
        """A smarthost named by its address goes unnamed."""
        self.assertEqual(dsn.remote_mta("[192.0.2.1]:2600"), "[192.0.2.1]")
        self.assertEqual(dsn.remote_mta("[2001:db8::1]:25"), "[2001:db8::1]")

    def test_named_next_hop(self) -> None:
        """A next hop named by a routing rule goes unnamed."""
        self.assertEqual(dsn.remote_mta("tcp:smart.example:587"), "smart.example")
        self.assertEqual(dsn.remote_mta("tls:host=smart.example:port=465"), "smart.example")
        self.assertEqual(dsn.remote_mta("tcp:192.0.2.9:25"), "[192.0.2.9]")

    def test_no_host(self) -> None:
        """A mailbox of ours is reported as a remote server."""
        for where in ("", "jsmith@rosse.example", "a\r\nX: y [192.0.2.1]", "mx.example"):
            self.assertIsNone(dsn.remote_mta(where), where)


class DeliveryStatusTests(SynchronousTestCase):
    def test_remote_refusal(self) -> None:
        """Mailing list software can't tell from the report who is to be removed, and why."""
        refused = fields(
            status(Reply(550, "5.1.1", "no such user", is_remote=True), "mx.example [192.0.2.1]:25")
        )
        self.assertEqual(
            dict(refused.items()),
            {
                "Final-Recipient": "rfc822; jsmith@mindspring.com",
                "Action": "failed",
                "Status": "5.1.1",
                "Remote-MTA": "dns; mx.example",
                "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
                "Last-Attempt-Date": "Fri, 02 Jan 1970 00:00:00 -0000",
            },
        )

    def test_fault_of_ours(self) -> None:
        """Words of our own are put into a remote server's mouth."""
        own = fields(status(Reply(451, "4.4.3", "DNS did not answer")))
        self.assertEqual(own["Diagnostic-Code"], "X-mailframe; 451 4.4.3 DNS did not answer")
        self.assertNotIn("Remote-MTA", own)
        # The same words of a server, and of us about one.
        for is_remote, origin in ((False, "X-mailframe"), (True, "smtp"), (False, "X-mailframe")):
            reply = Reply(451, "4.4.2", "timed out", is_remote=is_remote)
            found = fields(status(reply, "mx.example [192.0.2.1]:25"))
            self.assertEqual(found["Diagnostic-Code"], f"{origin}; 451 4.4.2 timed out")
            self.assertEqual(found["Remote-MTA"], "dns; mx.example")

    def test_never_tried(self) -> None:
        """A message that was given up untried has no report at all."""
        untried = fields(status())
        self.assertEqual(untried["Status"], "4.4.7")
        self.assertNotIn("Diagnostic-Code", untried)

    def test_retry_until(self) -> None:
        """The sender's software can't tell how long the message is still tried."""
        delayed = fields(status(retry_until=172800.0))
        self.assertEqual(delayed["Will-Retry-Until"], "Sat, 03 Jan 1970 00:00:00 -0000")

    def test_long_reply_is_folded(self) -> None:
        """A long reply makes a line that some server refuses."""
        long = fields(status(Reply(550, "5.7.1", "word " * 400), "mx.example [192.0.2.1]:25"))
        lines = long["Diagnostic-Code"].splitlines()
        self.assertGreater(len(lines), 1)
        for line in lines:
            self.assertLessEqual(len(line), 78)


class RequestTests(SynchronousTestCase):
    """What the sender gave with the message, so as to know it again."""

    def test_about_the_message(self) -> None:
        """The sender's software can't tell which of its envelopes came back."""
        about, _ = blocks(
            status(),
            attrs.evolve(MESSAGE, envid="QQ 314159", received_from="pc.example", deliver_by=3600.0),
        )
        self.assertEqual(
            list(about.items()),
            [
                ("Original-Envelope-Id", "QQ 314159"),
                ("Reporting-MTA", "dns; mx.rosse.example"),
                ("Received-From-MTA", "dns; pc.example"),
                ("Arrival-Date", "Thu, 01 Jan 1970 00:00:00 -0000"),
                ("Deliver-By-Date", "Thu, 01 Jan 1970 01:00:00 -0000"),
                ("X-mailframe-Queue-Id", "q1"),
            ],
        )

    def test_not_asked(self) -> None:
        """A field that the sender did not give confuses its software (RFC 3461 §6.3)."""
        about, recipient = blocks(status())
        self.assertEqual(about.keys(), ["Reporting-MTA", "Arrival-Date", "X-mailframe-Queue-Id"])
        self.assertNotIn("Original-Recipient", recipient)

    def test_original_recipient(self) -> None:
        """A list can't tell which of its members to remove, for the address was rewritten."""
        recipient = fields(attrs.evolve(status(), original="rfc822;George@Tax-ME.GOV"))
        self.assertEqual(recipient.keys()[0], "Original-Recipient")
        self.assertEqual(recipient["Original-Recipient"], "rfc822;George@Tax-ME.GOV")

    def test_hostile(self) -> None:
        """A sender writes fields of its own into a report that we vouch for."""
        about, recipient = blocks(
            attrs.evolve(status(), original="rfc822;a@b\r\nAction: delivered\r\n\r\nX: y"),
            attrs.evolve(MESSAGE, envid="1\r\nX-Forged: yes", received_from="pc\r\nX-Forged: yes"),
        )
        self.assertEqual(recipient.get_all("Action"), ["failed"])
        self.assertNotIn("X-Forged", about)
        self.assertEqual(about["Original-Envelope-Id"], "1??X-Forged: yes")

    def test_nonsense(self) -> None:
        """Software that reads the report stops at an address without a type."""
        for nonsense in ("", "jsmith", ";x", "rfc822;", "a b;c"):
            recipient = fields(attrs.evolve(status(), original=nonsense))
            self.assertNotIn("Original-Recipient", recipient)

    def test_endless(self) -> None:
        """What is allowed in a command makes a line that some server refuses."""
        body = dsn.delivery_status(
            attrs.evolve(MESSAGE, envid="e" * 5000),
            [attrs.evolve(status(), original="rfc822;" + "é" * 5000)],
        )
        self.assertLessEqual(max(map(len, body.split("\r\n"))), 1100)


class InternationalTests(SynchronousTestCase):
    """Addresses beyond ASCII, RFC 6533 §3."""

    ADDRESS = Address.parse("j\u00fcrgen+x@mindspring.com")

    def test_in_a_report_of_utf8(self) -> None:
        """The sender can't read whom the report is about."""
        told = attrs.evolve(
            status(), recipient=self.ADDRESS, original="utf-8;j\u00fcrgen@x.example"
        )
        body = dsn.delivery_status(MESSAGE, [told], utf8=True)
        self.assertIn("\r\nFinal-Recipient: utf-8; j\u00fcrgen+x@mindspring.com\r\n", body)
        self.assertIn("\r\nOriginal-Recipient: utf-8;j\u00fcrgen@x.example\r\n", body)

    def test_in_a_7bit_report(self) -> None:
        """The report can't be sent to somebody whose server knows ASCII only."""
        told = attrs.evolve(
            status(), recipient=self.ADDRESS, original="utf-8;j\u00fcrgen@x.example"
        )
        body = dsn.delivery_status(MESSAGE, [told])
        self.assertTrue(body.isascii())
        self.assertIn("\r\nFinal-Recipient: utf-8; j\\x{FC}rgen\\x{2B}x@mindspring.com\r\n", body)
        self.assertIn("\r\nOriginal-Recipient: utf-8;j\\x{FC}rgen@x.example\r\n", body)

    def test_hostile(self) -> None:
        """A control character beyond ASCII gets into a report that may hold UTF-8."""
        told = attrs.evolve(status(), original="utf-8;a\u2028\x85b@x.example")
        body = dsn.delivery_status(MESSAGE, [told], utf8=True)
        self.assertIn("Original-Recipient: utf-8;a\\x{2028}\\x{85}b@x.example\r\n", body)
