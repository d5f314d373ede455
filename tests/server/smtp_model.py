"""What an SMTP server must answer, as a model that knows neither octets nor transports.

`Model.command` and `Model.message` take what a client says, in the order in which it says it, and
give the codes of the replies. Nothing here waits, and nothing depends on how octets are cut.
"""

from __future__ import annotations

import attrs

ERRORS = 10
JUNK = 12
RECIPIENTS = 3
MAX_SIZE = 2000
MAX_LINE = 100
HOPS = 5

CONTENT = {
    "plain": b"Subject: x\r\n\r\nhello\r\n",
    "empty": b"",
    "dots": b".\r\n..\r\n.a\r\n\r\n.\r\n",
    "binary": b"Subject: x\r\n\r\n\xff\x80\0\x01\r\n",
    "no header": b"hello\r\n\r\n.\r\n",
    "longest line": b"x" * (MAX_LINE - 2) + b"\r\n",
}
"""Content that is taken."""

NO_HEADER = frozenset(CONTENT[kind] for kind in ("dots", "no header", "longest line"))
"""Content that is kept behind a blank line, so that none of it is taken for a header."""

REFUSED_CONTENT = {
    "too big": (b"x" * 78 + b"\r\n") * 26,
    "too long": b"x" * (MAX_LINE - 1) + b"\r\n",
    "loop": b"Received: x\r\n" * HOPS,
    "storage fails": b"X-Fail: write\r\n",
    "commit fails": b"X-Fail: commit\r\n",
    "storage is full": b"X-Fail: full\r\n",
}
REFUSALS = {
    "too big": 552,
    "too long": 554,
    "loop": 554,
    "storage fails": 451,
    "commit fails": 451,
    "storage is full": 452,
}

# What ends the connection behind the true end, as it stands on the wire.
SMUGGLING = (
    b"a\nb\r\n",
    b"a\rb\r\n",
    b"\n.\nQUIT\r\n",
    b"a\r\n.\nMAIL FROM:<>\r\n",
    b"\0.\r\nQUIT\r\n",
    b"x\r\n.\r\r\nQUIT\r\n",
)

PLAIN = b"AUTH PLAIN AGFuZ2Vsb0BoZXJlLmV4YW1wbGUAc2VjcmV0"
WRONG = b"AUTH PLAIN AGFuZ2Vsb0BoZXJlLmV4YW1wbGUAd3Jvbmc="

# What a client may say, and the code of the answer when nothing stands against it.
COMMANDS: dict[bytes, int] = {
    b"EHLO client.example": 250,
    b"helo [192.0.2.1]": 250,
    b"EHLO": 501,
    b"EHLO two words": 501,
    b"MAIL FROM:<a@x.example>": 250,
    b"mail from:<>": 250,
    b"MAIL FROM:<a@x.example> SIZE=2000 BODY=8BITMIME": 250,
    b"MAIL FROM:<a@x.example> SIZE=2001": 552,
    b"MAIL FROM:<a@x.example> XYZ": 555,
    b"MAIL FROM:a@x.example": 501,
    b"MAIL TO:<a@x.example>": 501,
    b"RCPT TO:<b@here.example>": 250,
    b"rcpt to:<Postmaster>": 250,
    b"RCPT TO:<c@here.example>": 250,
    b"RCPT TO:<d@here.example>": 250,
    b"RCPT TO:<team@here.example>": 250,
    b"RCPT TO:<nobody@here.example>": 550,
    b"RCPT TO:<u@far.example>": 550,
    b'RCPT TO:<"u@far.example"@here.example>': 250,
    b"RCPT TO:<@far.example:b@here.example>": 250,
    b"RCPT TO:<>": 501,
    b"RCPT TO:<b@here.example> XYZ": 555,
    b"DATA now": 501,
    b"RSET": 250,
    b"RSET now": 501,
    b"NOOP": 250,
    b"NOOP \x80": 501,
    b"VRFY b": 252,
    b"EXPN staff": 502,
    b"HELP": 214,
    b"STARTTLS": 502,
    b"AUTH CRAM-MD5": 504,
    PLAIN: 235,
    WRONG: 535,
    b"AUTH PLAIN !": 501,
    b"QUIT now": 501,
    b"QUIT": 221,
    b"GET / HTTP/1.1": 421,
    b"": 500,
    b"XYZZY": 500,
    b"a\nb": 500,
    b"NOOP\rNOOP": 500,
    b"\xff\0": 500,
    b"NOOP " + b"x" * 600: 500,
}
NO_SEQUENCE = (500, 421)  # what is answered wherever the dialogue stands
WHO = {
    b"RCPT TO:<b@here.example>": "b@here.example",
    b"rcpt to:<Postmaster>": "postmaster@here.example",
    b"RCPT TO:<c@here.example>": "c@here.example",
    b"RCPT TO:<d@here.example>": "d@here.example",
    b"RCPT TO:<team@here.example>": "team@here.example",
    b'RCPT TO:<"u@far.example"@here.example>': '"u@far.example"@here.example',
    b"RCPT TO:<@far.example:b@here.example>": "b@here.example",
    b"RCPT TO:<nobody@here.example>": "nobody@here.example",
    b"RCPT TO:<u@far.example>": "u@far.example",
}


