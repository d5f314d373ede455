"""USER and PASS (RFC 1939 §7) and AUTH (RFC 5034): what a client says to log in.

Nothing here proves a login. What a client claims leaves as `Authenticate`.
"""

from __future__ import annotations

from mailframe.wire.lines import LineBuffer
from mailframe.wire.pop3_commands import CommandError
from mailframe.wire.pop3_events import Authenticate, Offer
from mailframe.wire.pop3_responses import Responses
from mailframe.wire.sasl import (
    MAX_LINE,
    Claim,
    SaslError,
    ServerMechanism,
    claim_login,
    decode,
    decode_initial,
    encode,
    server_mechanism,
)

COMMAND_LINE = 255  # octets with CRLF, RFC 2449 §4


class LoginDialogue:
    """The logins that are tried in one session."""

    def __init__(self, lines: LineBuffer, responses: Responses) -> None:
        """:param lines: whose limit is raised in an AUTH exchange (RFC 5034 §4)"""
        self._lines = lines
        self._responses = responses
        self._user: bytes | None = None  # what USER said, when it was the last command
        self._mechanism: ServerMechanism | None = None  # an AUTH exchange is under way
        self._claimed_in: ServerMechanism | None = None  # an exchange that may go on

    @property
    def in_exchange(self) -> bool:
        """The next line is not a command but part of an AUTH exchange."""
        return self._mechanism is not None

    def end(self) -> None:
        """Forget what was said."""
        self._user = None
        self._mechanism = None
        self._lines.limit = COMMAND_LINE

    def take_user(self) -> bytes | None:
        """What USER said if it was the last command; it counts for this one only."""
        user, self._user = self._user, None
        return user

    def user(self, name: bytes, offer: Offer) -> None:
        """USER. The answer is always the same, whether the user is known or not (RFC 1939 §13).

        :raises CommandError: nobody can log in with a password
        """
        if not self._allowed(offer):
            return
        if "PLAIN" not in offer.mechanisms:
            raise CommandError("no password is taken here; CAPA lists how to log in")
        self._user = name
        self._responses.ok("send PASS")

    def password(self, user: bytes | None, password: bytes) -> Authenticate:
        """PASS.

        :param user: see `take_user`
        :raises CommandError, SaslError: there was none, or these can't be user and password
        """
        if user is None:
            raise CommandError("PASS comes directly after USER")
        return Authenticate(claim_login(b"", user, password))

    def begin(self, name: bytes, initial: bytes | None, offer: Offer) -> Authenticate | None:
        """AUTH.

        :raises CommandError, SaslError: the mechanism is not offered, or does not begin like this
        """
        if not self._allowed(offer):
            return None
        chosen = name.decode("ascii", "replace").upper()
        if chosen not in offer.mechanisms:
            raise CommandError("unknown mechanism; CAPA lists those that can be used")
        self._mechanism = server_mechanism(chosen, offer.mechanisms)
        self._lines.limit = MAX_LINE
        return self._step(None if initial is None else decode_initial(initial))

    def respond(self, line: bytes) -> Authenticate | None:
        """A line of an exchange that is under way.

        :raises SaslError: it is against the mechanism's rules, or the client gave up
        """
        if line == b"*":
            raise SaslError("the exchange was cancelled")
        return self._step(decode(line))

    def challenge(self, octets: bytes) -> None:
        """The login is not proved yet: the exchange goes on with this."""
        self._mechanism = self._claimed_in
        self._lines.limit = MAX_LINE
        self._responses.put(b"+ " + encode(octets) + b"\r\n")

    def _step(self, response: bytes | None) -> Authenticate | None:
        assert self._mechanism is not None
        answer = self._mechanism.respond(response)
        if isinstance(answer, Claim):
            self._claimed_in = self._mechanism
            self.end()
            return Authenticate(answer)
        self._responses.put(b"+ " + encode(answer) + b"\r\n")
        return None

    def _allowed(self, offer: Offer) -> bool:
        """Whether a password may be sent; says why when not."""
        if not offer.login:
            hint = ": use STLS first" if offer.stls else ""
            self._responses.error(f"passwords are taken over TLS only{hint}", "AUTH")
        return offer.login
