"""Fuzzing targets of `mailframe.wire`: what peers say."""

from __future__ import annotations

from typing import Any

from mailframe.address import Address, AddressError
from mailframe.reply import Reply
from mailframe.server.header_scan import HeaderScan
from mailframe.wire import grammar, sasl
from mailframe.wire.data import DataDecoder, DataEncoder
from mailframe.wire.reply_parser import MAX_LINES, ReplyError, ReplyParser
from mailframe.wire.sender_events import (
    ContentWanted,
    Ended,
    Failed,
    Ready,
    Settled,
    StartTls,
    Transaction,
)
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_sender import Sender
from tests.fuzz.target import Target, all_same, cuts, says_why, text_of, words
from tests.wire.dialogue import Player, player
from tests.wire.reference import read_data, whole_lines
from tests.wire.test_pop3 import Desk

LOGIN = sasl.Login(authzid=b"", user=b"user", password=b"secret")
RECIPIENTS = (Address("b", "x.example"), Address("c", "x.example"))


def smtp(octets: bytes) -> None:
    """The receiver answers well-formed lines, however what it reads is cut, and never fails."""
    all_same((_smtp_session(pieces) for pieces in cuts(octets)), octets)


def _smtp_session(pieces: list[bytes]) -> tuple[object, ...]:
    offer = Offer(size=500, mechanisms=("PLAIN", "LOGIN"), login=True)
    played = player(offer, errors=50)
    for piece in pieces:
        played.feed(piece)
    _well_formed(played.output)
    return played.output, _content(played), played.receiver.closing, played.receiver.state


def _content(played: Player) -> bytes | None:
    """The content, unless a message was refused: then how much was given of it doesn't matter."""
    refused = any(getattr(event, "refusal", None) for event in played.events)
    return None if refused else played.content


def _well_formed(output: bytes) -> None:
    lines = output.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        assert len(line) <= 510, f"a line of {len(line)} octets"
        assert line[:3].isdigit(), line
        assert line[3:4] in (b" ", b"-"), line
        assert line.decode("utf-8").isprintable(), line


def data(octets: bytes) -> None:
    """The decoder reads what the reference reads."""
    expected = read_data(octets)
    for pieces in cuts(octets):
        decoder = DataDecoder()
        content = b""
        for place, piece in enumerate(pieces):
            content += decoder.decode(piece)
            if decoder.finished:
                rest = decoder.rest + b"".join(pieces[place + 1 :])
                assert expected is not None, octets
                assert rest == expected.rest, octets
                assert (None if decoder.fault else content) == expected.content, octets
                break
        else:
            assert expected is None, octets


def encoder(octets: bytes) -> None:
    """What is sent is what was to be sent, for a receiver that takes only CRLF for a line end."""
    for pieces in cuts(octets):
        encoder = DataEncoder()
        wire = b"".join(map(encoder.encode, pieces)) + encoder.finish()
        assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n"), wire
        reading = read_data(wire)
        assert reading is not None, wire
        assert reading.rest == b"", wire
        if reading.content is not None:
            assert reading.content == whole_lines(octets), wire


def replies(octets: bytes) -> None:
    """A hostile server's replies are understood or refused, within bounds."""
    all_same((_replies(pieces) for pieces in cuts(octets)), octets)


def _replies(pieces: list[bytes]) -> tuple[list[Reply], str]:
    parser = ReplyParser()
    found: list[Reply] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (reply := parser.next_reply()) is not None:
                _sound(reply)
                found.append(reply)
    except ReplyError as error:
        says_why(error)
        return found, str(error)
    return found, ""


def _sound(reply: Reply) -> None:
    assert 200 <= reply.code <= 599, reply
    assert len(reply.text) <= MAX_LINES, reply
    assert sum(map(len, reply.text)) <= 5000, reply
    assert all(line.isprintable() for line in reply.text), reply
    _well_formed(reply.encode())


def sender(octets: bytes) -> None:
    """No server makes the client fail, hang on to anything, or say two things in one line."""
    first = octets[0] if octets else 0
    _session(
        octets[1:],
        tls=("none", "opportunistic", "required")[first % 3],
        login=LOGIN if first & 4 else None,
        loopback=True,
        protocol="lmtp" if first & 8 else "smtp",
    )


def _session(octets: bytes, **options: Any) -> None:
    client = Sender(hostname="mx.rosse.example", **options)
    told: list[Any] = []
    transactions = 3
    # A server that answers each time is what gets furthest: one line at a time.
    for line in octets.splitlines(keepends=True):
        client.receive(line)
        transactions = _act(client, told, transactions)
        if client.stage == "closed":
            break
    client.connection_lost()
    _act(client, told, 0)
    assert client.stage == "closed"
    ends = [event for event in told if isinstance(event, Failed | Ended)]
    assert len(ends) == 1, told
    assert told[-1] is ends[0], told
    for event in told:
        if isinstance(event, Settled):
            assert len(event.replies) == len(RECIPIENTS), event
        if isinstance(event, Failed):
            assert len(event.replies) in (0, len(RECIPIENTS)), event
            assert not event.reply.is_positive, event


