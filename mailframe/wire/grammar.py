"""The grammar of SMTP command arguments (RFC 5321 §4.1.2), over text that is printable.

What may hold characters beyond ASCII, with SMTPUTF8 (RFC 6531 §3.3), are paths and the values of
parameters; whether they may is for the caller to know.

Linear patterns only: nothing here takes more than one look at an octet.
"""

from __future__ import annotations

import re

from mailframe.address import Address, AddressError

# Path = "<" [ A-d-l ":" ] Mailbox ">";  A-d-l = At-domain *( "," At-domain )
# Group 1 is the source route, group 2 the mailbox, of which only the quoting is looked at here.
_PATH = re.compile(
    r"<(@[A-Za-z0-9._-]+(?:,@[A-Za-z0-9._-]+)*:)?"
    r'((?:"(?:[^"\\]|\\.)*")?[^<>" ]*)>'
)
# esmtp-param = esmtp-keyword ["=" esmtp-value];  esmtp-value = 1*(%d33-60 / %d62-126)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\x00-\x20=\x7f]+))?")
# xtext = *( xchar / hexchar ), RFC 3461 §4
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_XTEXT_HEX = re.compile(r"\+([0-9A-F]{2})")
_SIZE = re.compile(r"[0-9]{1,20}")
_MAX_HELO = 255


class GrammarError(ValueError):
    """The argument is not what the grammar asks for; ``str(error)`` says why, printable."""


def parse_path(text: str) -> tuple[str, str]:
    """Read the path at the beginning of an argument.

    A source route is read and dropped: what is delivered to, and judged, is the mailbox behind it
    (RFC 5321 §4.1.2 and appendix C).

    :param text: what stands after ``FROM:`` or ``TO:``; spaces before the path are let through
    :returns: the mailbox as it was written, empty for ``<>``, and what follows the path
    :raises GrammarError: there is no path in angle brackets
    """
    if text.startswith(" "):
        text = text.lstrip(" ")
    match = _PATH.match(text)
    if not match:
        raise GrammarError("an address in angle brackets is needed, <like@this.example>")
    route, mailbox = match.groups()
    if route and not mailbox:
        raise GrammarError("a source route needs a mailbox behind it")
    return mailbox, text[match.end() :]


def parse_reverse_path(text: str) -> tuple[Address | None, str]:
    """Read the argument of MAIL after ``FROM:``.

    :returns: the sender, ``None`` for the null reverse-path, and the parameters' text
    :raises GrammarError: it is not a reverse-path
    """
    mailbox, rest = parse_path(text)
    if not mailbox:
        return None, rest
    try:
        return Address.parse(mailbox), rest
    except AddressError as error:
        raise GrammarError(str(error)) from None


def parse_forward_path(text: str, default_domain: str) -> tuple[Address, str]:
    """Read the argument of RCPT after ``TO:``.

    :param default_domain: whose postmaster ``<Postmaster>`` without a domain is (RFC 5321 §4.5.1)
    :returns: the recipient, and the parameters' text
    :raises GrammarError: it is not a forward-path
    """
    mailbox, rest = parse_path(text)
    if mailbox.lower() == "postmaster":
        return Address("postmaster", default_domain), rest
    if not mailbox:
        raise GrammarError("the null address can't receive mail")
    try:
        return Address.parse(mailbox), rest
    except AddressError as error:
        raise GrammarError(str(error)) from None


def parse_parameters(text: str) -> list[tuple[str, str | None]]:
    """Read ``*(SP esmtp-param)``.

    :returns: upper-case keyword and value of each, in order
    :raises GrammarError: one is malformed, or a keyword comes twice
    """
    if not text.startswith(" "):
        raise GrammarError("a space is needed between the path and what follows it")
    parameters: dict[str, str | None] = {}
    for word in text.split(" "):
        if not word:
            continue
        match = _PARAMETER.fullmatch(word)
        if not match:
            raise GrammarError("a parameter is malformed")
        keyword = match[1].upper()
        if keyword in parameters:
            raise GrammarError(f"the parameter {keyword} is given twice")
        parameters[keyword] = match[2]
    return list(parameters.items())


def parse_size(text: str | None) -> int:
    """Read the value of SIZE (RFC 1870 §4).

    :raises GrammarError: it is not 1 to 20 digits
    """
    if text is None or not _SIZE.fullmatch(text):
        raise GrammarError("SIZE needs 1 to 20 digits")
    return int(text)


def parse_xtext(text: str | None) -> str:
    """Decode an xtext (RFC 3461 §4).

    :raises GrammarError: it is not one, or it stands for something else than printable ASCII
    """
    if text is None or not _XTEXT.fullmatch(text):
        raise GrammarError("the value is not xtext")
    decoded = _XTEXT_HEX.sub(lambda match: chr(int(match[1], 16)), text)
    if not (decoded.isascii() and decoded.isprintable()):
        raise GrammarError("the value holds a character that is not printable ASCII")
    return decoded


def parse_helo_name(text: str) -> str:
    """Read the argument of EHLO or HELO.

    Anything of one word is taken: RFC 5321 §4.1.4 forbids to refuse mail because the name is wrong,
    and names with underscores or without a dot are common.

    :raises GrammarError: there is none, or it is more than one word or too long
    """
    if not text or " " in text or len(text) > _MAX_HELO:
        raise GrammarError("one host name or address literal is needed")
    return text
