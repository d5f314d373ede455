"""``mailframe send``: put a message into the queue, as ``sendmail`` does.

The message goes through the same routing as one that came over SMTP, so that an unknown recipient
is refused at once. Whoever may write to the queue may send; no other authorisation is asked for.
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Sequence
from email.utils import formatdate, make_msgid

import attrs
import click

from mailframe.accounts.store import AccountStore
from mailframe.address import Address, AddressError, normal_domain
from mailframe.assembly import Parts
from mailframe.cli.headers import recipients as header_recipients
from mailframe.cli.options import Misuse, Refusal, config_option
from mailframe.cli.outgoing import BadHeader, Outgoing, TooLarge, missing_fields, read_message
from mailframe.cli.parts import read_settings, with_parts
from mailframe.config_errors import SettingsError
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.guard import as_deferred
from mailframe.outcome import Permit, Unroutable
from mailframe.server.trace import received
from mailframe.settings import Settings

CLIENT = Client(server="local", protocol="local", address="127.0.0.1")
EVIDENCE = Permit(reason="handed over by a program on this machine", rule="local")


class Rejected(Exception):
    """A recipient can't be reached. ``str(error)`` names each with the reply."""


@attrs.frozen(kw_only=True)
class Letter:
    """What is to be queued.

    :ivar added: fields to stand after all others of the header
    """

    sender: Address | None
    recipients: tuple[Address, ...]
    message: Outgoing
    added: bytes


@click.command(context_settings={"ignore_unknown_options": False})
@config_option
@click.option(
    "-f", "-r", "sender", metavar="SENDER", help='The reverse-path; "<>" is the null one.'
)
@click.option("-F", "full_name", metavar="NAME", default="", help="The sender's name, for From.")
@click.option("-t", "from_header", is_flag=True, help="Send to those in To, Cc and Bcc as well.")
@click.option("-i", "ignore_dots", is_flag=True, help="A line of one dot does not end the message.")
@click.option("-o", "long_flags", metavar="X", multiple=True, help="As sendmail: -oi is -i.")
@click.option("-b", "mode", metavar="m", default="m", help="As sendmail: only -bm is there.")
@click.argument("recipients", metavar="[RECIPIENT...]", nargs=-1)
def send(
    config: str,
    sender: str | None,
    full_name: str,
    from_header: bool,
    ignore_dots: bool,
    long_flags: Sequence[str],
    mode: str,
    recipients: Sequence[str],
) -> None:
    """Put the message on standard input into the queue and print its queue id.

    Date, Message-ID and From are added when they are missing; Bcc is taken out.
    """
    if mode != "m":
        raise Misuse(f"send: -b{mode} is not available; only -bm, which is the default")
    if not (recipients or from_header):
        raise Misuse("send: name a recipient, or take those of the header with -t")
    if not full_name.isprintable():
        raise Misuse("send: -F takes a name without control characters")
    settings = read_settings(config)
    reverse_path = _sender(settings, sender)
    named = [_address(recipient, settings) for recipient in recipients]
    # A person ends a message with a dot; what comes from a program or a file may hold one.
    dot_ends = sys.stdin.isatty() and not (ignore_dots or "i" in long_flags)
    letter = _letter(settings, reverse_path, full_name, named, from_header, dot_ends)
    try:
        seams = ("accounts", "routing", "queue")
        id = with_parts(settings, seams, lambda parts: put(parts, letter), makes=True)
    except Rejected as error:
        raise Refusal(str(error)) from None
    click.echo(id)


def _letter(
    settings: Settings,
    sender: Address | None,
    full_name: str,
    named: Sequence[Address],
    from_header: bool,
    dot_ends: bool,
) -> Letter:
    limit = settings.limits.message_size or sys.maxsize
    try:
        message = read_message(sys.stdin.buffer.readline, limit=limit, dot_ends=dot_ends)
        found = header_recipients(message.fields) if from_header else ()
    except TooLarge:
        raise Refusal(f"send: the message is larger than {limit} octets") from None
    except (BadHeader, AddressError) as error:
        raise Refusal(f"send: {error}") from None
    hops = sum(field.name == "received" for field in message.fields)
    if hops >= settings.limits.received_hops:  # RFC 5321 §6.3
        raise Refusal(f"send: the message went through {hops} servers; it loops")
    everybody = tuple(dict.fromkeys([*named, *found]))
    if not everybody:
        raise Refusal("send: the header names no recipient")
    added = missing_fields(
        message,
        sender=sender or Address("MAILER-DAEMON", settings.hostname),
        full_name=full_name,
        date=formatdate(localtime=True),
        message_id=make_msgid(domain=settings.hostname),
    )
    return Letter(sender=sender, recipients=everybody, message=message, added=added)


async def put(parts: Parts, letter: Letter) -> str:
    """Ask the routing about every recipient, and queue the message when none is refused.

    :returns: the queue id, once the message would survive a power cut
    :raises Rejected: some can't be reached; nothing was queued
    :raises StorageFault: it could not be kept
    """
    now = parts.site.reactor.seconds()
    router = parts.router()
    refused = []
    for recipient in letter.recipients:
        route = await router.route(letter.sender, recipient, CLIENT, now)
        # What may change is queued and tried again, as if another server had said it.
        if isinstance(route, Unroutable) and route.reply.is_permanent:
            refused.append(f"{recipient}: {route.reply}")
    if refused:
        raise Rejected("\n".join(refused))
    envelope = Envelope(
        sender=letter.sender,
        recipients=tuple(
            Recipient(address=address, evidence=EVIDENCE) for address in letter.recipients
        ),
        client=CLIENT,
        arrived=now,
        body=letter.message.body,
        smtputf8=not all(each.is_ascii for each in (letter.sender, *letter.recipients) if each),
    )
    sink = parts.queue.part.receive(envelope=envelope)
    try:
        trace = received(CLIENT, parts.site.hostname, sink.id, envelope.recipients, now)
        for piece in letter.message.pieces(trace, letter.added):
            room = sink.write(octets=piece)
            if room is not None:
                await as_deferred(room)
    except BaseException:  # an interrupt included: a sink must be ended
        sink.abort()
        raise
    await as_deferred(sink.commit())
    id: str = sink.id
    return id


def _address(text: str, settings: Settings) -> Address:
    """An address of the command line; one without a domain is meant for here."""
    try:
        if "@" not in text:
            return Address(text, settings.default_domain)
        return Address.parse(text)
    except AddressError as error:
        raise Misuse(f"send: {text!a}: {error}") from None


def _sender(settings: Settings, text: str | None) -> Address | None:
    if text is None:
        return _own_address(settings)
    if text in ("", "<>"):
        return None
    return _address(text.removeprefix("<").removesuffix(">"), settings)


def _own_address(settings: Settings) -> Address:
    """The account of the user who sends, or else ``user@hostname``."""
    user = getpass.getuser()
    for account in _accounts(settings):
        if account.local_part.lower() == user.lower():
            return account
    try:
        return Address(user, normal_domain(settings.hostname))
    except AddressError as error:
        raise Misuse(f"send: the user name is no sender ({error}); name one with -f") from None


def _accounts(settings: Settings) -> Iterable[Address]:
    chosen = settings.chosen["accounts"]
    if chosen.part.name != "file":
        return ()
    try:
        return AccountStore.load(chosen.settings.path).accounts
    except SettingsError:
        return ()  # which building the part will tell