def _act(client: Sender, told: list[Any], transactions: int) -> int:
    """What the owner of a session does after each call."""
    while events := client.take_events():
        told += events
        for event in events:
            if client.stage == "closed":
                break
            if isinstance(event, StartTls):
                client.tls_started()
            elif isinstance(event, ContentWanted):
                client.content(b"Subject: x\r\n\r\n.text\r\n")
                client.end_of_content()
            elif isinstance(event, Ready | Settled) and transactions:
                transactions -= 1
                client.begin(Transaction(sender=None, recipients=RECIPIENTS, size=50))
            elif isinstance(event, Ready | Settled) and client.stage == "idle":
                client.quit()
    said = client.take_output()
    assert said.count(b"\r") == said.count(b"\n") == said.count(b"\r\n"), said
    assert not said or said.endswith(b"\r\n"), said
    return transactions


def pop3(octets: bytes) -> None:
    """The POP3 server answers well-formed lines, however what it reads is cut, and never fails."""
    all_same((_pop3_session(pieces) for pieces in cuts(octets)), octets)


def _pop3_session(pieces: list[bytes]) -> tuple[object, ...]:
    desk = Desk()
    for piece in pieces:
        desk.say(piece)
    output = desk.output
    assert output.count(b"\r\n") == output.count(b"\n"), output
    assert not output or output.endswith(b"\r\n"), output
    if b"QUIT" not in b"".join(pieces).upper():
        assert desk.deleted is None, "deleted without QUIT"
    return output, desk.deleted


def address(octets: bytes) -> None:
    """An address means the same when it is read again, and can't break a line."""
    try:
        found = Address.parse(text_of(octets))
    except AddressError as error:
        says_why(error)
        return
    assert str(found).isprintable(), found
    assert not set(str(found)) & set("\r\n\0"), found
    assert Address.parse(str(found)) == found
    assert found.domain == found.domain.lower()


def path(octets: bytes) -> None:
    """What stands in MAIL and RCPT is read or refused."""
    text = octets.decode("latin-1")
    for parse in (
        lambda: grammar.parse_reverse_path(text),
        lambda: grammar.parse_forward_path(text, "here.example"),
    ):
        try:
            found, rest = parse()
        except grammar.GrammarError as error:
            says_why(error)
            continue
        assert found is None or str(found).isprintable(), found
        assert text.endswith(rest)


def parameters(octets: bytes) -> None:
    """Parameters, SIZE, xtext and the name in EHLO are read or refused."""
    text = octets.decode("latin-1")
    for parse in (
        grammar.parse_parameters,
        grammar.parse_size,
        grammar.parse_xtext,
        grammar.parse_helo_name,
    ):
        try:
            found = parse(text)
        except grammar.GrammarError as error:
            says_why(error)
            continue
        if parse is grammar.parse_xtext:
            assert isinstance(found, str)
            assert found.isprintable(), found
        if parse is grammar.parse_size:
            assert int(str(found)) < 10**20


def sasl_exchange(octets: bytes) -> None:
    """A login is read or refused, whatever the client answers."""
    for name in ("PLAIN", "LOGIN"):
        receiver = player(Offer(mechanisms=("PLAIN", "LOGIN"), login=True), errors=100)
        receiver.feed(b"EHLO x\r\nAUTH " + name.encode() + b"\r\n")
        for line in octets.split(b"\n"):
            receiver.feed(line.replace(b"\r", b"") + b"\r\n")
        _well_formed(receiver.output)
        for event in receiver.events:
            login = getattr(event, "login", None)
            if login is not None:
                assert 0 < len(login.password) <= sasl.MAX_PASSWORD
                assert not set(login.user + login.authzid) & set(b"\r\n\0"), login


def header_scan(octets: bytes) -> None:
    """A loop is seen however the header arrives."""
    all_same((_scan(pieces) for pieces in cuts(octets)), octets)


def _scan(pieces: list[bytes]) -> bool:
    scan = HeaderScan(max_size=100_000, max_hops=3)
    for piece in pieces:
        if scan.scan(piece) is not None:
            return True
        if scan.ended:
            break
    return False


