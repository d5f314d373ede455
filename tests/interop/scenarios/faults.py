"""The faults of ``smtp-sink``: its switches, at every stage they can be set to."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

DELIVERED, POSTPONED, REFUSED, NEXT = "delivered", "postponed", "refused", "next"
STAGES = ("CONNECT", "EHLO,HELO", "MAIL", "RCPT", "DATA", ".", "RSET", "QUIT")
LMTP_STAGES = ("CONNECT", "LHLO", "MAIL", "RCPT", "DATA", ".", "QUIT")
SILENCE = 60  # seconds, longer than anybody waits
# Before them a server has not let us in: RFC 5321 §5.1 has the next one tried.
_ENTRANCE = ("CONNECT", "EHLO,HELO", "LHLO")
_FAREWELL = ("RSET", "QUIT")
_SOFT, _HARD = "450 4.3.0 Error: command failed", "500 5.3.0 Error: command failed"


@attrs.frozen(kw_only=True)
class Fault:
    """A server with a fault, and what becomes of a message for it.

    :ivar options: of ``smtp-sink``
    :ivar alone: `DELIVERED`, `POSTPONED` or `REFUSED`, when there is no other server
    :ivar beside: the same when a good one comes after it; `NEXT` when that one gets the message
    :ivar reply: what the message's history says of the server
    :ivar lmtp: it speaks LMTP
    """

    options: tuple[str, ...]
    alone: str
    beside: str
    reply: str = ""
    lmtp: bool = False

    def __str__(self) -> str:
        return " ".join(self.options)


def every_fault() -> Iterator[Fault]:
    """All of them, each by itself."""
    for lmtp, stages in ((False, STAGES), (True, LMTP_STAGES)):
        for stage in stages:
            for option in ("-q", "-Q", "-r", "-f"):
                alone, beside = _expected(option, stage)
                yield Fault(
                    options=(*(("-L",) if lmtp else ()), option, stage),
                    alone=alone,
                    beside=beside,
                    reply=_reply(option, stage) if alone != DELIVERED else "",
                    lmtp=lmtp,
                )
            if stage != "RSET":
                yield from _silences(stage, lmtp)
    # RFC 5321 §3.2: a server that does not know EHLO may know HELO.
    yield Fault(options=("-f", "EHLO"), alone=DELIVERED, beside=DELIVERED)
    # Words of the server's own.
    for option, stage, words, text in (
        ("-r", "RCPT", "-b", "452 4.2.2 the mailbox is full"),
        ("-r", "DATA", "-b", "451 4.7.1 greylisted, come back in five minutes"),
        ("-f", "RCPT", "-B", "550 5.1.1 nobody of that name"),
        ("-f", ".", "-B", "554 5.6.0 not with this content"),
        ("-f", "MAIL", "-B", "550 5.7.1 not from you"),
    ):
        kind = POSTPONED if option == "-r" else REFUSED
        yield Fault(options=(option, stage, words, text), alone=kind, beside=kind, reply=text)
    yield Fault(
        options=("-f", "CONNECT", "-B", "554 5.3.2 no mail here"),
        alone=REFUSED,
        beside=NEXT,
        reply="554 5.3.2 no mail here",
    )
    # It says 550 in the middle of the content, and reads no more.
    yield Fault(options=("-A", "0"), alone=REFUSED, beside=REFUSED, reply="550 This violates SMTP")
    # What is missing, or slow.
    for options in (
        *(("-e",), ("-p",), ("-8",), ("-P",), ("-E", "-N"), ("-w", "1"), ("-H", "1"), ("-F", "-C")),
        *(("-p", "-W", f"{stage}:1") for stage in ("MAIL", "RCPT", "DATA", ".", "QUIT")),
        ("-T", "100"),
    ):
        yield Fault(options=options, alone=DELIVERED, beside=DELIVERED)


def _expected(option: str, stage: str) -> tuple[str, str]:
    """What becomes of a message: when there is no other server, and when there is one."""
    if stage in _FAREWELL:
        return DELIVERED, DELIVERED
    alone = REFUSED if option == "-f" else POSTPONED
    if stage in _ENTRANCE:
        return alone, NEXT
    # Before the final dot a connection that ends has settled nothing (RFC 5321 §3.8, §4.2.5).
    if option in ("-q", "-Q") and stage != ".":
        return alone, NEXT
    return alone, alone


def _reply(option: str, stage: str) -> str:
    if option == "-q":
        return "may arrive twice" if stage == "." else "lost connection while"
    return {"-Q": "421 ", "-r": _SOFT, "-f": _HARD}[option]


def _silences(stage: str, lmtp: bool) -> Iterator[Fault]:
    """It takes a command, and never answers to it."""
    # Without -p it answers to what was pipelined behind the command as if that had not come.
    options = ["-p", *(word for name in stage.split(",") for word in ("-W", f"{name}:{SILENCE}"))]
    alone = DELIVERED if stage == "QUIT" else POSTPONED
    beside = alone if stage in (".", "QUIT") else NEXT
    yield Fault(
        options=(*(("-L",) if lmtp else ()), *options),
        alone=alone,
        beside=beside,
        reply=""
        if alone == DELIVERED
        else "may arrive twice"
        if stage == "."
        else "timed out while",
        lmtp=lmtp,
    )
