"""Messages in a form that old servers take."""

from __future__ import annotations

import email
import email.message
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.conversion import Converter, Plan, Survey, Unconvertible

TEXT = b"Gr\xc3\xbc\xc3\x9fe an alle, die das lesen k\xc3\xb6nnen und wollen\r\n"


def pieces(content: bytes, size: int) -> Sequence[bytes]:
    """The content, cut."""
    return [content[start : start + size] for start in range(0, len(content), size)]


def plan(
    content: bytes, size: int = 100_000, *, eight_bit: bool = False, binary: bool = False
) -> Plan:
    """The first pass."""
    survey = Survey(eight_bit=eight_bit, binary=binary)
    for piece in pieces(content, size):
        survey.feed(piece)
    return survey.finish()


def convert(
    content: bytes, size: int = 100_000, *, eight_bit: bool = False, binary: bool = False
) -> bytes:
    """Both passes."""
    converter = Converter(plan(content, size, eight_bit=eight_bit, binary=binary))
    return b"".join([converter.feed(piece) for piece in pieces(content, size)]) + converter.finish()


def message(*parts: bytes, kind: str = "mixed", boundary: str = "=b") -> bytes:
    """A multipart of parts that have their headers."""
    line = f"\r\n--{boundary}".encode()
    return (
        f'MIME-Version: 1.0\r\nContent-Type: multipart/{kind}; boundary="{boundary}"\r\n'.encode()
        + b"".join(line + b"\r\n" + part for part in parts)
        + line
        + b"--\r\n"
    )


