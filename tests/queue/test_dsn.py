"""The octets of delivery status notifications."""

from __future__ import annotations

import email
import email.policy
import random
from email.message import Message

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.queue import dsn
from mailframe.reply import Reply


def status(
    reply: Reply | None = None, where: str = "", retry_until: float | None = None
) -> dsn.RecipientStatus:
    return dsn.RecipientStatus(
        recipient=Address.parse("jsmith@mindspring.com"),
        action="failed",
        reply=reply,
        where=where,
        attempted=86400.0,
        retry_until=retry_until,
    )


def fields(status_: dsn.RecipientStatus) -> Message:
    """The fields of the one recipient in a status part."""
    body = dsn.delivery_status("mx.rosse.example", "q1", 0.0, [status_])
    part = email.message_from_bytes(b"Content-Type: message/delivery-status\r\n\r\n" + body)
    _about_message, about_recipient = part.get_payload()
    return about_recipient


def report(headers: bytes, text: str = "text\n") -> Message:
    composed = dsn.compose(["Subject: report"], text, b"", headers, random.Random(1))
    assert_transportable(composed)
    return email.message_from_bytes(composed)


def assert_transportable(content: bytes) -> None:
    """Every line ends with CRLF, is short enough and 7bit: RFC 5322 §2.1.1, RFC 2045 §2.7."""
    assert content.endswith(b"\r\n")
    assert content.replace(b"\r\n", b"").isascii()
    assert b"\0" not in content
    for line in content.split(b"\r\n"):
        assert b"\r" not in line, line
        assert b"\n" not in line, line
        assert len(line) <= 998, line


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
        self.assertEqual(dsn.status_code(Reply(550, "5.1.1", "no such user")), "5.1.1")

    def test_class_when_none_was_given(self) -> None:
        """A reply without an enhanced code is reported as something it did not say."""
        self.assertEqual(dsn.status_code(Reply(550, None, "go away")), "5.0.0")
        self.assertEqual(dsn.status_code(Reply(451, None, "later")), "4.0.0")

    def test_never_tried(self) -> None:
        """A message that expired untried is reported without a status, which RFC 3464 forbids."""
        self.assertEqual(dsn.status_code(None), "4.4.7")


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
        refused = fields(status(Reply(550, "5.1.1", "no such user"), "mx.example [192.0.2.1]:25"))
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


class HeaderSectionTests(SynchronousTestCase):
    def test_body_is_left_out(self) -> None:
        """A forged sender is used to have us send spam to a third party, by bounce."""
        self.assertEqual(dsn.header_section(b"A: b\r\nC: d\r\n\r\nspam"), b"A: b\r\nC: d\r\n")

    def test_no_body(self) -> None:
        """A message of headers only is returned as an empty one."""
        self.assertEqual(dsn.header_section(b"A: b\r\n"), b"A: b\r\n")
        self.assertEqual(dsn.header_section(b"A: b"), b"A: b\r\n")

    def test_empty(self) -> None:
        """A message without headers costs its sender the notice."""
        self.assertEqual(dsn.header_section(b""), b"")
        self.assertEqual(dsn.header_section(b"\r\nbody"), b"")

    def test_bare_line_ends(self) -> None:
        """A bare CR or LF in the original becomes a smuggled line in the report."""
        self.assertEqual(dsn.header_section(b"A: b\nC: d\re\r\n\nx"), b"A: b\r\nC: d\r\ne\r\n")

    def test_cap(self) -> None:
        """A message of huge headers fills the queue once more with every notice."""
        line = b"X: " + b"y" * 95 + b"\r\n"
        cut = dsn.header_section(line * 1000)
        self.assertLessEqual(len(cut), dsn.MAX_HEADERS)
        self.assertEqual(cut, line * (len(cut) // len(line)))

    def test_endless_first_line(self) -> None:
        """A first line without an end is returned in part, without its end."""
        self.assertEqual(dsn.header_section(b"X" * (dsn.MAX_HEADERS + 1)), b"")


class ComposeTests(SynchronousTestCase):
    def test_structure(self) -> None:
        """A mail client shows the report as an attachment nobody can open (RFC 6522 §3)."""
        parsed = report(b"Subject: hello\r\n", "one\ntwo\n")
        self.assertEqual(parsed["Subject"], "report")
        self.assertEqual(parsed.get_content_type(), "multipart/report")
        self.assertEqual(parsed.get_param("report-type"), "delivery-status")
        self.assertEqual(
            [part.get_content_type() for part in parsed.get_payload()],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )
        text, _status, headers = parsed.get_payload()
        self.assertEqual(text.get_payload(), "one\r\ntwo\r\n")
        self.assertEqual(headers["Content-Transfer-Encoding"], "7bit")
        self.assertEqual(headers.get_payload(decode=True), b"Subject: hello\r\n")

    def test_8bit_headers(self) -> None:
        """A subject in raw UTF-8 makes a notice that a 7bit server refuses."""
        raw = "Subject: Grüße = ok\r\n".encode() + b"X: \0\x1b\r\nLong: " + b"x" * 5000 + b" \r\n"
        _text, _status, headers = report(raw).get_payload()
        self.assertEqual(headers["Content-Transfer-Encoding"], "quoted-printable")
        self.assertEqual(headers.get_payload(decode=True), raw)

    def test_boundary_not_in_content(self) -> None:
        """Whoever can guess the boundary adds parts of their own to our reports."""
        guessed = b"=_%032x" % random.Random(1).getrandbits(128)
        parsed = report(b"X: 1\r\n--" + guessed + b"\r\n")
        self.assertNotEqual(parsed.get_boundary(), guessed.decode())
        self.assertEqual(len(parsed.get_payload()), 3)

    @given(
        st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8")),
        st.text(max_size=800),
        st.text(max_size=100),
    )
    @settings(max_examples=150, deadline=None)
    def test_hostile(self, content: bytes, said: str, where: str) -> None:
        """A remote server or a sender writes the structure of our report."""
        told = status(Reply(550, None, said), where)
        body = dsn.delivery_status("mx.rosse.example", "q1", 0.0, [told])
        headers = dsn.header_section(content)
        composed = dsn.compose(["Subject: x"], "text\n", body, headers, random.Random(2))
        assert_transportable(composed)
        parsed = email.message_from_bytes(composed)
        self.assertFalse(parsed.defects)
        _text, status_part, headers_part = parsed.get_payload()
        self.assertEqual(headers_part.get_payload(decode=True), headers)
        self.assertEqual(len(status_part.get_payload()), 2)
        self.assertLessEqual(
            set(status_part.get_payload()[1].keys()),
            {
                "Final-Recipient",
                "Action",
                "Status",
                "Remote-MTA",
                "Diagnostic-Code",
                "Last-Attempt-Date",
            },
        )