@attrs.frozen
class Message:
    """What must be in the queue when its reply is 250."""

    sender: str | None
    recipients: tuple[str, ...]
    content: bytes


@attrs.define
class Model:
    """One connection."""

    state: str = "start"
    sender: str | None = None
    recipients: list[str] = attrs.field(factory=list)
    logged_in: bool = False
    closed: bool = False
    errors: int = 0
    junk: int = 0

    def command(self, line: bytes) -> int | None:
        """The code of the answer; ``None`` when there is none any more. Not for plain DATA."""
        if self.closed:
            return None
        verb = line.partition(b" ")[0].upper()
        code = COMMANDS[line]
        if verb in (b"EHLO", b"HELO", b"RSET", b"NOOP", b"VRFY", b"EXPN", b"HELP") and not (
            code == 500 and len(line) > 512
        ):
            self.junk += b"\r" not in line
            self.errors += self.junk > JUNK and b"\r" not in line
        return self.answered(self.judge(line, verb, code))

    def judge(self, line: bytes, verb: bytes, code: int) -> int:
        """The answer by state, and what it changes."""
        if code in NO_SEQUENCE:
            return code
        if verb == b"MAIL" and self.state != "ready":
            return 503
        if verb in (b"RCPT", b"DATA") and self.state in ("start", "ready"):
            return 503
        if verb == b"DATA":
            return 554 if self.state == "mail" else code
        if verb == b"AUTH":
            if self.state != "ready" or self.logged_in:
                return 503
            self.logged_in = code == 235
        elif verb in (b"EHLO", b"HELO", b"RSET") and code == 250:
            if verb != b"RSET" or self.state != "start":
                self.state = "ready"
        elif verb == b"MAIL" and code == 250:
            self.state = "mail"
            self.sender = None if b"<>" in line else "a@x.example"
            self.recipients = []
        elif verb == b"RCPT" and line in WHO:
            code = self.recipient(WHO[line], code)
        elif code == 221:
            self.closed = True
        return code

    def recipient(self, who: str, code: int) -> int:
        """RCPT with a sound address."""
        if who in self.recipients:
            return 250
        if len(self.recipients) >= RECIPIENTS:
            return 452
        if code == 250 or (self.logged_in and who == "u@far.example"):
            self.recipients.append(who)
            self.state = "rcpt"
            return 250
        return code

    def data(self) -> int | None:
        """DATA without an argument: 354 when content is to follow."""
        if self.closed:
            return None
        if self.state != "rcpt":
            return self.answered(554 if self.state == "mail" else 503)
        return 354

    def chunk(self) -> int | None:
        """A first BDAT: 250 when its octets are content, and passed over otherwise."""
        if self.closed:
            return None
        if self.state != "rcpt":
            return self.answered(554 if self.state == "mail" else 503)
        return 250

    def message(self, code: int, content: bytes = b"") -> Message:
        """The content behind 354, and its answer, which closes when it is smuggling."""
        message = Message(self.sender, tuple(self.recipients), content)
        self.state = "ready"
        if code < 400:
            self.errors = self.junk = 0
        return message

    def answered(self, code: int) -> int:
        """Count errors; the one too many is answered 421."""
        self.errors += code >= 500
        if self.errors >= ERRORS:
            code = 421
        self.closed = self.closed or code == 421
        return code
