"""Fuzzing targets of what is read from files, from DNS and from the queue."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.names import dns

from mailframe.accounts.reading import AccountsError, read_contents, write_contents
from mailframe.address import Address, AddressError
from mailframe.authorisation.networks import parse_network
from mailframe.cli.headers import recipients, split_header
from mailframe.config_errors import SettingsError
from mailframe.delivery.addresses import is_prohibited
from mailframe.delivery.exchanges import Host
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.maildir_layout import Layout, encode
from mailframe.delivery.maildir_names import MAX_UIDL, arrival, base_name, uidls, wire_size
from mailframe.patterns import AddressPattern
from mailframe.queue import codec, dsn
from mailframe.reply import Reply
from mailframe.routing.via import parse_via
from mailframe.settings import from_text
from tests.fuzz.target import Target, says_why, text_of, words

LAYOUT = Layout("/var/mail/{domain}/{mailbox}", many_domains=True)
SAMPLE = Path(__file__).parents[2] / "docs" / "mailframe.toml"


def settings(octets: bytes) -> None:
    """A configuration is used, or all that is wrong in it is said."""
    try:
        from_text(text_of(octets), "/etc/mailframe.toml")
    except SettingsError as error:
        says_why(error)


def accounts(octets: bytes) -> None:
    """An accounts file is used, and means the same when it is written again, or is refused."""
    try:
        found = read_contents("accounts.toml", octets)
    except AccountsError as error:
        says_why(error)
        return
    assert read_contents("accounts.toml", write_contents(found)).aliases == found.aliases


def via(octets: bytes) -> None:
    """A route in the configuration is understood or refused with a reason."""
    try:
        parse_via(text_of(octets))
    except ValueError as error:
        says_why(error)


def entry(octets: bytes) -> None:
    """What is read from the queue is an entry, or damaged."""
    text = text_of(octets)
    loads: Any = (
        (codec.load_envelope, codec.dump_envelope),
        (codec.load_recipients, codec.dump_recipients),
        (codec.load_events, codec.dump_events),
    )
    for load, dump in loads:
        try:
            found = load(text)
        except codec.DamagedEntry as error:
            says_why(error)
            continue
        assert load(dump(found)) == found


class _Resolver:
    """Answers every question with the same octets."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def lookupMailExchange(self, name: str) -> Deferred[Any]:
        """MX, A and AAAA alike."""
        message = dns.Message()
        message.fromStr(self.octets)
        return succeed((message.answers, message.authority, message.additional))

    lookupAddress = lookupIPV6Address = lookupMailExchange


def answers(octets: bytes) -> None:
    """DNS may answer anything: there are hosts to try, or a reply that says why not."""
    lookup = Lookup(
        resolver=_Resolver(octets),
        clock=Clock(),
        seconds=30,
        hostname="mx.rosse.example",
        own_addresses=("192.0.2.99",),
        prohibited=is_prohibited,
        random=Random(0),
    )
    results: list[Any] = []
    Deferred.fromCoroutine(lookup.hosts("blu.example")).addBoth(results.append)
    (found,) = results
    if isinstance(found, Reply):
        assert not found.is_positive, found
        return
    assert isinstance(found, tuple), found
    for host in found:
        assert isinstance(host, Host), host
        assert host.name.isprintable(), host
        assert not is_prohibited(host.address), host


def maildir(octets: bytes) -> None:
    """No mailbox leads out of its folder, and each file of a Maildir has an id of its own."""
    text = octets.decode("latin-1").translate(_UNPRINTABLE)
    component = encode(text)
    assert "/" not in component
    assert "\0" not in component
    found = [os.fsdecode(name) for name in octets.split(b"/") if name]
    names = list({base_name(name): name for name in found}.values())
    for name in names:
        base = base_name(name)
        arrival(base)
        size = wire_size(base)
        assert size is None or size >= 0
    ids = uidls(names)
    assert len(set(ids)) == len(names), (ids, names)
    for each in ids:
        assert 1 <= len(each) <= MAX_UIDL, each
        assert all(0x21 <= octet <= 0x7E for octet in each), each
    try:
        mailbox = Address(text, "here.example")
    except AddressError:
        return
    path = LAYOUT.path(mailbox)
    assert len(path.components) == 2, path
    for component in path.components:
        assert component not in ("", ".", ".."), path
        assert not component.startswith("."), path
        assert len(component.encode()) <= 255, path
        assert not set(component) & set("/\0:"), path


_UNPRINTABLE = {code: 0x20 + code % 0x5F for code in range(256) if not 0x20 <= code <= 0x7E}


def patterns(octets: bytes) -> None:
    """Patterns and networks in the configuration are understood or refused with a reason."""
    text = text_of(octets)
    try:
        AddressPattern.parse(text)
    except ValueError as error:
        says_why(error)
    try:
        parse_network(text)
    except ValueError as error:
        says_why(error)


def header(octets: bytes) -> None:
    """Recipients in a message's header are addresses, or the message is refused."""
    fields, end = split_header(octets)
    assert b"".join(field.octets for field in fields) == octets[:end]
    try:
        found = recipients(fields)
    except AddressError as error:
        says_why(error)
        return
    assert all(isinstance(address, Address) for address in found)


