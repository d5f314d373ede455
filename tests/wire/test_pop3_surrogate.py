"""Surrogates of messages with UTF-8 in their header sections."""

from __future__ import annotations

import email
import email.header
import email.policy

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.pop3_surrogate import MOST, Surrogate, downgraded

BODY = "\n\u00e9 body\n".encode()


def surrogate(message: bytes, size: int = 1 << 30) -> bytes:
    making = Surrogate()
    pieces = [making.take(message[at : at + size]) for at in range(0, len(message), size)]
    return b"".join(pieces) + making.finish()


def shown(value: str) -> str:
    """A value as a client without UTF-8 shows it."""
    return str(email.header.make_header(email.header.decode_header(value)))


class FieldTests(SynchronousTestCase):
    """Each kind of field."""

    def fields(self, head: str) -> dict[str, str]:
        made = downgraded(head.encode())
        self.assertTrue(made.isascii())
        self.assertLessEqual(max(map(len, made.split(b"\n"))), 76)
        parsed = email.message_from_bytes(made, policy=email.policy.compat32)
        self.assertEqual(parsed.defects, [])
        return dict(parsed.items())

    def test_unstructured(self) -> None:
        """A subject can't be read, or is cut in the middle of a character."""
        text = "caf\u00e9 \U0001f600 " * 30
        fields = self.fields(f"Subject: {text}\nX-Note: \u00fc\nTo: a@b.example\n")
        self.assertEqual(shown(fields["Subject"]).strip(), text.strip())
        self.assertEqual(shown(fields["X-Note"]), "\u00fc")
        self.assertEqual(fields["To"], "a@b.example")

    def test_folded(self) -> None:
        """A field of several lines loses all but its first, or ends the header section."""
        fields = self.fields("Subject: one\n \u00e9\n\tthree\nFrom: a@b.example\n")
        self.assertEqual(shown(fields["Subject"]), "one \u00e9 three")
        self.assertEqual(fields["From"], "a@b.example")

    def test_addresses(self) -> None:
        """An address field that no parser takes hides the whole message from some clients."""
        fields = self.fields("From: J\u00f8rn <j\u00f8rn@ex.example>, b@ex.example\n")
        self.assertTrue(fields["From"].endswith(":;"))
        name = fields["From"][:-2].strip()
        self.assertEqual(shown(name), "J\u00f8rn <j\u00f8rn@ex.example>, b@ex.example")

    def test_structured(self) -> None:
        """A field that programs read holds something that they don't understand."""
        fields = self.fields("Received: from \u00e9.example\nMessage-ID: <\u00e9@b.example>\n")
        self.assertEqual(shown(fields["Downgraded-Message-ID"]), "<\u00e9@b.example>")
        self.assertEqual(shown(fields["Downgraded-Received"]), "from \u00e9.example")

    def test_body_fields(self) -> None:
        """A body can't be shown because its name is not ASCII."""
        fields = self.fields('Content-Type: text/plain;\n name="\u00e9.txt"\nContent-\u00e9: x\n')
        self.assertEqual(fields["Content-Type"], 'text/plain;\n name="?.txt"')

    def test_no_field(self) -> None:
        """A line that is no field makes the server fail, or a second header section."""
        self.assertEqual(
            downgraded("\u00e9\n: \u00e9\nA b: \u00e9\n".encode()), b"?\n: ?\nA b: ?\n"
        )

    def test_line_ends_inside(self) -> None:
        """What only some programs take for a line end begins a field of the sender's choice."""
        for end in ("\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r"):
            made = downgraded(f"Subject: \u00e9{end}Bcc: x@y.example\nTo: a\n".encode())
            self.assertNotIn(b"\nBcc", made.replace(b"\r", b"\n"), end)

    def test_not_utf8(self) -> None:
        """Headers in another charset, as spam often has them, are garbled."""
        head = b"Subject: caf\xe9\n"
        self.assertEqual(surrogate(head + BODY), head + BODY)

    def test_crlf(self) -> None:
        """The line ends of a message in its wire form are lost."""
        made = downgraded("Subject: \u00e9\r\nFrom: \u00e9\r\n".encode())
        self.assertEqual(made, b"Subject: =?utf-8?b?w6k=?=\r\nFrom: =?utf-8?b?w6k=?=\r\n :;\r\n")


class MessageTests(SynchronousTestCase):
    """Whole messages, in pieces."""

    def test_body(self) -> None:
        """A body is changed, or a message that needs no surrogate is."""
        self.assertEqual(surrogate(b"A: b\n" + BODY), b"A: b\n" + BODY)
        self.assertEqual(surrogate(BODY), BODY)
        made = surrogate("A: \u00e9\n".encode() + BODY)
        self.assertEqual(made, b"A: =?utf-8?b?w6k=?=\n" + BODY)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.sampled_from(["To: \u00e9", "A", "\n", "\r\n", " ", ":", "\u20ac", "Subject:", "."]),
            max_size=14,
        ),
        st.integers(1, 9),
    )
    def test_pieces(self, parts: list[str], size: int) -> None:
        """What a client gets depends on how the file was read."""
        message = "".join(parts).encode()
        whole = surrogate(message)
        self.assertEqual(surrogate(message, size), whole)
        head = min(
            (whole.find(end) for end in (b"\n\n", b"\n\r\n") if end in whole), default=len(whole)
        )
        if not whole.startswith((b"\n", b"\r\n")):
            self.assertTrue(whole[:head].isascii(), whole)

    def test_endless_header(self) -> None:
        """A header section without an end is held in memory whole."""
        making = Surrogate()
        line = "A: \u00e9\n".encode()
        got = b"".join(making.take(line * 10_000) for _ in range(10))
        self.assertEqual(got + making.finish(), line * 100_000)
        self.assertGreater(len(got), len(line) * 100_000 - MOST)