def part(kind: str, encoding: str, body: bytes) -> bytes:
    """A part with its header."""
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def leaves(content: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded body of each leaf, as the standard library sees them."""
    return [
        (found.get_content_type(), bytes(found.get_payload(decode=True) or b""))
        for found in email.message_from_bytes(content).walk()
        if not found.is_multipart()
    ]


class ConversionTests(SynchronousTestCase):
    """Both passes together."""

    def assert_refused(self, content: bytes, status: str, **kwargs: bool) -> None:
        with self.assertRaises(Unconvertible) as caught:
            plan(content, **kwargs)
        self.assertEqual(caught.exception.status, status)
        self.assertTrue(str(caught.exception).isascii())

    def test_text(self) -> None:
        """Text would be unreadable on the way, or at its end."""
        content = b"MIME-Version: 1.0\r\n" + part("text/plain; charset=utf-8", "8bit", TEXT)
        converted = convert(content)
        self.assertTrue(converted.isascii())
        self.assertIn(b"Content-Transfer-Encoding: quoted-printable\r\n", converted)
        self.assertIn(b"Gr=C3=BC=C3=9Fe an alle", converted)
        self.assertEqual(leaves(converted), [("text/plain", TEXT)])

    def test_text_far_from_ascii(self) -> None:
        """Text in Greek would be sent at three times its length."""
        content = part("text/plain", "8bit", "Ελληνικά\r\n".encode() * 3)
        self.assertIn(b"Encoding: base64", convert(content))

    def test_without_mime(self) -> None:
        """Nobody could read a message that is not MIME (RFC 1428)."""
        converted = convert(b"Subject: x\r\n\r\n" + TEXT)
        self.assertEqual(
            converted.partition(b"\r\n\r\n")[0].split(b"\r\n"),
            [
                b"Subject: x",
                b"MIME-Version: 1.0",
                b"Content-Type: text/plain; charset=unknown-8bit",
                b"Content-Transfer-Encoding: quoted-printable",
            ],
        )
        self.assertEqual(leaves(converted), [("text/plain", TEXT)])

    def test_parts(self) -> None:
        """Other parts than those that have to would be changed."""
        encoded = part("image/png", "base64", b"AAAA")
        plain = part("text/html", "7bit", b"<b>\r\n")
        labelled = part("text/css", "8bit", b"x")
        content = message(part("text/plain", "8bit", TEXT), encoded, plain, labelled)
        converted = convert(content)
        self.assertTrue(converted.isascii())
        self.assertEqual(leaves(converted), leaves(content))
        for untouched in (encoded, plain):
            self.assertIn(b"\r\n--=b\r\n" + untouched + b"\r\n--=b", converted)
        self.assertIn(part("text/css", "7bit", b"x"), converted)

    def test_nested(self) -> None:
        """Messages within messages would be damaged."""
        inner = b"Subject: y\r\n" + message(part("text/plain", "8bit", TEXT), boundary="i")
        content = message(
            part("message/rfc822", "8bit", inner), part("application/x", "binary", b"\xff")
        )
        converted = convert(content)
        self.assertTrue(converted.isascii())
        self.assertEqual(leaves(converted), leaves(content))
        self.assertIn(part("message/rfc822", "7bit", b"Subject: y"), converted)

    def test_not_needed(self) -> None:
        """A message would be changed for nothing."""
        content = message(part("text/plain", "8bit", b"x"), part("x/y", "binary", b"y"))
        for eight_bit in (True, False):
            self.assertFalse(plan(content, eight_bit=eight_bit, binary=True).is_needed)
            self.assertEqual(convert(content, eight_bit=eight_bit, binary=True), content)

    def test_signed(self) -> None:
        """A signature would be broken (RFC 1847)."""
        signature = part("application/pgp-signature", "7bit", b"x")
        good = message(part("text/plain", "8bit", b"x"), signature, kind="signed", boundary="s")
        bad = message(part("text/plain", "8bit", TEXT), signature, kind="signed", boundary="s")
        self.assert_refused(bad, "5.6.2")
        self.assert_refused(message(part("text/plain", "8bit", TEXT), bad), "5.6.2")
        preamble = good.replace(b"\r\n--s", "\r\nü\r\n--s".encode(), 1)
        self.assert_refused(preamble, "5.6.2")
        content = message(part("text/plain", "8bit", TEXT), good)
        self.assertIn(good, convert(content))

    def test_forbidden(self) -> None:
        """A part would be encoded that must not be (RFC 2045 §6.4), or twice."""
        for content in (
            part("text/plain", "quoted-printable", TEXT),
            part("text/plain", "base64", TEXT),
            part("text/plain", "x-own", TEXT),
            part("message/partial", "8bit", TEXT),
            part("multipart/mixed", "8bit", TEXT),
            part("text/plain\r\nContent-Type: text/html", "8bit", TEXT),
            b"Subject: " + TEXT,
            message(b"X: " + TEXT + b"\r\nx"),
            part("message/rfc822", "8bit", b"Subject: " + TEXT + b"\r\nx"),
        ):
            self.assert_refused(content, "5.6.3")
            self.assertFalse(plan(content, eight_bit=True).is_needed)

    def test_too_complex(self) -> None:
        """A message could be made that takes for ever, or stops the delivery with a fault."""
        self.assert_refused(message(*[b"\r\nx"] * 3_000), "5.6.3")
        self.assert_refused(b"x" * 300_000, "5.6.3")

    def test_between(self) -> None:
        """What nobody is to read would bounce a message."""
        content = message(b"\r\nx").replace(b"\r\n--=b", b"\r\npr\xc3\xa9\r\n--=b", 1) + b"p\xf6st"
        converted = convert(content)
        self.assertTrue(converted.isascii())
        self.assertIn(b"pr??\r\n--=b", converted)
        self.assertEqual(convert(content, eight_bit=True), content)

    def test_no_parts(self) -> None:
        """Text that is shown where others see no multipart would become question marks."""
        text = "Grüße\r\n".encode()
        header = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n"
        for content in (
            header % b"b" + text,
            header % b"b" + text + b"--b--\r\n",
            header % b"b(" + b"--b(\r\n\r\n" + text + b"--b(--\r\n",  # not a token; some take it
            message(header % b"c" + text),
            message(header % b"c" + text, part("text/plain", "8bit", text)),
        ):
            self.assert_refused(content, "5.6.3")
            self.assertEqual(convert(content, eight_bit=True), content)
        inner = message(b"\r\nx", boundary="i")
        self.assertTrue(convert(message(inner, part("text/plain", "8bit", text))).isascii())

    def test_binary(self) -> None:
        """Binary parts would be damaged by lines, or others encoded that may stay."""
        attachment = b"\0\r\n.\r\n\n\r\xff"
        content = message(
            part("application/x", "binary", attachment),
            part("text/plain", "8bit", TEXT),
            part("text/plain", "binary", b"bare\rends\n"),
            part("text/plain", "binary", b"x" * 999),
            part("text/plain", "binary", b"x\r\ny\r"),
            part("text/plain", "binary", b"x" * 998),
        )
        converted = convert(content, eight_bit=True, binary=True)
        self.assertEqual(
            [
                bytes(found.get_payload(decode=True) or b"")
                for found in email.message_from_bytes(converted).get_payload()
            ],
            [attachment, TEXT, b"bare\rends\n", b"x" * 999, b"x\r\ny\r", b"x" * 998],
        )
        self.assertEqual(converted.count(b"base64"), 4)
        self.assertIn(part("text/plain", "8bit", TEXT), converted)
        self.assertIn(part("text/plain", "8bit", b"x" * 998), converted)
        self.assertNotIn(b"\0", converted)
        self.assertTrue(plan(content, eight_bit=True, binary=True).has_8bit)

    def test_endless_header(self) -> None:
        """A program's header lines would be refused by every server but the rarest."""
        field = b"To: " + b", ".join([b"someone@blu.example"] * 100) + b"\r\n"
        content = field + b"\r\nx\r\n"
        for size in (7, 100_000):
            converted = convert(content, size, binary=True)
            self.assertLessEqual(max(map(len, converted.split(b"\r\n"))), 998)
            self.assertEqual(converted.replace(b"\r\n ", b" "), content)
        nested = message(part("message/rfc822", "binary", content))
        self.assertIn(b"Content-Transfer-Encoding: 7bit", convert(nested, binary=True))
        self.assertFalse(plan(convert(nested, binary=True), binary=True).is_needed)
        for bad, status in (
            (b"X: " + b"x" * 1000 + b"\r\n\r\nx\r\n", "5.6.3"),
            (b"X: a\0b\r\n\r\nx\r\n", "5.6.3"),
            (message(field + b"\r\nx", kind="signed"), "5.6.2"),
        ):
            with self.assertRaises(Unconvertible) as caught:
                plan(bad, binary=True)
            self.assertEqual(caught.exception.status, status)

    @settings(deadline=None, max_examples=80)
    @given(st.data())
    def test_any_message(self, data: st.DataObject) -> None:
        """Some message would lose something, or still not go through."""
        body = st.lists(
            st.sampled_from([b"x", b"\r\n", "ü".encode(), b" ", b"=", b"--", b"-", b"." * 80])
        ).map(b"".join)
        leaf = st.builds(
            part,
            st.sampled_from(["text/plain; charset=utf-8", "application/x", "message/global"]),
            st.sampled_from(["8bit", "binary"]),
            body,
        )
        content = data.draw(
            st.recursive(
                leaf,
                lambda inner: st.builds(
                    lambda parts, name: message(*parts, boundary=name),
                    st.lists(inner, min_size=1, max_size=3),
                    st.sampled_from(["a", "bb", "b", "=_c"]),
                ),
                max_leaves=5,
            )
        )
        eight_bit, binary = data.draw(st.booleans()), data.draw(st.booleans())
        converted = convert(content, eight_bit=eight_bit, binary=binary)
        size = data.draw(st.integers(1, 20))
        self.assertEqual(convert(content, size, eight_bit=eight_bit, binary=binary), converted)
        if not eight_bit:
            self.assertTrue(converted.isascii())
        again = plan(converted, eight_bit=eight_bit, binary=binary)
        self.assertFalse(again.is_needed)
        if not plan(content, eight_bit=eight_bit, binary=binary).is_needed:
            self.assertEqual(converted, content)
