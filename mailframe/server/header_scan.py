"""Watches the header section of a message as it streams by: its size, and whether the mail loops.

Works on chunks with searches in C and keeps no more than the beginning of an unfinished line. The
section ends with the blank line, or with the first line that can't belong to a header section.
"""

from __future__ import annotations

import re

from mailframe.reply import Reply

LOOP = Reply(554, "5.4.6", "mail loop: the message has passed too many servers")
TOO_LARGE = Reply(554, "5.6.0", "the message's header section is too large")

# The start of a line that neither is a field (RFC 5322 §3.6.8, names of up to 76 octets) nor
# continues one.
_BODY = re.compile(rb"\n(?![!-9;-~]{1,76}[ \t]*:|[ \t])")
_ENOUGH = 128  # octets of an unfinished line that tell what kind of line it is
_RECEIVED = b"\nreceived:"
_RESULTS = b"\nauthentication-results"


def end_of_header(octets: bytes) -> int:
    """Where the header section ends in a message's beginning: before the blank line, if any.

    :param octets: the whole section, and maybe more
    """
    match = _BODY.search(b"\n" + octets, 0, octets.rfind(b"\n") + 1)
    return match.start() if match else len(octets)


class HeaderScan:
    """The header section of one message.

    :ivar ended: the section is over; there is no need to call `scan` again
    :ivar has_results: its whole lines hold ``Authentication-Results`` (RFC 8601)
    """

    __slots__ = ("_hops", "_max_hops", "_max_size", "_size", "_tail", "ended", "has_results")

    def __init__(self, *, max_size: int, max_hops: int) -> None:
        """
        :param max_size: octets of the section
        :param max_hops: ``Received`` fields from which on the message counts as looping
        """
        self.ended = False
        self.has_results = False
        self._max_size = max_size
        self._max_hops = max_hops
        self._size = 0
        self._hops = 0
        self._tail = b"\n"  # a line end and the line behind it, of which more may come

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
            self._size += last - len(self._tail)
        else:
            self._size += len(octets)
        section = window[:last].lower()
        self._hops += section.count(_RECEIVED)
        if _RESULTS in section:
            self.has_results = True
        self._tail = window[last : last + _ENOUGH]
        if self._hops >= self._max_hops:
            return LOOP
        if self._size > self._max_size:
            return TOO_LARGE
        return None
