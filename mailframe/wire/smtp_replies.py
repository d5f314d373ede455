"""Every reply that the SMTP receiver gives by itself, by name.

Replies that depend on a decision (routes, authorisation, storage) are made where that is taken.
"""

from __future__ import annotations

from mailframe.reply import Reply


class Refusal(Exception):
    """Raised while a command is parsed, to answer it with ``reply``."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


def syntax(status: str, text: str) -> Reply:
    """501: the argument is wrong (RFC 5321 §4.2.2)."""
    return Reply(501, status, text)


OK = Reply(250, "2.0.0", "ok")
SENDER_OK = Reply(250, "2.1.0", "sender ok")
BYE = Reply(221, "2.0.0", "bye")
GO_AHEAD = Reply(354, None, "send the message, ended by a line with a single dot")
START_TLS = Reply(220, "2.0.0", "go ahead with TLS")
CANNOT_VERIFY = Reply(252, "2.5.2", "can't verify the user, but will take mail for them and try")
AUTHENTICATED = Reply(235, "2.7.0", "authenticated")

UNKNOWN_COMMAND = Reply(500, "5.5.2", "command not recognised")
LINE_TOO_LONG = Reply(500, "5.5.2", "line too long")
BARE_LINE_END = Reply(500, "5.5.2", "a line ends in CR LF; a bare CR or LF is not allowed")
UNPRINTABLE_COMMAND = Reply(500, "5.5.2", "only printable ASCII is allowed in a command")
UNPRINTABLE_ARGUMENT = syntax("5.5.2", "only printable ASCII is allowed in an argument")
NO_ARGUMENT_ALLOWED = syntax("5.5.4", "this command takes no argument")
ARGUMENT_NEEDED = syntax("5.5.4", "this command needs an argument")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "command not implemented")
NO_HELP = Reply(504, "5.5.4", "there is no such command")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "a parameter is not recognised")

SENDER_NEEDS_SMTPUTF8 = Reply(550, "5.6.7", "an address beyond ASCII needs SMTPUTF8")
RECIPIENT_NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "an address beyond ASCII needs SMTPUTF8")
REQUIRETLS_NEEDS_TLS = Reply(530, "5.7.10", "REQUIRETLS needs TLS: use STARTTLS first")
HELD_TOO_LONG = syntax("5.5.4", "a message can't be held that long")
HELD_NO_MORE = syntax("5.5.4", "the time of HOLDUNTIL is over already")
HELD_BEYOND_BY = syntax("5.5.4", "the time of BY would be over before the message is tried")

USE_LHLO = Reply(500, "5.5.1", "this is LMTP: send LHLO")
HELLO_FIRST = Reply(503, "5.5.1", "send EHLO or HELO first")
MAIL_FIRST = Reply(503, "5.5.1", "send MAIL first")
NESTED_MAIL = Reply(503, "5.5.1", "a sender is already given; RSET starts over")
NO_RECIPIENTS = Reply(554, "5.5.1", "no valid recipients")
NOT_IN_TRANSACTION = Reply(503, "5.5.1", "not allowed during a mail transaction")

BAD_CHUNK_SIZE = syntax("5.5.4", "BDAT needs a size in octets, and maybe LAST; closing")
CHUNKS_BEGUN = Reply(503, "5.5.1", "the content has begun to come with BDAT; RSET starts over")
CHUNK_REFUSED = Reply(503, "5.5.1", "a chunk before this one was refused; RSET starts over")
BINARY_NEEDS_BDAT = Reply(503, "5.5.1", "binary content is handed over with BDAT")
TOO_BIG = Reply(552, "5.3.4", "the message is too big")

TLS_ACTIVE = Reply(503, "5.5.1", "TLS is already active")
ENCRYPTION_NEEDED = Reply(538, "5.7.11", "encryption required: use STARTTLS first")
AUTHENTICATED_ALREADY = Reply(503, "5.5.1", "already authenticated")
EXCHANGE_LINE_TOO_LONG = Reply(500, "5.5.6", "a line of an AUTH exchange is too long")
UNKNOWN_MECHANISM = Reply(504, "5.5.4", "authentication mechanism not recognised")
AUTH_CANCELLED = syntax("5.7.0", "authentication cancelled")

TOO_MANY_ERRORS = Reply(421, "4.7.0", "too many errors, closing the connection")
TALKED_TOO_EARLY = Reply(554, "5.5.1", "a client must wait for the greeting")
WRONG_PROTOCOL = Reply(421, "4.7.0", "this is a mail server, closing the connection")

# What is wrong with the content after DATA, by `mailframe.wire.data.DataFault`.
DATA_FAULTS = {
    "bare line end": Reply(554, "5.6.0", "the message holds a bare CR or LF; closing"),
    "null": Reply(554, "5.6.0", "the message has a line that begins with NUL; closing"),
    "line too long": Reply(554, "5.6.0", "the message has a line that is too long"),
}
# The same of content in chunks, whose end is known whatever they hold.
CHUNK_FAULTS = {
    "bare line end": Reply(554, "5.6.0", "the message holds a bare CR or LF"),
    "null": Reply(554, "5.6.0", "the message has a line that begins with NUL"),
    "line too long": DATA_FAULTS["line too long"],
}
