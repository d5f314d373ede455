"""The octets of notices: MIME."""

from __future__ import annotations

import email
import email.policy
import random
from email.message import Message

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.queue import report
from mailframe.queue.report import Carries

SEVEN = Carries()
EIGHT = Carries(eight_bit=True)
UTF8 = Carries(eight_bit=True, utf8=True)
UMLAUTS = "Subject: Gr\u00fc\u00dfe = ok\r\n".encode()


def composed(
    section: bytes,
    text: str = "text\n",
    carries: Carries = SEVEN,
    whole: bytes | None = None,
) -> bytes:
    returned = report.whole(whole, carries) if whole is not None else None
    parts = (
        report.explanation(text, carries),
        report.status("Reporting-MTA: dns; mx.example\r\n", carries),
        returned or report.headers(section, carries),
    )
    octets = report.compose(["Subject: report"], parts, random.Random(1))
    assert_transportable(octets, carries)
    return octets


def parsed(
    section: bytes,
    text: str = "text\n",
    carries: Carries = SEVEN,
    whole: bytes | None = None,
) -> Message:
    return email.message_from_bytes(composed(section, text, carries, whole))


def assert_transportable(content: bytes, carries: Carries = SEVEN) -> None:
    """Every line ends with CRLF, is short enough and 7bit: RFC 5322 §2.1.1, RFC 2045 §2.7."""
    assert content.endswith(b"\r\n")
    assert carries.eight_bit or content.isascii()
    assert b"\0" not in content
    for line in content.split(b"\r\n"):
        assert b"\r" not in line, line
        assert b"\n" not in line, line
        assert len(line) <= 998, line


