"""Watches the header section of a message as it streams by: its size, and whether the mail loops.

Works on chunks with searches in C and keeps no more than the beginning of an unfinished line. The
section ends with the blank line, or with the first line that can't belong to a header section.
"""

from __future__ import annotations

import re

from mailframe.reply import Reply
from mailframe.wire.line_ends import has_bare

LOOP = Reply(554, "5.4.6", "mail loop: the message has passed too many servers")
TOO_LARGE = Reply(554, "5.6.0", "the message's header section is too large")
NO_LINES = Reply(554, "5.6.0", "the message's header section holds NUL or a bare CR or LF")

# What stands before a message's first line: no line can have it before its end, so that a first
# line which would continue the field before the message is told from others.
_BEFORE = b"\0\n"
# The start of a line that neither is a field (RFC 5322 §3.6.8, names of up to 200 octets) nor
# continues one.
_BODY = re.compile(rb"\n(?![!-9;-~]{1,200}[ \t]{0,20}:|[ \t](?<!\0\n[ \t]))")
_ENOUGH = 256  # octets of an unfinished line that tell what kind of line it is
_RECEIVED = b"\nreceived:"
_RESULTS = b"\nauthentication-results"


def end_of_header(octets: bytes) -> int:
    """Where the header section ends in a message's beginning: before the blank line, if any.

    :param octets: the whole section, and maybe more
    """
    match = _BODY.search(_BEFORE + octets)
    return match.end() - len(_BEFORE) if match else len(octets)


def with_blank_line(octets: bytes) -> bytes:
    """A message's beginning with a blank line behind its header section.

    Where a line that is no field stands in its place, some programs take what follows for the body,
    others pass over the line and believe the fields below it. And a first line that begins with a
    space would continue our own trace header.

    :param octets: the whole section, and maybe more
    """
    end = end_of_header(octets)
    if end == len(octets) or octets.startswith(b"\r\n", end):
        return octets
    return octets[:end] + b"\r\n" + octets[end:]


def is_lines(octets: bytes) -> bool:
    """Whether the header section in a message's beginning has no NUL, and no bare CR or LF.

    Of content that is not binary this is known already.

    :param octets: the whole section, and maybe more
    """
    header = octets[: end_of_header(octets)]
    return b"\0" not in header and not has_bare(header)


class HeaderScan:
    """The header section of one message.

    :ivar ended: the section is over; there is no need to call `scan` again
    :ivar separated: a blank line ends it
    :ivar has_results: its whole lines hold ``Authentication-Results`` (RFC 8601)
    """

    __slots__ = (
        "_hops",
        "_max_hops",
        "_max_size",
        "_size",
        "_tail",
        "ended",
        "has_results",
        "separated",
    )

    def __init__(self, *, max_size: int, max_hops: int) -> None:
        """
        :param max_size: octets of the section
        :param max_hops: ``Received`` fields from which on the message counts as looping
        """
        self.ended = False
        self.separated = False
        self.has_results = False
        self._max_size = max_size
        self._max_hops = max_hops
        self._size = 0
        self._hops = 0
        # the last octets of a line, and the line behind it, of which more may come
        self._tail = _BEFORE

    def scan(self, octets: bytes) -> Reply | None:
        """Look at the next octets of the message.

        :returns: why the message is to be refused, or ``None``
        """
        window = self._tail + octets
        last = window.rfind(b"\n")  # what follows it can't be judged before the line is whole
        body = _BODY.search(window, 0, last)
        if body:
            self.ended = True
            last = body.start()
            self.separated = window.startswith(b"\r\n", last + 1)
            self._size += last - len(self._tail)
        else:
            self._size += len(octets)
        section = window[:last].lower()
        self._hops += section.count(_RECEIVED)
        if _RESULTS in section:
            self.has_results = True
        self._tail = window[last - 1 : last + _ENOUGH]
        if self._hops >= self._max_hops:
            return LOOP
        if self._size > self._max_size:
            return TOO_LARGE
        return None
