"""One transaction of a client's session: from MAIL to the reply that ends the content.

::

    (reset) ─ mail ─ recipient ─ data ─ content ─ final
                         └── with BDAT ───┘

With PIPELINING (RFC 2920) all commands up to DATA go out as one write. With CHUNKING as well (RFC
3030) there is no DATA: the content follows the replies to RCPT as BDAT chunks, or, where it is in
hand from the beginning, goes out together with the envelope, and one round trip does it all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from mailframe.reply import Reply
from mailframe.wire.data import DataEncoder
from mailframe.wire.sender_chunks import ChunkEncoder
from mailframe.wire.sender_dialogue import Dialogue, OnReply
from mailframe.wire.sender_events import ContentWanted, Settled, Stage, Transaction
from mailframe.wire.sender_parameters import mail_command, rcpt_command


class Transfer:
    """Leads the dialogue through one transaction; `mailframe.wire.sender_dialogue.UnderWay`.

    :param lmtp: one reply for each recipient follows the content (RFC 2033 §4.2)
    :param chunking: whether BDAT is used where the server takes it
    :param reset_first: the transaction before was broken off
    :param reused: the server has settled a transaction over this connection before
    :param settled: called at the end with whether the next transaction needs a RSET before it

    :ivar replies: what was said of each recipient
    """

    __slots__ = (
        "_accepted",
        "_answered",
        "_asked",
        "_chunked",
        "_commands",
        "_cut_off",
        "_dialogue",
        "_encoder",
        "_ended",
        "_lmtp",
        "_mail_accepted",
        "_mail_answered",
        "_reset_next",
        "_reused",
        "_settled",
        "_transaction",
        "replies",
    )

    def __init__(
        self,
        dialogue: Dialogue,
        transaction: Transaction,
        *,
        lmtp: bool,
        chunking: bool,
        reused: bool,
        settled: Callable[[bool], None],
    ) -> None:
        self.replies: list[Reply | None] = [None] * len(transaction.recipients)
        self._dialogue = dialogue
        self._transaction = transaction
        self._lmtp = lmtp
        self._chunked = chunking
        self._reused = reused
        self._settled = settled
        self._commands: deque[tuple[Stage, OnReply, bytes]] = deque()  # not sent yet
        self._accepted: list[int] = []  # indices of the recipients that the server took
        self._asked = 0  # how many RCPTs were answered
        self._answered = 0  # how many of the accepted were answered after the content (LMTP)
        self._mail_answered = self._mail_accepted = False
        self._ended = False  # the final dot, or the last chunk, was sent
        self._cut_off = False  # the server does not want the rest of the content
        self._reset_next = False
        self._encoder: DataEncoder | ChunkEncoder

    # --- what the sender calls ----------------------------------------------------------------

    @property
    def untouched(self) -> bool:
        """Whether the server has not even answered to MAIL."""
        return not self._mail_answered

    @property
    def wants_content(self) -> bool:
        """Whether more of the content may be given."""
        return self._dialogue.resting == "content"

    def may_be_taken(self, *, lost: bool) -> bool:
        """See `mailframe.wire.sender_dialogue.UnderWay`.

        A connection that was kept, and is lost before the server said a word, was closed by it
        before it read anything, as far as can be known.
        """
        return self._ended and not (lost and self._reused and not self._mail_answered)

    def begin(self, extensions: Mapping[str, str], *, reset_first: bool) -> None:
        """Send what can be sent now."""
        transaction, commands = self._transaction, self._commands
        if reset_first:
            commands.append(("reset", self._reset, b"RSET\r\n"))
        commands.append(("mail", self._mail_replied, mail_command(transaction, extensions)))
        for place in range(len(transaction.recipients)):
            line = rcpt_command(transaction, place, extensions)
            commands.append(("recipient", self._recipient_replied, line))
        if not self._chunked:
            commands.append(("data", self._data_replied, b"DATA\r\n"))
        if "PIPELINING" in extensions:
            dialogue = self._dialogue
            dialogue.expected.extend([(stage, on_reply) for stage, on_reply, _ in commands])
            dialogue.output.extend([line for _, _, line in commands])
            commands.clear()
            if self._chunked and transaction.content is not None:
                self._begin_content()
        else:
            self._advance()

    def content(self, octets: bytes) -> None:
        """Send a piece of the content."""
        output = self._encoder.encode(octets)
        if output:
            if self._chunked:
                self._dialogue.expected.append(("content", self._chunk_replied))
            self._dialogue.output.append(output)

    def end_of_content(self) -> None:
        """Send what ends the content."""
        dialogue = self._dialogue
        dialogue.resting = "idle"
        self._ended = True
        dialogue.output.append(self._encoder.finish())
        dialogue.expected.append(("final", self._final_replied))

    def unasked(self, reply: Reply) -> None:
        """A reply to no command: only once content is sent can it mean anything."""
        if (self.wants_content or self._ended) and not reply.is_positive:
            # The server will not take the rest. There is no way to stop but to close.
            self._settle_accepted(reply)
            self._dialogue.said(reply)
        else:
            self._dialogue.protocol_error("it sent a reply to nothing")

    # --- the envelope -------------------------------------------------------------------------

    def _advance(self) -> None:
        """After a reply: go on, when nothing is waited for any more."""
        dialogue = self._dialogue
        if dialogue.expected or dialogue.resting != "idle":
            return
        if self._commands:
            stage, on_reply, line = self._commands.popleft()
            if stage != "data" or self._accepted:
                dialogue.send(stage, on_reply, line)
                return
        elif self._chunked and self._accepted and not self._ended and not self._cut_off:
            self._begin_content()
            return
        self._settle()

    def _reset(self, reply: Reply) -> None:
        if reply.code == 250:
            self._advance()
        else:
            self._dialogue.protocol_error(f"it answered {reply.code} to RSET", "reset")

    def _mail_replied(self, reply: Reply) -> None:
        self._mail_answered = True
        if reply.code < 300:
            self._mail_accepted = True
        elif reply.code == 503 and self._dialogue.expected:
            # MAIL was in order. Either this answers a command that was sent along with it, or the
            # server is still busy with another transaction: it says nothing of this message.
            how = f"it found MAIL out of order: {reply}"
            return self._dialogue.protocol_error(how, "mail")
        elif reply.code >= 400:
            self.replies = [reply] * len(self.replies)
            self._commands.clear()
        else:
            return self._dialogue.protocol_error(f"it answered {reply.code} to MAIL", "mail")
        self._advance()

    def _recipient_replied(self, reply: Reply) -> None:
        index = self._asked
        self._asked += 1
        if self.replies[index] is None:  # otherwise MAIL was refused, and RCPT with it
            if reply.code < 300:
                self._accepted.append(index)
            elif reply.code >= 400:
                self.replies[index] = _of_recipient(reply)
            else:
                how = f"it answered {reply.code} to RCPT"
                return self._dialogue.protocol_error(how, "recipient")
        self._advance()

    # --- the content --------------------------------------------------------------------------

    def _begin_content(self) -> None:
        """Send the content, or ask for it."""
        if self._chunked:
            self._encoder = ChunkEncoder(binary=self._transaction.body == "BINARYMIME")
        else:
            self._encoder = DataEncoder()
        content = self._transaction.content
        if content is None:
            self._dialogue.resting = "content"
            self._dialogue.events.append(ContentWanted())
        else:
            self.content(content)
            self.end_of_content()

    def _data_replied(self, reply: Reply) -> None:
        dialogue = self._dialogue
        if reply.code == 354:
            if self._accepted:
                return self._begin_content()
            # Nobody is to get it, but the server waits: give it an empty message (RFC 2920 §3.1).
            self._ended = True
            dialogue.output.append(b".\r\n")
            if self._lmtp:  # which has no reply to that: RFC 2033 §4.2 gives one per recipient
                self._settle()
                dialogue.protocol_error("it wanted content for no recipient", "data")
            else:
                dialogue.expected.append(("final", self._final_replied))
        elif reply.code >= 400:
            self._settle_accepted(reply)
            self._settle()
        else:
            dialogue.protocol_error(f"it answered {reply.code} to DATA", "data")

    def _chunk_replied(self, reply: Reply) -> None:
        if reply.code >= 400:
            # RFC 3030 §2: the transaction has failed, no more is to be sent, and RSET clears it.
            self._settle_accepted(reply)
            self._reset_next = self._cut_off = True
            if self.wants_content:
                self._dialogue.resting = "idle"
        elif reply.code >= 300:
            return self._dialogue.protocol_error(f"it answered {reply.code} to BDAT", "content")
        self._advance()

    def _final_replied(self, reply: Reply) -> None:
        if 300 <= reply.code < 400:
            how = f"it answered {reply.code} to the end of data"
            return self._dialogue.protocol_error(how, "final")
        if self._lmtp and self._answered < len(self._accepted):
            index = self._accepted[self._answered]
            self._answered += 1
            self.replies[index] = self.replies[index] or reply
            if self._answered < len(self._accepted):
                self._dialogue.expected.append(("final", self._final_replied))
                return
        else:
            self._settle_accepted(reply)
        if self._chunked and reply.code >= 300:
            self._reset_next = True
        self._settle()

    def _settle_accepted(self, reply: Reply) -> None:
        for index in self._accepted:
            self.replies[index] = self.replies[index] or reply

    def _settle(self) -> None:
        dialogue = self._dialogue
        dialogue.under_way = None
        replies = tuple([reply for reply in self.replies if reply is not None])
        dialogue.events.append(Settled(replies))
        self._settled(self._reset_next or (self._mail_accepted and not self._ended))


def _of_recipient(reply: Reply) -> Reply:
    """What a reply to RCPT means.

    Old servers say 552 for "too many recipients", which is to be treated as 452 (RFC 5321
    §4.5.3.1.10). A 552 with a status code of its own, such as 5.2.2 (mailbox full), means that.
    """
    if reply.code == 552 and reply.status in (None, "5.5.3"):
        return Reply(452, "4.5.3", reply.text, is_remote=reply.is_remote)
    return reply
