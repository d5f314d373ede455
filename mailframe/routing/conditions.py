"""What a routing rule asks of a message, one class for each key of the rule.

A condition fits, does not fit, or can't be told yet: the size of a message is known before its
content only when the client declared it, and whose customer the client is only once it was judged.
``told`` says the same in words; production and ``mailframe explain`` use the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Protocol

import attrs

from mailframe.address import Address, AddressError
from mailframe.interfaces import Facts
from mailframe.patterns import AddressPatterns
from mailframe.routing.hours import Hours
from mailframe.routing.sizes import SizeLimit


@attrs.frozen(kw_only=True)
class Question:
    """What is asked of the table.

    :ivar sender: the reverse-path
    """

    sender: Address | None
    recipient: Address
    facts: Facts

    @property
    def login(self) -> str | None:
        """The account that the client proved to be."""
        client = self.facts.client
        return None if client is None else client.login


class Condition(Protocol):
    """One key of a rule."""

    def fits(self, question: Question) -> bool | None:
        """Whether a message fits; ``None``: that can't be told yet."""

    def told(self, question: Question) -> str:
        """The same as one clause."""


class Recipients:
    """``recipients``: patterns on the recipient."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.patterns = AddressPatterns(texts)

    def fits(self, question: Question) -> bool:
        """See `Condition`."""
        return self.patterns.find(question.recipient) is not None

    def told(self, question: Question) -> str:
        """See `Condition`."""
        return _matched(f"recipient {question.recipient}", question.recipient, self.patterns)


class Senders:
    """``senders``: patterns on the reverse-path."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.patterns = AddressPatterns(texts)

    def fits(self, question: Question) -> bool:
        """See `Condition`."""
        return self.patterns.find(question.sender) is not None

    def told(self, question: Question) -> str:
        """See `Condition`."""
        shown = "<>" if question.sender is None else str(question.sender)
        return _matched(f"sender {shown}", question.sender, self.patterns)


class Logins:
    """``logins``: patterns on the account that the client proved to be."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.patterns = AddressPatterns(texts)

    def fits(self, question: Question) -> bool:
        """See `Condition`."""
        login = _as_address(question.login)
        return login is not None and self.patterns.find(login) is not None

    def told(self, question: Question) -> str:
        """See `Condition`."""
        login = _as_address(question.login)
        if login is None:
            return "the client did not log in"
        return _matched(f"login {login}", login, self.patterns)


class Servers:
    """``servers``: names of the servers that took the message."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def fits(self, question: Question) -> bool:
        """See `Condition`."""
        client = question.facts.client
        return client is not None and client.server in self.names

    def told(self, question: Question) -> str:
        """See `Condition`."""
        client = question.facts.client
        if client is None:
            return "a notice of our own came over no server"
        return _listed(f"server {client.server}", client.server in self.names, self.names)


class Providers:
    """``providers``: as whose customer the client was let in."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def fits(self, question: Question) -> bool | None:
        """See `Condition`."""
        known = question.facts.known
        if known.provider is None:
            return False if known.accepted else None
        return known.provider in self.names

    def told(self, question: Question) -> str:
        """See `Condition`."""
        known = question.facts.known
        if known.provider is None and known.accepted:
            return "the client was let in as no provider's customer"
        if known.provider is None:
            return "whose customer the client is is not known yet"
        return _listed(f"provider {known.provider}", known.provider in self.names, self.names)


class Size:
    """``size``: limits on the message's size, all of which must hold."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.limits = tuple(map(SizeLimit.parse, texts))

    def fits(self, question: Question) -> bool | None:
        """See `Condition`."""
        size = question.facts.known.size
        return None if size is None else all(limit.holds(size) for limit in self.limits)

    def told(self, question: Question) -> str:
        """See `Condition`."""
        size = question.facts.known.size
        if size is None:
            return "the size is not known yet"
        wrong = [limit.text for limit in self.limits if not limit.holds(size)]
        if wrong:
            return f"size {size} is not {' and '.join(wrong)}"
        return f"size {size} is {' and '.join(limit.text for limit in self.limits)}"


class InHours:
    """``hours``: times of the week, one of which it must be."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.hours = tuple(map(Hours.parse, texts))

    def fits(self, question: Question) -> bool:
        """See `Condition`."""
        return any(hours.holds(question.facts.now) for hours in self.hours)

    def opens(self, now: float) -> tuple[float, str]:
        """When one of them begins next: POSIX seconds, and the time on the wall there.

        :param now: a time that lies within none of them
        """
        opens, hours = min(((each.opens(now), each) for each in self.hours), key=itemgetter(0))
        return opens, hours.wall(opens)

    def told(self, question: Question) -> str:
        """See `Condition`."""
        now = question.facts.now
        for hours in self.hours:
            if hours.holds(now):
                return f"{hours.wall(now)} is in {hours.text}"
        walls = " or ".join(dict.fromkeys(hours.wall(now) for hours in self.hours))
        return f"{walls} is not in {', '.join(hours.text for hours in self.hours)}"


def _matched(what: str, address: Address | None, patterns: AddressPatterns) -> str:
    found = patterns.find(address)
    return f"{what} does not match {patterns}" if found is None else f"{what} matches {found}"


def _listed(what: str, is_listed: bool, names: Iterable[str]) -> str:
    return f"{what} is {'' if is_listed else 'not '}among {', '.join(names)}"


def _as_address(login: str | None) -> Address | None:
    try:
        return None if login is None else Address.parse(login)
    except AddressError:
        return None  # what an accounts plugin calls a login need not be an address