class HeaderSectionTests(SynchronousTestCase):
    def test_body_is_left_out(self) -> None:
        """A forged sender is used to have us send spam to a third party, by bounce."""
        self.assertEqual(report.header_section(b"A: b\r\nC: d\r\n\r\nspam"), b"A: b\r\nC: d\r\n")

    def test_no_body(self) -> None:
        """A message of headers only is returned as an empty one."""
        self.assertEqual(report.header_section(b"A: b\r\n"), b"A: b\r\n")
        self.assertEqual(report.header_section(b"A: b"), b"A: b\r\n")

    def test_empty(self) -> None:
        """A message without headers costs its sender the notice."""
        self.assertEqual(report.header_section(b""), b"")
        self.assertEqual(report.header_section(b"\r\nbody"), b"")

    def test_bare_line_ends(self) -> None:
        """A bare CR or LF in the original becomes a smuggled line in the report."""
        self.assertEqual(report.header_section(b"A: b\nC: d\re\r\n\nx"), b"A: b\r\nC: d\r\ne\r\n")

    def test_cap(self) -> None:
        """A message of huge headers fills the queue once more with every notice."""
        line = b"X: " + b"y" * 95 + b"\r\n"
        cut = report.header_section(line * 1000)
        self.assertLessEqual(len(cut), report.MAX_HEADERS)
        self.assertEqual(cut, line * (len(cut) // len(line)))

    def test_endless_first_line(self) -> None:
        """A first line without an end is returned in part, without its end."""
        self.assertEqual(report.header_section(b"X" * (report.MAX_HEADERS + 1)), b"")


class ComposeTests(SynchronousTestCase):
    def test_structure(self) -> None:
        """A mail client shows the report as an attachment nobody can open (RFC 6522 §3)."""
        message = parsed(b"Subject: hello\r\n", "one\ntwo\n")
        self.assertEqual(message["Subject"], "report")
        self.assertEqual(message["Content-Transfer-Encoding"], "7bit")
        self.assertEqual(message.get_content_type(), "multipart/report")
        self.assertEqual(message.get_param("report-type"), "delivery-status")
        self.assertEqual(
            [part.get_content_type() for part in message.get_payload()],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )
        text, _status, headers = message.get_payload()
        self.assertEqual(text.get_payload(), "one\r\ntwo\r\n")
        self.assertEqual(headers["Content-Transfer-Encoding"], "7bit")
        self.assertEqual(headers.get_payload(decode=True), b"Subject: hello\r\n")

    def test_8bit_headers(self) -> None:
        """A subject in raw UTF-8 makes a notice that a 7bit server refuses."""
        raw = UMLAUTS + b"X: \0\x1b\r\nLong: " + b"x" * 5000 + b" \r\n"
        for carries in (SEVEN, EIGHT, UTF8):
            _text, _status, headers = parsed(raw, carries=carries).get_payload()
            self.assertEqual(headers["Content-Transfer-Encoding"], "quoted-printable")
            self.assertEqual(headers.get_payload(decode=True), raw)

    def test_utf8_headers(self) -> None:
        """Who has an address beyond ASCII gets headers that need decoding (RFC 6533 §6)."""
        headers = report.headers(UMLAUTS, UTF8)
        self.assertIn(b"Content-Type: message/global-headers\r\n", headers.fields)
        self.assertIn(b"Content-Transfer-Encoding: 8bit\r\n", headers.fields)
        self.assertEqual(headers.body, UMLAUTS)

    def test_headers_of_another_charset(self) -> None:
        """Latin-1 is passed off as UTF-8, and the whole report can't be read."""
        latin = "Subject: Gr\u00fc\u00dfe\r\n".encode("latin-1")
        headers = report.headers(latin, UTF8)
        self.assertIn(b"text/rfc822-headers", headers.fields)
        self.assertTrue(headers.body.isascii())

    def test_explanation_beyond_ascii(self) -> None:
        """The address that the notice is about is shown as question marks."""
        for carries in (SEVEN, EIGHT, UTF8):
            text, *_ = parsed(b"", "<j\u00fcrgen@x.example>\n", carries).get_payload()
            self.assertEqual(text.get_content_charset(), "utf-8")
            self.assertEqual(text.get_payload(decode=True).decode(), "<j\u00fcrgen@x.example>\r\n")

    def test_status_beyond_ascii(self) -> None:
        """Software that reads ASCII only chokes on a report of another kind (RFC 6533 §4)."""
        part = report.status("Final-Recipient: utf-8; j\u00fcrgen@x.example\r\n", UTF8)
        self.assertIn(b"Content-Type: message/global-delivery-status\r\n", part.fields)
        self.assertIn("j\u00fcrgen".encode(), part.body)

    def test_boundary_not_in_content(self) -> None:
        """Whoever can guess the boundary adds parts of their own to our reports."""
        guessed = b"=_%032x" % random.Random(1).getrandbits(128)
        for carries in (SEVEN, UTF8):
            body = b"X: 1\r\n\r\n--" + guessed + b"\r\n"
            message = parsed(b"X: 1\r\n--" + guessed + b"\r\n", carries=carries)
            self.assertNotEqual(message.get_boundary(), guessed.decode())
            self.assertEqual(len(message.get_payload()), 3)
            message = parsed(b"", carries=carries, whole=body)
            self.assertNotEqual(message.get_boundary(), guessed.decode())
            self.assertEqual(len(message.get_payload()), 3)

    @given(
        st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8")),
        st.sampled_from([SEVEN, EIGHT, UTF8]),
        st.booleans(),
    )
    @settings(max_examples=200, deadline=None)
    def test_hostile(self, content: bytes, carries: Carries, is_whole: bool) -> None:
        """A sender writes the structure of our report."""
        section = report.header_section(content)
        message = parsed(section, carries=carries, whole=content if is_whole else None)
        self.assertFalse(message.defects)
        _text, status, returned = message.get_payload()
        self.assertEqual(len(status.get_payload()), 1)
        if returned.get_content_type() == "text/rfc822-headers":
            self.assertEqual(returned.get_payload(decode=True), section)


class WholeTests(SynchronousTestCase):
    """The sender wants the message back."""

    def test_7bit(self) -> None:
        """What was written is lost with the message that could not be delivered."""
        content = b"Subject: lunch\r\n\r\nAt one?\r\n"
        for carries in (SEVEN, EIGHT, UTF8):
            part = report.whole(content, carries)
            assert part is not None
            self.assertEqual(part.body, content)
            self.assertIn(b"Content-Type: message/rfc822\r\n", part.fields)
            _text, _status, returned = parsed(b"", carries=carries, whole=content).get_payload()
            self.assertEqual(returned.get_payload()[0]["Subject"], "lunch")

    def test_8bit(self) -> None:
        """A notice is lost on its way, because it returned octets that a server did not take."""
        content = "Subject: lunch\r\n\r\nUm eins, J\u00fcrgen?\r\n".encode()
        self.assertIsNone(report.whole(content, SEVEN))
        part = report.whole(content, EIGHT)
        assert part is not None
        self.assertEqual(part.body, content)
        self.assertIn(b"message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n", part.fields)
        message = parsed(b"", carries=EIGHT, whole=content)
        self.assertEqual(message["Content-Transfer-Encoding"], "8bit")

    def test_international(self) -> None:
        """A message with UTF-8 in its header is called message/rfc822, where that is forbidden."""
        content = UMLAUTS + b"\r\nAt one?\r\n"
        self.assertIsNone(report.whole(content, EIGHT))
        part = report.whole(content, UTF8)
        assert part is not None
        self.assertIn(b"message/global\r\nContent-Transfer-Encoding: 8bit\r\n", part.fields)

    def test_what_no_line_may_hold(self) -> None:
        """A bare line end or an endless line in the original breaks the report."""
        for bad in (b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n", b"a" * 999 + b"\r\n"):
            self.assertIsNone(report.whole(b"X: y\r\n\r\n" + bad, UTF8), bad[:9])

    def test_no_line_end(self) -> None:
        """The boundary stands at the end of the message's last line."""
        part = report.whole(b"X: y\r\n\r\nend", SEVEN)
        assert part is not None
        self.assertTrue(part.body.endswith(b"end\r\n"))