ENVELOPE = words(
    "EHLO x\r\n", "HELO x\r\n", "MAIL FROM:<>\r\n", "MAIL FROM:<a@x.example> SIZE=1 BODY=8BITMIME"
)
TARGETS = (
    Target(
        name="smtp",
        check=smtp,
        words=ENVELOPE
        + words(
            *("RCPT TO:<b@here.example>\r\n", "RCPT TO:<no@here.example>\r\n", "DATA\r\n"),
            *("\r\n.\r\n", ".\r\n", "RSET\r\n", "QUIT\r\n", "NOOP\r\n", "VRFY x\r\n", "AUTH PLAIN"),
            *("AUTH LOGIN\r\n", " AHVzZXIAc2VjcmV0\r\n", "*\r\n", "=", "STARTTLS\r\n", "BDAT 3"),
            *(" LAST", "HELP\r\n", "\r", "\n", "\0", ".", " ", "<", ">", "@", '"', "\\", "\xff"),
            "x" * 600,
        ),
    ),
    Target(name="data", check=data, words=words("\r", "\n", ".", "\0", "\r\n.\r\n", "a", "\r\n.")),
    Target(name="encoder", check=encoder, words=words("\r", "\n", ".", "\r\n.\r\n", "a", "\r\n.")),
    Target(
        name="replies",
        check=replies,
        words=words(
            *("220 ", "250-", "250", "354 ", "421 ", "550-5.1.1 ", "5.1.1 ", "2.0.0", "\r\n", "\n"),
            *("\r", "-", " ", "\x1b[2J", "\xe2\x80\xa8", "999 ", "y" * 4100, "250-x\r\n" * 40),
        ),
    ),
    Target(
        name="sender",
        check=sender,
        words=words(
            *("220 x\r\n", "250 ok\r\n", "250-x\r\n", "250 PIPELINING\r\n", "250-SIZE 9\r\n"),
            *("250-PIPELINING\r\n", "250 STARTTLS\r\n", "250-AUTH PLAIN LOGIN\r\n", "334 \r\n"),
            *("334 x\r\n", "235 ok\r\n", "354 go\r\n", "450 4.2.0 x\r\n", "550 5.1.1 x\r\n"),
            *("421 x\r\n", "221 bye\r\n", "552 x\r\n", "250-CHUNKING\r\n", "250-8BITMIME\r\n"),
            *("250-SIZE 0\r\n", "250-LIMITS RCPTMAX=1\r\n", "250-SMTPUTF8\r\n", "x\r\n", "\0"),
            *("250-DSN\r\n", "250-REQUIRETLS\r\n", "250 LIMITS MAILMAX=0\r\n", "250-LIMITS X\r\n"),
        ),
    ),
    Target(
        name="pop3",
        check=pop3,
        words=words(
            *("USER angelo\r\n", "PASS open sesame\r\n", "STAT\r\n", "LIST\r\n", "UIDL\r\n"),
            *("RETR ", "TOP ", "DELE ", "LIST ", "UIDL ", "1", "2", "3", "0", "-1", "99999999999"),
            *("\r\n", "\r", "\n", " ", "QUIT\r\n", "CAPA\r\n", "NOOP\r\n", "RSET\r\n", "*\r\n"),
            *("AUTH PLAIN\r\n", "AUTH LOGIN\r\n", "AGFuZ2VsbwBvcGVuIHNlc2FtZQ==\r\n", "STLS\r\n"),
            *("\0", "\xff", "y" * 600),
        ),
    ),
    Target(
        name="address",
        check=address,
        words=words(
            *(
                "a",
                "b.c",
                "@",
                "x.example",
                '"',
                "\\",
                " ",
                "..",
                "[",
                "]",
                "[192.0.2.1]",
                "%",
                "!",
            ),
            *("[IPv6:", "::1", "::ffff:192.0.2.1", "%eth0", "xn--", "xn--bcher-kva", "_", "-"),
            *("\xc3\xbc", "\xe2\x84\xaa", "\xef\xbc\xa0", "\xe3\x80\x82", "\xe2\x80\xae", "\xff"),
            *("\r", "\n", "\0", "\x7f", "<", ">", "y" * 64, "y" * 250, "\xc4\xb1", "\xc3\x9f"),
        ),
    ),
    Target(
        name="path",
        check=path,
        words=words(
            *("<", ">", "a@x.example", "@a,@b:", "@a:", '"', "\\", " ", "Postmaster", ",", ":"),
            *("\xc3\xbc", " SIZE=1", "@", "x", "[192.0.2.1]", "\r", "\n", "\0"),
        ),
    ),
    Target(
        name="parameters",
        check=parameters,
        words=words(
            *(" ", "SIZE=", "1", "9" * 20, "=", "+", "+41", "+0A", "+4", "BODY=8BITMIME", "X", "-"),
            *("RET=FULL", "NOTIFY=NEVER,SUCCESS", "ORCPT=rfc822;a+40x", "ENVID=", "\xff", "\0"),
        ),
    ),
    Target(
        name="sasl",
        check=sasl_exchange,
        words=words(
            *("AHVzZXIAc2VjcmV0", "dXNlcg==", "c2VjcmV0", "=", "*", "\n", "A", "AA", "AAA", "AAAA"),
            *("AAAAAA==", "\0", "\xff", "QUJD" * 400),
        ),
    ),
    Target(
        name="header_scan",
        check=header_scan,
        words=words("Received: x", "received:", "\r\n", "\n", "\r\n\r\n", "X-Y: z", " ", "\t", ":"),
    ),
)
