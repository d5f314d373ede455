"""Where an account's Maildir lies and how the files in it are called. Pure: nothing is touched.

An address may hold any printable character, so none of it becomes part of a path as it is: every
character outside an allow-list is percent-encoded, and so is a leading dot. Two accounts never
share a folder, and no account's folder lies outside the configured one.

A message's name is fixed by its queue id and its recipient, so that an attempt that repeats one cut
off by a crash finds what that one left.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import attrs

from mailframe.address import Address

MAX_COMPONENT = 200  # octets; file systems take 255, and a message's name must fit as well
REMEMBERED = 1000  # names for which it is remembered how they are written in a path
_STEM = re.compile(r"[0-9]+\.Q[0-9a-z]{1,32}R[0-9a-f]{16}\.")
_UNSAFE = re.compile(r"[^A-Za-z0-9._+=@-]")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLACES = ("domain", "mailbox")


class LayoutError(ValueError):
    """The path in the configuration can't be used. ``str(error)`` says what is allowed."""


@attrs.frozen
class MailboxPath:
    """The folder of one Maildir.

    :ivar prefix: the absolute path of the folder that holds all of them; an operator's choice
    :ivar components: the names below it, each made from an address; no link among them is followed
    """

    prefix: str
    components: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join((self.prefix.rstrip("/"), *self.components))


class Layout:
    """Turns mailboxes into paths.

    :param template: an absolute path with ``{mailbox}`` and, where it may be, ``{domain}``
    :param many_domains: whether mailboxes of several domains are kept, so that both are needed
    :raises LayoutError: the template has no such places, or is ambiguous

    :ivar tells_domains: mailboxes of one name in several domains have a folder each
    """

    def __init__(self, template: str, *, many_domains: bool) -> None:
        names = _PLACE.findall(template)
        self.tells_domains = "domain" in names
        for name in names:
            if name not in _PLACES:
                raise LayoutError(f"{{{name}}} stands for nothing; use {{domain}} and {{mailbox}}")
        rest = _PLACE.sub("", template)
        if "{" in rest or "}" in rest:
            raise LayoutError(f"a brace is missing in {template!r}")
        if "mailbox" not in names:
            raise LayoutError("the path must hold {mailbox}, so that each account has its own")
        if many_domains and not self.tells_domains:
            raise LayoutError("the path must hold {domain}, as there are several local domains")
        components = template.split("/")
        first = next(i for i, part in enumerate(components) if "{" in part)
        self._prefix = "/".join(components[:first]) or "/"
        self._components = [part for part in components[first:] if part]
        for part in self._components:
            _check_component(part)

    def path(self, mailbox: Address) -> MailboxPath:
        """The folder of an account's Maildir."""
        values = {"domain": encode(mailbox.domain), "mailbox": encode(mailbox.local_part)}
        return MailboxPath(
            self._prefix,
            tuple(_shortened(part.format_map(values)) for part in self._components),
        )


def _check_component(part: str) -> None:
    if part in (".", ".."):
        raise LayoutError(f"{part!r} may not follow {{domain}} or {{mailbox}}")
    if len(_PLACE.findall(part)) > 1 and part != "{mailbox}@{domain}":
        raise LayoutError(
            "two places in one component are ambiguous; write {domain}/{mailbox} or "
            "{mailbox}@{domain}"
        )


# Mail for one mailbox comes in numbers, and our own name is part of every message's.
@lru_cache(maxsize=REMEMBERED)
def encode(text: str) -> str:
    """Any text as part of a file name, in ASCII; different texts give different names."""
    safe = _UNSAFE.sub(lambda match: "".join(f"%{o:02X}" for o in match[0].encode()), text)
    return "%2E" + safe[1:] if safe.startswith(".") else safe


def _shortened(component: str) -> str:
    if len(component) <= MAX_COMPONENT:
        return component
    # "~" is outside the allow-list, so that no encoded address can be taken for a shortened one.
    return f"{component[:100]}~{hashlib.sha256(component.encode()).hexdigest()}"


# --- the names of messages -------------------------------------------------------------------


def delivery_stem(arrived: float, queue_id: str, recipient: Address) -> str:
    """The part of a delivered message's name by which a repeated attempt finds it again."""
    return f"{int(arrived)}.Q{queue_id}R{_digest(str(recipient))}"


@lru_cache(maxsize=REMEMBERED)
def _digest(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def is_delivery(name: str) -> bool:
    """Whether a name begins with what `delivery_stem` makes."""
    return _STEM.match(name) is not None


def delivery_name(stem: str, hostname: str, size: int, wire_size: int) -> str:
    """The whole name; ``S`` and ``W`` are read by POP3 and IMAP servers, Dovecot's among them.

    :param stem: see `delivery_stem`
    :param size: octets of the file
    :param wire_size: octets with every line ended by CRLF
    """
    return f"{stem}.{encode(hostname)[:100]},S={size},W={wire_size}"
