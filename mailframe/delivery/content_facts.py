"""What has to be known of a message's content before a server can be given it.

Nothing is read unless somebody asks, and nothing twice in one attempt.
"""

from __future__ import annotations

from zope.interface import implementer

from mailframe.delivery.conversion import Conversion, InThread, plan_conversion
from mailframe.interfaces import IContent, Job

SMALL = 65_536  # octets; smaller content is read as a whole
MAX_HEADER = 1_048_576  # octets of a header section that are looked at


class ContentFacts:
    """The content of one job.

    :param in_thread: runs work elsewhere than in the reactor thread
    """

    def __init__(self, job: Job, in_thread: InThread) -> None:
        self._job = job
        self._in_thread = in_thread
        self._binary = job.envelope.body == "BINARYMIME"
        self._is_small = job.size <= SMALL
        self._whole: bytes | None = None
        self._is_ascii: bool | None = None
        self._header_is_ascii: bool | None = None
        self._conversions: dict[bool, Conversion] = {}

    async def in_hand(self) -> bytes | None:
        """The whole content; ``None`` when it is too large for that."""
        if self._whole is None and self._is_small:
            content = await self._job.open()
            try:
                octets = await content.read()
                if octets and (more := await content.read()):
                    pieces = [octets, more]
                    while more := await content.read():
                        pieces.append(more)
                    octets = b"".join(pieces)
            finally:
                content.close()
            self._whole = octets
        return self._whole

    async def open(self) -> IContent:
        """Open it, where it lies or where it is held already."""
        whole = await self.in_hand()
        return await self._job.open() if whole is None else _Held(whole)

    async def is_ascii(self) -> bool:
        """Whether it has 7-bit octets only."""
        if self._is_ascii is None:
            self._is_ascii = await self._scan()
        return self._is_ascii

    async def header_is_ascii(self) -> bool:
        """Whether its header section has; one that is longer than `MAX_HEADER` counts as not."""
        if self._header_is_ascii is None:
            self._header_is_ascii = await self._scan_header()
        return self._header_is_ascii

    async def conversion(self, *, eight_bit: bool) -> Conversion:
        """How it goes to a server that does not take it as it was declared.

        :param eight_bit: whether the server takes octets beyond ASCII
        :raises mailframe.wire.conversion.Unconvertible: it does not
        """
        conversion = self._conversions.get(eight_bit)
        if conversion is None:
            if not self._binary and await self.is_ascii():
                conversion = Conversion(body="7BIT", is_needed=False, open=self.open)
            else:
                conversion = await plan_conversion(
                    self.open, self._in_thread, eight_bit=eight_bit, binary=self._binary
                )
            self._conversions[eight_bit] = conversion
        return conversion

    async def _scan(self) -> bool:
        content = await self.open()
        try:
            while octets := await content.read():
                if not octets.isascii():
                    return False
            return True
        finally:
            content.close()

    async def _scan_header(self) -> bool:
        content = await self.open()
        seen = 0
        end = b"\r\n"  # a message may begin with the empty line
        try:
            while octets := await content.read():
                piece = end + octets
                header, found, _ = piece.partition(b"\r\n\r\n")
                if not header.isascii():
                    return False
                seen += len(octets)
                if found:
                    return True
                if seen > MAX_HEADER:
                    return False
                end = piece[-3:]
            return True
        finally:
            content.close()


@implementer(IContent)
class _Held:
    """Content that is in memory."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    async def read(self) -> bytes:
        """All of it, at the first time."""
        octets, self._octets = self._octets, b""
        return octets

    def close(self) -> None:
        """Let go of it."""
        self._octets = b""