def notice(octets: bytes) -> None:
    """Nothing that a remote server says gets out of its field in a notice."""
    text = octets.decode("latin-1")
    reply = Reply(550, None, text.split("\n"))
    about = dsn.MessageStatus(hostname="mx.example", queue_id="1", arrived=0.0)
    status = dsn.RecipientStatus(
        recipient=Address("a", "x.example"),
        action="failed",
        status=dsn.status_code(reply, "failed"),
        reply=reply,
        where=text,
        attempted=0.0,
    )
    plain = dsn.RecipientStatus(
        recipient=Address("a", "x.example"),
        action="failed",
        status="5.0.0",
        reply=Reply(550, None, "no"),
        where="x",
        attempted=0.0,
    )
    report = dsn.delivery_status(about, [status], False)
    names = [line.partition(":")[0] for line in report.split("\r\n") if line[:1].strip()]
    allowed = dsn.delivery_status(about, [plain], False) + "Remote-MTA:"
    assert set(names) <= {line.partition(":")[0] for line in allowed.split("\r\n")}, report
    for line in report.split("\r\n"):
        assert line.expandtabs().isprintable(), report
        assert len(line) <= 998, report


TARGETS = (
    Target(
        name="settings",
        check=settings,
        words=(
            *SAMPLE.read_bytes().splitlines(keepends=True),
            *words('hostname = "mx.here.example"\n', 'local_domains = ["here.example"]\n'),
            *words("[", "]", "[[server]]\n", "=", '"', "\n", "{", "}", "1", "true", "#", "9" * 30),
            *words("[limits]\n", 'idle = "5m"\n', "x = 1\n", "inf", "nan", "1979-05-27", "\xff"),
        ),
    ),
    Target(
        name="accounts",
        check=accounts,
        words=words(
            *("[[account]]\n", "[[alias]]\n", 'address = "a@here.example"\n', "to = [", "]", '"'),
            *('password = "$argon2id$"\n', 'to = "b@here.example"\n', "\n", "=", "x", "1", "\xff"),
            *('address = "b@here.example"\n', 'to = ["a@here.example", "b@here.example"]\n', "#"),
        ),
    ),
    Target(
        name="via",
        check=via,
        words=words(
            *(
                "mx",
                "mx:",
                "tcp:",
                "tls:",
                "ssl:",
                "lmtp:",
                "host",
                "x.example",
                ":25",
                ":",
                "local",
            ),
            *("reject", "reject ", "550", "5.1.1", "=", "\\", "unix:", "/run/x", "[", "]", "::1"),
            *("port=25", "timeout=9", "\0", "\xff", "65536", "-1", "(", ")", "host=", " "),
        ),
    ),
    Target(
        name="entry",
        check=entry,
        words=words(
            *(
                '{"sender":',
                '"a@x.example"',
                "null",
                ',"recipients":[',
                '{"address":',
                "}",
                "]",
                "[",
            ),
            *(
                '"evidence":{"reason":"x","rule":"y","plugin":"z"}',
                ',"client":null',
                ',"arrived":0',
            ),
            *(
                "1e999",
                "-1",
                "{",
                ",",
                '"',
                ":",
                "\\ud800",
                "\\u0000",
                ',"state":"pending"',
                "true",
            ),
            *(',"attempts":1', '"at":1', '"kind":"accepted"', "NaN", '"body":"8BITMIME"', "\xff"),
        ),
    ),
    Target(
        name="answers",
        check=answers,
        words=words(
            *(
                "\0\0\x81\x80\0\0\0\x01\0\0\0\0",
                "\0\0\x81\x80\0\0\0\x02\0\0\0\0",
                "\x03blu\x07example\0",
            ),
            *(
                "\0\x0f\0\x01\0\0\0\x3c",
                "\0\x01\0\x01\0\0\0\x3c",
                "\0\x1c\0\x01\0\0\0\x3c",
                "\0\x04",
            ),
            *(
                "\x7f\0\0\x01",
                "\xc0\0\2\1",
                "\xc0\x0c",
                "\0\x05\0\x01\0\0\0\x3c",
                "\0\x0f\0\x0a",
                "\0",
            ),
            *("\x01a\0", "\0\x10", "\xff\xff", "\xc0\xff", "\x3f", "\0\x02"),
        ),
    ),
    Target(
        name="maildir",
        check=maildir,
        words=words(
            *(
                "..",
                "/",
                ".",
                "\0",
                ":2,S",
                ":",
                ",S=1",
                ",W=2",
                "1763899200.",
                "M1P2",
                ".host",
                "%2f",
            ),
            *(
                "%",
                "..%2f",
                "~",
                "a",
                "A",
                " ",
                "y" * 300,
                "\xff",
                ",W=-1",
                ",W=" + "9" * 400,
                "\n",
            ),
        ),
    ),
    Target(
        name="patterns",
        check=patterns,
        words=words(
            *(
                "*",
                "@",
                "<>",
                "*.",
                "x.example",
                "a",
                '"',
                "\\",
                " ",
                "192.0.2.0",
                "/24",
                "/",
                "::1",
            ),
            *("2001:db8::", "/129", "%", "1", ".", "\xff", "\xc3\xbc", "\0", "[", "]"),
        ),
    ),
    Target(
        name="header",
        check=header,
        words=words(
            *("To: ", "Cc:", "Bcc : ", "Resent-To: ", "a@x.example", "<", ">", ",", ";", ":", '"'),
            *("(", ")", "\\", "\r\n", "\r\n ", "group:", "=?utf-8?q?x?=", "[192.0.2.1]", "\xff"),
        ),
    ),
    Target(
        name="notice",
        check=notice,
        words=words(
            *("\r\n", "\n", "\r", "Status: 2.0.0", "Action: delivered", "\r\n\r\n", "--boundary"),
            *(
                "mx.example [192.0.2.1]:25",
                "tcp:host=x",
                "tls:x:25",
                "\x1b[2J",
                "\xff",
                ";",
                "y" * 90,
            ),
            *(" ", "\t", "5.1.1 ", "\0", "\x85"),
        ),
    ),
)
