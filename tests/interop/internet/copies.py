"""How often each message of a run arrived, and whether each further copy has an excuse."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import attrs

_OURS = re.compile(rb"by mx\.demo\.example\s.*?id (\w+)", re.S)
_CARRIERS = re.compile(rb"by next\.carrier\.example \(Postfix\).*?id (\w+)", re.S)
_NUMBER = re.compile(rb"^X-Number: (\d+)$", re.M)


@attrs.define
class Counts:
    """What happened in a run.

    :ivar messages: that clients were told 250 for
    :ivar broken: promises that were broken, in words
    """

    messages: int = 0
    cuts: int = 0
    kills: int = 0
    lost: int = 0
    twice_by_client: int = 0
    twice_by_us: int = 0
    twice_by_carrier: int = 0
    broken: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.messages} messages, {self.cuts} cuts, {self.kills} kills: {self.lost} lost; "
            f"sent twice by the client {self.twice_by_client}, by us {self.twice_by_us}, by the "
            f"carrier {self.twice_by_carrier}; broken promises: {len(self.broken)}"
        )


@attrs.frozen
class Excuses:
    """What makes a second copy one that the protocol can't avoid.

    :ivar unsure: how often a client heard no reply to the final dot, by the message's number
    :ivar of_ours: whether we could not know that a message of ours was taken, by its id
    :ivar of_carrier: the same of the carrier and its id
    """

    unsure: Mapping[int, int]
    of_ours: Callable[[str], bool]
    of_carrier: Callable[[str], bool]


def by_number(messages: Sequence[bytes]) -> dict[int, list[bytes]]:
    """The copies of each message."""
    found: dict[int, list[bytes]] = {}
    for message in messages:
        if number := _NUMBER.search(message):
            found.setdefault(int(number[1]), []).append(message)
    return found


def judge(told: set[int], messages: Sequence[bytes], excuses: Excuses, counts: Counts) -> None:
    """Count what arrived, and the promises that were broken.

    :param told: the numbers of the messages that clients were told 250 for
    :param messages: all that arrived
    """
    arrived = by_number(messages)
    counts.messages += len(told)
    for number in sorted(told - set(arrived)):
        counts.lost += 1
        counts.broken.append(f"message {number} is lost")
    for number, copies in arrived.items():
        if len(copies) > 1:
            _judge_copies(number, copies, excuses, counts)


def _judge_copies(number: int, copies: list[bytes], excuses: Excuses, counts: Counts) -> None:
    by_id: dict[str, Counter[str]] = {}
    for copy in copies:
        by_id.setdefault(_id(_OURS, copy), Counter())[_id(_CARRIERS, copy)] += 1
    more = len(by_id) - 1
    counts.twice_by_client += more
    if more > excuses.unsure.get(number, 0):
        counts.broken.append(f"{number} was taken {len(by_id)} times from a client that was sure")
    for ours, carriers in by_id.items():
        more = len(carriers) - 1
        counts.twice_by_us += more
        if more and not excuses.of_ours(ours):
            counts.broken.append(f"{number} was sent {len(carriers)} times by us ({ours})")
        for carrier, times in carriers.items():
            counts.twice_by_carrier += times - 1
            if times > 1 and not excuses.of_carrier(carrier):
                counts.broken.append(f"{number} was sent {times} times by the carrier ({carrier})")


def _id(pattern: re.Pattern[bytes], message: bytes) -> str:
    found = pattern.search(message)
    assert found is not None, message
    return found[1].decode()
