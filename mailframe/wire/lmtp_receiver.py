"""The receiving side of LMTP (RFC 2033): SMTP that says of each recipient what became of its mail.

It takes LHLO in place of EHLO and HELO, and answers a message once for every recipient that was
accepted, in their order. As one queue entry is kept for all of them or none, these replies are the
same.
"""

from __future__ import annotations

from mailframe.reply import Reply
from mailframe.wire.smtp_commands import LMTP_COMMANDS
from mailframe.wire.smtp_events import Mail, Rcpt
from mailframe.wire.smtp_extensions import Offer
from mailframe.wire.smtp_receiver import Receiver


class LmtpReceiver(Receiver):
    """One connection's dialogue in LMTP; see `Receiver`."""

    def __init__(
        self,
        *,
        default_domain: str,
        offer: Offer,
        command_line: int = 512,
        data_line: int = 1000,
        errors: int = 20,
        junk_commands: int = 100,
    ) -> None:
        """See `Receiver`."""
        super().__init__(
            default_domain=default_domain,
            offer=offer,
            command_line=command_line,
            data_line=data_line,
            errors=errors,
            junk_commands=junk_commands,
            commands=LMTP_COMMANDS,
        )
        self._accepted = 0  # recipients of this transaction

    def reply(self, reply: Reply) -> None:
        """See `Receiver.reply`."""
        kind = type(self._waiting)
        if kind is Mail:
            self._accepted = 0
        elif kind is Rcpt and reply.is_positive:
            self._accepted += 1
        super().reply(reply)

    def _answer_message(self, reply: Reply) -> None:
        self._answer(reply)
        self._output.extend(self._output[-1:] * (self._accepted - 1))
