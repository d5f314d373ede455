"""What a header section says of its body."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.mime_header import Entity, read_entity, with_encoding


def entity(*fields: str, **kwargs: Any) -> Entity:
    """Read a header section of these fields."""
    return read_entity("".join(f"{field}\r\n" for field in fields).encode(), **kwargs)


class EntityTests(SynchronousTestCase):
    """`read_entity`."""

    def test_kinds(self) -> None:
        """Parts would be encoded that must not be, or taken apart where they are none."""
        for value, kind, text in (
            ("text/plain", "leaf", True),
            ("TEXT / html; charset=utf-8", "leaf", True),
            ("image/png", "leaf", False),
            ("message/rfc822", "message", False),
            ("message/news", "message", False),
            ("message/global", "leaf", False),
            ("message/partial; id=x", "opaque", False),
            ("message/delivery-status", "opaque", False),
            ("multipart/mixed; boundary=b", "multipart", False),
            ("multipart/mixed", "opaque", False),
            ("multipart/mixed; boundary=", "opaque", False),
            ("multipart/mixed; boundary=a; boundary=b", "opaque", False),
            ('multipart/mixed; x; boundary="b', "opaque", False),
            (f"multipart/mixed; boundary={'b' * 201}", "opaque", False),
            ("nonsense", "leaf", False),
        ):
            found = entity(f"Content-Type: {value}")
            self.assertEqual((found.kind, found.text, found.typed), (kind, text, True), value)
        self.assertEqual(entity("Subject: x"), Entity(kind="leaf", text=True))
        self.assertEqual(entity(in_digest=True), Entity(kind="message"))

    def test_boundary(self) -> None:
        """A message would be taken apart at the wrong lines."""
        for value in (
            "boundary=a_b",
            'charset="x"; BOUNDARY="a_b"',
            'boundary="a\\_b"; type="text/html"',
            "(a comment; boundary=c) boundary=a_b (another \\) one)",
            'boundary="a_b "',
            "\r\n boundary\r\n =\r\n\ta_b",
            ";; boundary=a_b;",
        ):
            found = entity(f"Content-Type: multipart/digest; {value}")
            self.assertEqual((found.boundary, found.digest), (b"a_b", True), value)
        self.assertEqual(entity('Content-Type: multipart/x; boundary="(b)"').boundary, b"(b)")
        self.assertTrue(entity("Content-Type: multipart/signed; boundary=b").signed)

    def test_encoding(self) -> None:
        """A body would be encoded twice."""
        for value, encoding in (
            ("8BIT", "8bit"),
            (" Base64 (as always)", "base64"),
            ("quoted-printable; x=y", "?"),
            ("", "?"),
        ):
            self.assertEqual(entity(f"Content-Transfer-Encoding:{value}").encoding, encoding)
        for kind in ("multipart/mixed; boundary=b", "message/rfc822"):
            found = entity(f"Content-Type: {kind}", "Content-Transfer-Encoding: base64")
            self.assertEqual(found.kind, "opaque")

    def test_twice(self) -> None:
        """A part would be changed of which others may read something else than we do."""
        for field in ("Content-Type: text/plain", "Content-Transfer-Encoding: 8bit"):
            self.assertEqual(entity(field, "X: y", field.upper()).kind, "opaque")
        self.assertEqual(entity("Content-Type : text/plain", "Content-Type: x/y").kind, "opaque")

    def test_version(self) -> None:
        """MIME would be announced twice, or not at all."""
        self.assertTrue(entity("mime-version: 1.0").versioned)
        self.assertFalse(entity("X: MIME-Version: 1.0", " MIME-Version: 1.0").versioned)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.sampled_from(
                ["Content-Type:", "multipart/x;", "boundary=", *'"\\()b; \t:=\xfc\r\n', "\r\n"]
            )
        ).map("".join)
    )
    def test_anything(self, header: str) -> None:
        """Some header would stop the delivery with a fault."""
        found = entity(header)
        self.assertEqual(bool(found.boundary), found.kind == "multipart")


class WithEncodingTests(SynchronousTestCase):
    """`with_encoding`."""

    def test_replaced(self) -> None:
        """A body would have two encodings, or fields would change their order."""
        header = b"A: b\r\ncontent-transfer-encoding:\r\n 8bit\r\nC: d\r\n e\r\n"
        self.assertEqual(
            with_encoding(header, "base64"),
            b"A: b\r\nContent-Transfer-Encoding: base64\r\nC: d\r\n e\r\n",
        )

    def test_added(self) -> None:
        """Nobody could read the body."""
        self.assertEqual(
            with_encoding(b"junk\r\nA: b\r\n", "7bit"),
            b"junk\r\nA: b\r\nContent-Transfer-Encoding: 7bit\r\n",
        )
