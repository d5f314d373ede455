"""The inputs that cost most, for every parser and for all that strangers can make grow.

Each `Attack` is a function of a size: it prepares an input of that size and gives what is to be
measured. Work must grow with the size no faster than in proportion: whoever sends twice as much may
cost us twice as much. ``python -m benchmarks.linear`` measures it, and a test watches over it.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.names import dns

from mailframe.accounts.reading import read_contents
from mailframe.address import Address
from mailframe.cli.headers import recipients, split_header
from mailframe.delivery.lookup import Lookup
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Permit, Redirect, Refused, Tried
from mailframe.queue import codec, dsn
from mailframe.queue.memory import MemoryStorage
from mailframe.queue.notices import NoticeWriter
from mailframe.queue.progress import advance
from mailframe.queue.schedule import Schedule
from mailframe.reply import Reply
from mailframe.server.forged_results import without_forged_results
from mailframe.server.header_scan import HeaderScan
from mailframe.server.limits import Limits
from mailframe.server.login_delays import LoginDelays
from mailframe.server.login_failures import LoginFailures
from mailframe.server.smtp_connection import MAX_UNPARSED
from mailframe.wire import grammar
from mailframe.wire.conversion import Survey, Unconvertible
from mailframe.wire.data import DataDecoder, DataEncoder
from mailframe.wire.pop3_surrogate import downgraded
from mailframe.wire.pop3_top import Top
from mailframe.wire.reply_parser import ReplyParser
from mailframe.wire.sender_events import Transaction
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_sender import Sender
from tests.queue.samples import RELAY
from tests.queue.samples import entry as queued_entry
from tests.wire.dialogue import player
from tests.wire.test_pop3 import LOGIN, Desk

SEGMENT = 65_536  # octets that Twisted reads at once, at most
DNS_LIMIT = 3000  # records that fit into a DNS message


@attrs.frozen
class Attack:
    """One way to cost us much.

    :ivar prepare: makes an input of a size, and gives what is to be measured
    :ivar size: octets, commands, records or whatever ``prepare`` counts, to begin with
    """

    name: str
    prepare: Callable[[int], Callable[[], object]]
    size: int


def feed(
    take: Callable[[bytes], object], octets: bytes, piece: int = SEGMENT
) -> Callable[[], None]:
    """Octets arrive in pieces."""
    pieces = [octets[place : place + piece] for place in range(0, len(octets), piece)]

    def run() -> None:
        for each in pieces:
            take(each)

    return run


def often(function: Callable[[], object]) -> Callable[[], None]:
    """What is too short to be measured once."""

    def run() -> None:
        for _ in range(40):
            function()

    return run


def times(size: int, pieces: Iterable[bytes]) -> bytes:
    """A text of about a size."""
    text = b"".join(pieces)
    return text * (size // len(text) + 1)


# --- SMTP ------------------------------------------------------------------------------------


def _smtp(octets: bytes, piece: int = SEGMENT, opening: bytes = b"") -> Callable[[], None]:
    played = player(Offer(mechanisms=("PLAIN", "LOGIN"), login=True), errors=10**9)
    played.feed(opening)

    def take(each: bytes) -> None:
        played.feed(each)
        played.output = b""
        played.events.clear()

    return feed(take, octets, piece)


ENVELOPE = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@here.example>\r\n"
IN_DATA = b"HELO x\r\n" + ENVELOPE + b"DATA\r\n"


def _waiting(rounds: int) -> Callable[[], None]:
    """Octets that arrive one by one while an answer is waited for, as many as a session reads."""
    answer = Reply(250, None, "ok")
    receiver = player(errors=10**9).receiver
    receiver.receive(b"HELO x\r\n")

    def run() -> None:
        for _ in range(rounds):
            assert receiver.next_event() is not None
            feed(receiver.receive, b"\r\n" * (MAX_UNPARSED // 16), 1)()
            receiver.reply(answer)
            while receiver.next_event() is not None:
                pass
            receiver.take_output()
            receiver.receive(b"HELO x\r\n")

    return run


def _recipients(size: int) -> Callable[[], None]:
    lines = b"".join(b"RCPT TO:<b%d@here.example>\r\n" % number for number in range(size))
    return _smtp(lines, opening=b"EHLO x\r\nMAIL FROM:<>\r\n")


def _decoder(octets: bytes, piece: int, limit: int = 0) -> Callable[[], None]:
    return feed(DataDecoder(limit).decode, octets, piece)


def _scan(octets: bytes, piece: int) -> Callable[[], None]:
    return feed(HeaderScan(max_size=10**9, max_hops=10**9).scan, octets, piece)


def _chunks(size: int) -> Callable[[], None]:
    """The smallest chunks, as many as fit into each segment."""
    return _smtp(b"BDAT 1\r\nx" * size, opening=b"EHLO x\r\n" + ENVELOPE)


def _forged(field: bytes) -> Callable[[int], Callable[[], object]]:
    def prepare(size: int) -> Callable[[], object]:
        octets = field * size + b"\r\nbody\r\n"
        return lambda: without_forged_results(octets, b"mx.here.example")

    return prepare


def _survey(octets: bytes) -> Callable[[], None]:
    """The look into a message that a server without 8BITMIME makes necessary."""
    survey = Survey(eight_bit=False, binary=False)
    run = feed(survey.feed, octets, 1460)

    def whole() -> None:
        with contextlib.suppress(Unconvertible):
            run()
            survey.finish()

    return whole


MULTIPART = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'

# --- the client ------------------------------------------------------------------------------


def _replies(octets: bytes, piece: int = SEGMENT) -> Callable[[], None]:
    parser = ReplyParser()

    def take(each: bytes) -> None:
        parser.feed(each)
        while parser.next_reply() is not None:
            pass

    return feed(take, octets, piece)


def _sender(size: int) -> Callable[[], None]:
    """One message to many, a reply for each."""
    to = tuple(Address(f"b{number}", "x.example") for number in range(size))

    def run() -> None:
        sender = Sender(hostname="mx.rosse.example")
        sender.receive(b"220 x\r\n")
        sender.receive(b"250-x\r\n250 PIPELINING\r\n")
        sender.take_events()
        sender.begin(Transaction(sender=None, recipients=to, size=10))
        sender.take_output()
        feed(sender.receive, b"250 ok\r\n" * (size + 1) + b"354 go\r\n", 100)()
        sender.take_events()

    return run


# --- POP3 ------------------------------------------------------------------------------------


def _pop3(octets: bytes, piece: int = SEGMENT, messages: int = 3) -> Callable[[], None]:
    desk = Desk([b"x\n"] * messages)
    desk.say(LOGIN)

    def take(each: bytes) -> None:
        desk.say(each)
        desk.output = b""
        desk.events.clear()

    return feed(take, octets, piece)


def _delete_all(size: int) -> Callable[[], None]:
    lines = b"".join(b"DELE %d\r\n" % (number + 1) for number in range(size))
    return _pop3(lines + b"STAT\r\n", messages=size)


# --- files, DNS, the queue -------------------------------------------------------------------


def _aliases(size: int) -> Callable[[], object]:
    """A chain of aliases, each going to the next two."""
    entries = "".join(
        f'[[alias]]\naddress = "a{number}@x.example"\n'
        f'to = ["a{number + 1}@x.example", "a{number + 2}@x.example"]\n'
        for number in range(size)
    )
    octets = entries.encode()
    return lambda: read_contents("accounts.toml", octets)


def _entry(size: int) -> Callable[[], object]:
    permit = Permit(reason="x", rule="y", plugin="z")
    text = codec.dump_envelope(
        Envelope(
            sender=None,
            recipients=tuple(
                Recipient(address=Address(f"b{number}", "x.example"), evidence=permit)
                for number in range(size)
            ),
            client=Client(server="mx", protocol="smtp", address="192.0.2.1"),
            arrived=0.0,
        )
    )
    assert json.loads(text)
    return lambda: codec.load_envelope(text)


def _redirects(size: int) -> Callable[[], object]:
    message = queued_entry(*(Address(f"b{number}", "x.example") for number in range(size)))
    tried = [
        Tried(
            index=index,
            route=Redirect(addresses=(Address(f"b{index}", "y.example"),), reason="x"),
            outcome=None,
        )
        for index in range(size)
    ]
    return lambda: advance(message, tried, 0.0, Schedule())


def _notice(size: int) -> Callable[[], object]:
    message = queued_entry(*(Address(f"b{number}", "x.example") for number in range(size)))
    refused = Refused(where="mx.x.example [192.0.2.1]:25", reply=Reply(550, "5.1.1", "nobody"))
    tried = [Tried(index=index, route=RELAY, outcome=refused) for index in range(size)]
    progress = advance(message, tried, 0.0, Schedule())
    writer = NoticeWriter(hostname="mx.example", random=Random(1), schedule=Schedule())
    return lambda: writer.write(message, progress, b"Subject: x\r\n", 0.0)


class _Answer:
    def __init__(self, records: list[Any]) -> None:
        self.records = records

    def lookupMailExchange(self, name: str) -> Any:
        """MX, A and AAAA alike."""
        return self.records, [], []

    lookupAddress = lookupIPV6Address = lookupMailExchange


def _dns(records: list[Any]) -> Callable[[], None]:
    def run() -> None:
        lookup = Lookup(
            resolver=_Answer(records),
            clock=Clock(),
            seconds=30,
            hostname="mx.rosse.example",
            own_addresses=(),
            prohibited=lambda address: False,
            random=Random(0),
        )
        coroutine = lookup.hosts("blu.example")
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise AssertionError("the lookup waits")

    return run


def _many_exchanges(size: int) -> Callable[[], None]:
    return _dns(
        [
            dns.RRHeader("blu.example", dns.MX, payload=dns.Record_MX(number, f"m{number}.example"))
            for number in range(size)
        ]
    )


def _many_aliases(size: int) -> Callable[[], None]:
    names = ["blu.example", *(f"a{number}.example" for number in range(size))]
    return _dns(
        [
            dns.RRHeader(name, dns.CNAME, payload=dns.Record_CNAME(target))
            for name, target in itertools.pairwise(names)
        ]
    )


def _failed_logins(size: int) -> Callable[[], None]:
    """As many failed logins as are remembered, all forgotten at once."""
    clock = Clock()
    failures = LoginFailures(limits=Limits(), clock=clock)
    addresses = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(size)]

    def run() -> None:
        for number, address in enumerate(addresses):
            failures.failed(address, b"u%d" % number)
        clock.advance(10_000)
        failures.beyond("192.0.2.1", b"x")

    return run


def _logins(size: int) -> Callable[[], None]:
    """As many logins as are remembered, all forgotten at once."""
    clock = Clock()
    delays = LoginDelays(seconds=60.0, clock=clock)

    def run() -> None:
        for number in range(size):
            delays.opened(f"u{number}@here.example")
        clock.advance(100)
        delays.left("u@here.example")

    return run


def _keep(size: int) -> Callable[[], None]:
    storage = MemoryStorage(clock=Clock(), random=Random(0))
    permit = Permit(reason="x", rule="y", plugin="z")
    to = (Recipient(address=Address("b", "x.example"), evidence=permit),)
    envelope = Envelope(sender=None, recipients=to, client=None, arrived=0.0)

    def run() -> None:
        for _ in range(size):
            sink = storage.receive(envelope)
            sink.write(b"x\r\n")
            with contextlib.suppress(StopIteration):
                sink.commit().__await__().send(None)  # type: ignore[attr-defined]  # an iterator

    return run


ATTACKS = (
    Attack("SMTP: a line without end, octet by octet", lambda n: _smtp(b"x" * n, 1), 20_000),
    Attack("SMTP: a line without end", lambda n: _smtp(b"x" * n, 1000), 2_000_000),
    Attack("SMTP: many commands at once", lambda n: _smtp(b"NOOP\r\n" * n), 8000),
    Attack("SMTP: many commands octet by octet", lambda n: _smtp(b"NOOP\r\n" * n, 1), 2000),
    Attack("SMTP: many bad commands", lambda n: _smtp(b"\r\n\xff\n\r\n" * n), 8000),
    Attack(
        "SMTP: many small messages at once",
        lambda n: _smtp((ENVELOPE + b"DATA\r\n.\r\n") * n, opening=b"HELO x\r\n"),
        1000,
    ),
    Attack("SMTP: many recipients", _recipients, 1000),
    Attack("SMTP: many small chunks at once", _chunks, 2000),
    Attack("SMTP: commands behind an answer, octet by octet", _waiting, 3),
    Attack("SMTP: content octet by octet", lambda n: _smtp(b"a" * n, 1, IN_DATA), 20_000),
    Attack("SMTP: line ends octet by octet", lambda n: _smtp(b"\r\n" * n, 1, IN_DATA), 10_000),
    Attack("SMTP: a message of dots", lambda n: _smtp(b"..\r\n" * n, 1460, IN_DATA), 400_000),
    Attack("SMTP: AUTH without end", lambda n: _smtp(b"AUTH LOGIN\r\nx\r\n" * n), 4000),
    Attack("content: one line without end", lambda n: _decoder(b"a" * n, 1460, 10**9), 8_000_000),
    Attack("content: lines of one octet", lambda n: _decoder(b"a\r\n" * n, 1460, 3), 200_000),
    Attack("content: almost the end", lambda n: _decoder(b"\r\n.\r" * n, 1460), 2_000_000),
    Attack(
        "content: sent in tiny pieces", lambda n: feed(DataEncoder().encode, b"\r." * n, 1), 20_000
    ),
    Attack("header: a field without end", lambda n: _scan(b"X:" + b"x" * n, 1460), 8_000_000),
    Attack("header: octet by octet", lambda n: _scan(times(n, [b"X: y\r\n"]), 1), 20_000),
    Attack(
        "header: fields", lambda n: _scan(times(n, [b"Received: x\r\n y\r\n"]), 1460), 2_000_000
    ),
    Attack(
        "header: results of others",
        _forged(b"Authentication-Results: x; y\r\n"),
        4000,
    ),
    Attack("header: results without end", _forged(b"Authentication-Results: (\r\n "), 4000),
    Attack("header: results in quotes", _forged(b'Authentication-Results: "\\"\r\n'), 4000),
    Attack("MIME: parts", lambda n: _survey(MULTIPART + b"--b\r\n\r\nx\r\n" * n), 4000),
    Attack("MIME: almost delimiters", lambda n: _survey(MULTIPART + b"\r\n--" * n), 20_000),
    Attack("MIME: one line", lambda n: _survey(b"\r\n" + b"\xff" * n), 2_000_000),
    Attack("MIME: a field without end", lambda n: _survey(b"X: " + b"\xff" * n), 2_000_000),
    Attack("MIME: parts in parts", lambda n: _survey(MULTIPART * n), 1000),
    Attack(
        "grammar: a long source route",
        lambda n: often(lambda: grammar.parse_path("<" + "@a," * n + "@a:b@x.example>")),
        3000,
    ),
    Attack(
        "grammar: a source route without end",
        lambda n: often(lambda: _refused(grammar.parse_path, "<" + "@a," * n)),
        3000,
    ),
    Attack(
        "grammar: quoted pairs without end",
        lambda n: often(lambda: _refused(grammar.parse_path, '<"' + "\\x" * n)),
        3000,
    ),
    Attack(
        "grammar: many parameters",
        lambda n: lambda: grammar.parse_parameters("".join(f" X{i}=y" for i in range(n))),
        10_000,
    ),
    Attack("grammar: xtext", lambda n: lambda: grammar.parse_xtext("+41" * n), 60_000),
    Attack(
        "address: a long local part",
        lambda n: lambda: _refused(Address.parse, "a." * n + "@x.example"),
        500_000,
    ),
    Attack(
        "address: a long domain",
        lambda n: lambda: _refused(Address.parse, "a@" + "b-" * n + "!"),
        500_000,
    ),
    Attack(
        "replies: the longest lines, octet by octet",
        lambda n: _replies((b"250 " + b"x" * 4000 + b"\r\n") * n, 1),
        3,
    ),
    Attack("replies: many at once", lambda n: _replies(b"250 ok\r\n" * n, 10**9), 20_000),
    Attack(
        "replies: many of many lines",
        lambda n: _replies((b"250-5.1.1 x\r\n" * 100 + b"250 y\r\n") * n, 1460),
        40,
    ),
    Attack("client: a message to many", _sender, 1000),
    Attack("POP3: many commands at once", lambda n: _pop3(b"NOOP\r\n" * n), 8000),
    Attack("POP3: many commands octet by octet", lambda n: _pop3(b"NOOP\r\n" * n, 1), 2000),
    Attack("POP3: a line without end", lambda n: _pop3(b"x" * n, 100), 400_000),
    Attack("POP3: all messages deleted", _delete_all, 4000),
    Attack("POP3: STAT of a large mailbox", lambda n: _pop3(b"STAT\r\n" * n, messages=1000), 4000),
    Attack(
        "POP3: a surrogate of one field",
        lambda n: lambda: downgraded(b"Subject: " + b"\xc3\xa9" * n + b"\n"),
        100_000,
    ),
    Attack(
        "POP3: a surrogate of many fields",
        lambda n: lambda: downgraded(b"To: \xc3\xa9\n \xc3\xa9\n" * n),
        10_000,
    ),
    Attack("POP3: TOP in tiny pieces", lambda n: feed(Top(10**9).take, b"x\n" * n, 1), 20_000),
    Attack(
        "SASL: base64",
        lambda n: (lambda line: lambda: base64.b64decode(line, validate=True))(b"QUJD" * n),
        500_000,
    ),
    Attack("accounts: a chain of aliases", _aliases, 200),
    Attack("DNS: many exchanges", lambda n: _many_exchanges(min(n, DNS_LIMIT)), 700),
    Attack("DNS: many aliases", lambda n: _many_aliases(min(n, DNS_LIMIT)), 700),
    Attack("queue: an entry with many recipients", _entry, 500),
    Attack("queue: many messages", _keep, 1000),
    Attack("queue: many redirects", _redirects, 500),
    Attack("queue: a notice of many recipients", _notice, 500),
    Attack("logins: many that failed", _failed_logins, 2000),
    Attack("logins: many in a short time", _logins, 10_000),
    Attack(
        "notice: a long reply",
        lambda n: lambda: dsn.one_line(str(Reply(550, None, " \x1b" * n))),
        100_000,
    ),
    Attack(
        "send -t: a header of commas",
        lambda n: lambda: recipients(split_header(b"To: " + b"a@x.example," * n + b"\r\n\r\n")[0]),
        2000,
    ),
    Attack(
        "send -t: quotes that are not closed",
        lambda n: lambda: _refused(recipients, split_header(b"To: " + b'"\\' * n + b"\r\n\r\n")[0]),
        2000,
    ),
    Attack(
        "send -t: comments in comments",
        lambda n: lambda: recipients(split_header(b"To: a@x.example " + b"(" * n + b"\r\n\r\n")[0]),
        20_000,
    ),
    Attack(
        "send -t: a field without end",
        lambda n: lambda: split_header(b"To: a\r\n" + b" x\r\n" * n),
        50_000,
    ),
)


def _refused(parse: Callable[[Any], object], text: Any) -> None:
    try:
        parse(text)
    except ValueError:
        return
    raise AssertionError("it should have been refused")
