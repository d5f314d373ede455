"""The content of messages, after DATA (RFC 5321 §4.1.1.4) and in the chunks of BDAT (RFC 3030).

What arrives then is no line of the dialogue: it goes through a decoder, which finds its end, and
what comes behind that is lines again. A chunk that is refused is passed over all the same, and with
it all after it up to the last: the client may have sent them before it saw the refusal.
"""

from __future__ import annotations

from mailframe.reply import Reply
from mailframe.wire import smtp_replies as replies
from mailframe.wire.chunks import ChunkDecoder
from mailframe.wire.data import DataDecoder
from mailframe.wire.smtp_command import State
from mailframe.wire.smtp_dialogue import Dialogue
from mailframe.wire.smtp_events import Content, Data, EndOfChunk, EndOfData, Event, Mail
from mailframe.wire.smtp_extensions import Offer

_NO_CHUNK_IN: dict[State, Reply] = {
    "start": replies.HELLO_FIRST,
    "ready": replies.MAIL_FIRST,
    "mail": replies.NO_RECIPIENTS,
}


class Contents(Dialogue):
    """The part of the receiver that reads content.

    :ivar offer: which extensions may be used now; the caller changes it with TLS and login
    :ivar state: where the dialogue stands
    :ivar mail: the MAIL that was read last; it is in force in a transaction
    """

    def __init__(self, *, line_limit: int, errors: int, offer: Offer, data_line: int) -> None:
        """
        :param line_limit: octets of the longest line of the dialogue with its CRLF
        :param errors: how many errors the client may make
        :param data_line: octets of a line of content with its CRLF, or 0 for no limit
        """
        super().__init__(line_limit=line_limit, errors=errors)
        self.offer = offer
        self.state: State = "start"
        self.mail = Mail(sender=None)
        self._data_line = data_line
        self._waiting: Event | None = None  # the event whose reply is awaited
        self._decoder: DataDecoder | ChunkDecoder | None = None  # DATA or a chunk is under way
        self._content = b""  # what arrived for the decoder
        self._chunks: ChunkDecoder | None = None  # content is being kept in chunks
        self._last = False  # no chunk comes after the one that was begun last
        self._size = 0  # octets of the chunk that was begun last
        self._skip = 0  # octets still to come of a chunk that was refused

    # What tells the client what became of a message; LMTP says it for each recipient.
    _answer_message = Dialogue._answer

    def _next_of_data(self, decoder: DataDecoder | ChunkDecoder) -> Event | None:
        if not decoder.finished:
            if not self._content:
                return None
            octets, self._content = self._content, b""
            content = decoder.decode(octets)
            if content:
                return Content(octets=content)
            if not decoder.finished:
                return None
        self._decoder = None
        if decoder is self._chunks:
            return self._end_of_chunk(decoder)
        self._waiting = EndOfData()
        if decoder.fault:
            self._waiting = EndOfData(refusal=replies.DATA_FAULTS[decoder.fault])
            if decoder.fault != "line too long":
                # What follows may have been meant as content: no octet of it is ever a command.
                self.closing = True
                return self._waiting
        self._back_to_lines(decoder.rest)
        return self._waiting

    def _back_to_lines(self, rest: bytes) -> None:
        # More may have come while the last of the content was being taken.
        octets, self._content = rest + self._content, b""
        self._lines.feed(octets)

    def begin_chunk(self, size: int, *, last: bool) -> Event | Reply | None:
        """BDAT: content in a chunk, or a chunk that is passed over (RFC 3030 §2).

        :param size: octets that follow the command
        :returns: the event to report, the reply, or ``None`` when there is something to read first
        """
        refused = _NO_CHUNK_IN.get(self.state)
        if refused is not None:
            self._skip = size
            return refused
        self._size, self._last = size, last
        limit = self.offer.size
        if self.state != "chunks":
            if size <= limit or not limit:
                return Data(chunked=True)
            self._skip = size
            return self._refuse_chunk(replies.TOO_BIG)
        chunks = self._chunks
        if chunks is None:
            self._skip = size
            return self._refuse_chunk(replies.CHUNK_REFUSED)
        if 0 < limit < chunks.total + size:
            self._skip = size
            return self._chunk_over(replies.TOO_BIG)
        self._next_chunk(chunks)
        return None

    def _begin_chunks(self) -> None:
        self.state = "chunks"
        text = self.mail.body != "BINARYMIME"
        self._chunks = ChunkDecoder(text=text, line_limit=self._data_line if text else 0)
        self._next_chunk(self._chunks)

    def _next_chunk(self, chunks: ChunkDecoder) -> None:
        chunks.begin(self._size)
        self._decoder = chunks
        if self._size:
            self._content = self._lines.take_all()

    def _end_of_chunk(self, chunks: ChunkDecoder) -> Event:
        self._back_to_lines(chunks.rest)
        if self._last:
            chunks.finish()
        fault = chunks.fault
        self._waiting = self._chunk_over(replies.CHUNK_FAULTS[fault] if fault else None)
        return self._waiting

    def _chunk_over(self, refusal: Reply | None) -> Event:
        if self._last:
            return EndOfData(refusal=refusal)
        return EndOfChunk(octets=self._size, refusal=refusal)

    def _refuse_chunk(self, reply: Reply) -> Reply | None:
        """Pass over a chunk, and all after it up to the last.

        :returns: the reply, or ``None`` when it was given
        """
        self._chunks = None
        if not self._last:
            self.state = "chunks"
            return reply
        self.state = "ready"
        self._answer_message(reply)
        return None
