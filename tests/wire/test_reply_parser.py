"""Reading what a remote server says, which may be anything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.reply import Reply
from mailframe.wire.reply_parser import (
    MAX_LINE,
    MAX_LINES,
    MAX_REASON,
    ReplyError,
    ReplyParser,
)


def read(*pieces: bytes) -> list[Reply]:
    """Every reply in the octets, fed piece by piece."""
    parser = ReplyParser()
    replies = []
    for piece in pieces:
        parser.feed(piece)
        while (reply := parser.next_reply()) is not None:
            replies.append(reply)
    return replies


class ReplyParserTests(SynchronousTestCase):
    """Ordinary replies."""

    def test_single_line(self) -> None:
        """The remote words would not reach the sender's bounce whole."""
        (reply,) = read(b"550 5.1.1 no such user\r\n")
        self.assertEqual(reply, Reply(550, "5.1.1", "no such user"))
        self.assertTrue(reply.is_remote)

    def test_without_text(self) -> None:
        """Servers that answer with the bare code, which RFC 5321 allows, could not be talked to."""
        self.assertEqual(
            read(b"250\r\n", b"250 \r\n"), [Reply(250, None, ""), Reply(250, None, "")]
        )

    def test_several_lines(self) -> None:
        """A reply of several lines would be taken for several replies."""
        self.assertEqual(
            read(b"250-mx.example\r\n250-SIZE 1000\r\n250 PIPELINING\r\n"),
            [Reply(250, None, ("mx.example", "SIZE 1000", "PIPELINING"))],
        )

    def test_several_replies_at_once(self) -> None:
        """The replies to pipelined commands would be lost."""
        self.assertEqual(
            [reply.code for reply in read(b"250 ok\r\n250-a\r\n250 b\r\n354 go\r\n")],
            [250, 250, 354],
        )

    def test_octet_by_octet(self) -> None:
        """How the network cuts the stream would change what is understood."""
        octets = b"220 hello\r\n550-5.7.1 not\r\n550 5.7.1 here\r\n"
        whole = read(octets)
        self.assertEqual(whole[1], Reply(550, "5.7.1", ("not", "here")))
        self.assertEqual(read(*(bytes([octet]) for octet in octets)), whole)

    def test_lone_line_feed(self) -> None:
        """Servers that end lines with LF only could not be talked to."""
        self.assertEqual(
            read(b"250-a\n250 b\n"),
            [Reply(250, None, ("a", "b"))],
        )

    def test_status_of_another_class(self) -> None:
        """A 550 with a 2.x.x status would be reported as a success."""
        self.assertEqual(read(b"550 2.0.0 odd\r\n"), [Reply(550, None, "2.0.0 odd")])

    def test_status_only_on_some_lines(self) -> None:
        """Text would be lost from lines that do not repeat the status."""
        self.assertEqual(
            read(b"451-4.7.1 wait\r\n451-then\r\n451 4.2.0 come\r\n"),
            [Reply(451, "4.7.1", ("wait", "then", "4.2.0 come"))],
        )

    def test_version_number_is_no_status(self) -> None:
        """A number at the start of the text would be taken for a status code."""
        self.assertEqual(read(b"220 2.5.1.9 server\r\n"), [Reply(220, None, "2.5.1.9 server")])

    def test_unprintable_text(self) -> None:
        """A server could write control characters into our logs and bounces."""
        (reply,) = read(b"550 a\x1b[31m\r\x00\xe2\x80\xa8b\r\n")
        self.assertEqual(reply.text, ("a?[31m???b",))

    def test_length(self) -> None:
        """Octets that a server sent too early would go unnoticed."""
        parser = ReplyParser()
        self.assertEqual(len(parser), 0)
        parser.feed(b"250-a\r\n25")
        self.assertIsNone(parser.next_reply())
        self.assertGreater(len(parser), 2)
        parser.feed(b"0 b\r\n")
        parser.next_reply()
        self.assertEqual(len(parser), 0)


class HostileReplyTests(SynchronousTestCase):
    """Replies made to hurt."""

    def assert_refused(self, *pieces: bytes) -> None:
        """The octets must be told apart from a reply."""
        with self.assertRaises(ReplyError):
            read(*pieces)

    def test_codes_differ(self) -> None:
        """A reply could be a success to us and a failure to another reader."""
        self.assert_refused(b"250-ok\r\n550 no\r\n")

    def test_not_a_code(self) -> None:
        """What is no reply at all would be taken for one."""
        for line in (
            b"",
            b"25",
            b"999 x",
            b"199 x",
            b"600 x",
            b"2500",
            b"25a x",
            b"250_x",
            b"GET /",
        ):
            self.assert_refused(line + b"\r\n")
        self.assert_refused(b"250-a\r\nb\r\n")

    def test_endless_line(self) -> None:
        """A server could fill our memory with one line."""
        self.assert_refused(b"250 " + b"x" * MAX_LINE + b"\r\n")
        self.assert_refused(*[b"x" * 100] * 50)

    def test_longest_line(self) -> None:
        """A long but bearable line would break the connection."""
        (reply,) = read(b"250 " + b"x" * (MAX_LINE - 4) + b"\r\n")
        self.assertEqual(reply.code, 250)

    def test_endless_lines(self) -> None:
        """A server could keep us reading one reply for ever."""
        lines = b"250-x\r\n" * (MAX_LINES - 1)
        self.assertEqual(len(read(lines + b"250 x\r\n")), 1)
        self.assert_refused(lines + b"250-x\r\n250 x\r\n")

    def test_much_text_is_cut(self) -> None:
        """A server could fill the queue's history with its words."""
        (reply,) = read((b"550-" + b"x" * 1000 + b"\r\n") * 100 + b"550 x\r\n")
        self.assertEqual(sum(len(line) for line in reply.text), MAX_REASON)
        (reply,) = read(b"250 " + b"x" * 4090 + b"\r\n")
        self.assertEqual(len(reply.text[0]), 4090)

    def test_extensions_are_not_cut(self) -> None:
        """Half of a size limit would be taken for the limit."""
        (reply,) = read(b"250-" + b"x" * 4085 + b"\r\n250-SIZE 100000000\r\n250 X\r\n")
        self.assertEqual(reply.text, ("x" * 4085,))

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from([b"250 ok\r\n", b"250-", b"550 5.1.1 ", b"\r\n", b"\n", b"\r"]),
            )
        )
    )
    def test_any_octets(self, pieces: list[bytes]) -> None:
        """Octets of any kind could raise something that nobody expects, or depend on the cuts."""

        def outcome(*pieces: bytes) -> tuple[list[Reply], bool]:
            parser = ReplyParser()
            replies: list[Reply] = []
            try:
                for piece in pieces:
                    parser.feed(piece)
                    while (reply := parser.next_reply()) is not None:
                        replies.append(reply)
            except ReplyError:
                return replies, True
            return replies, False

        whole = outcome(b"".join(pieces))
        self.assertEqual(outcome(*pieces), whole)
        for reply in whole[0]:
            self.assertTrue(200 <= reply.code <= 599)
            self.assertTrue(all(line.isprintable() or not line for line in reply.text))

    @settings(deadline=None, max_examples=200)
    @given(
        st.integers(200, 599),
        st.lists(
            st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
            min_size=1,
            max_size=5,
        ),
    )
    def test_round_trip(self, code: int, lines: list[str]) -> None:
        """What our own servers say would not arrive as it was meant."""
        status = f"{code // 100}.1.2" if code >= 400 or code < 300 else None
        reply = Reply(code, status, lines)
        self.assertEqual(read(reply.encode()), [reply])
