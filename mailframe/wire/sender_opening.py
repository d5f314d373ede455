"""The beginning of a client's session: greeting, EHLO or LHLO, STARTTLS and AUTH.

::

    greeting ─ hello ─┬─ starttls ─ tls ─ hello ─┬─ auth ─┬─ Ready
                      └──────────────────────────┘────────┘

What a server sent in clear behind its 220 to STARTTLS ends the session, and nothing learnt before
TLS is remembered after it (RFC 3207 §4.2).
"""

from __future__ import annotations

import attrs

from mailframe.outcome import Protocol, TlsPolicy
from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire.reply_parser import ReplyParser
from mailframe.wire.sender_auth import Authentication
from mailframe.wire.sender_dialogue import Dialogue, command_line
from mailframe.wire.sender_events import Ready, StartTls


@attrs.frozen(kw_only=True)
class Introduction:
    """Who we are, and what we insist on.

    :ivar hostname: our name, for EHLO
    :ivar protocol: ``smtp`` or ``lmtp``
    :ivar tls: what to do about STARTTLS; the certificate is looked at by who owns the connection
    :ivar login: what to prove with AUTH, or ``None``
    :ivar loopback: nobody between the server and us could listen in, so AUTH needs no TLS
    """

    hostname: str
    protocol: Protocol = "smtp"
    tls: TlsPolicy = "opportunistic"
    login: sasl.Login | None = None
    loopback: bool = False


class Opening:
    """Leads the dialogue up to `Ready`.

    :param encrypted: the connection has TLS from its start

    :ivar extensions: the keywords of the last EHLO reply, upper-case, with their parameters
    :ivar encrypted: TLS is active
    :ivar binding: kind and octets of the connection's channel binding, once that is known
    """

    def __init__(self, dialogue: Dialogue, introduction: Introduction, *, encrypted: bool) -> None:
        self.extensions: dict[str, str] = {}
        self.encrypted = encrypted
        self.binding: tuple[str, bytes] | None = None
        self._authentication: Authentication | None = None
        self._dialogue = dialogue
        self._introduction = introduction
        self._lmtp = introduction.protocol == "lmtp"
        self._tls = introduction.tls
        dialogue.expected.append(("greeting", self._greeted))

    def tls_started(self) -> None:
        """The TLS handshake is done. Everything known of the server is forgotten."""
        dialogue = self._dialogue
        assert dialogue.resting == "tls"
        dialogue.resting = "idle"
        dialogue.parser = ReplyParser()
        self.encrypted = True
        self._hello()

    def _greeted(self, reply: Reply) -> None:
        if reply.code == 220:
            self._hello()
        elif reply.is_positive:
            self._dialogue.protocol_error(f"its greeting has the code {reply.code}", "greeting")
        else:
            self._dialogue.said(reply, "greeting")

    def _hello(self) -> None:
        self.extensions = {}
        verb = "LHLO" if self._lmtp else "EHLO"
        line = command_line(f"{verb} {self._introduction.hostname}")
        self._dialogue.send("hello", self._hello_replied, line)

    def _hello_replied(self, reply: Reply) -> None:
        if reply.code == 250:
            self._learn(reply)
            self._secure()
        elif reply.is_positive:
            self._dialogue.protocol_error(f"it answered {reply.code} to EHLO", "hello")
        elif reply.is_permanent and not self._lmtp:  # RFC 5321 §3.2: an old server
            self._dialogue.refusal = reply
            line = command_line(f"HELO {self._introduction.hostname}")
            self._dialogue.send("hello", self._helo_replied, line)
        else:
            self._dialogue.said(reply, "hello")

    def _helo_replied(self, reply: Reply) -> None:
        self._dialogue.refusal = None
        if reply.code == 250:
            self._secure()
        elif reply.is_positive:
            self._dialogue.protocol_error(f"it answered {reply.code} to HELO", "hello")
        else:
            self._dialogue.said(reply, "hello")

    def _learn(self, reply: Reply) -> None:
        for line in reply.text[1:]:
            keyword, _, parameters = line.partition(" ")
            if keyword.upper().startswith("AUTH="):  # as servers older than RFC 2554 say it
                parameters = f"{keyword[5:]} {parameters}"
                keyword = "AUTH"
                parameters = f"{self.extensions.get('AUTH', '')} {parameters}"
            self.extensions[keyword.upper()] = parameters.strip()

    def _secure(self) -> None:
        if self.encrypted or self._tls == "none":
            self._authenticate()
        elif "STARTTLS" in self.extensions:
            self._dialogue.send("starttls", self._starttls_replied, b"STARTTLS\r\n")
        elif self._tls == "opportunistic":
            self._authenticate()
        else:
            text = "the server does not offer STARTTLS, which the route requires"
            self._dialogue.said(Reply(454, "4.7.10", text), "starttls")

    def _starttls_replied(self, reply: Reply) -> None:
        dialogue = self._dialogue
        if reply.code == 220:
            if len(dialogue.parser):
                dialogue.protocol_error(
                    "it sent octets in clear after its reply to STARTTLS", "starttls"
                )
                return
            dialogue.resting = "tls"
            dialogue.events.append(StartTls())
        elif reply.is_positive:
            dialogue.protocol_error(f"it answered {reply.code} to STARTTLS", "starttls")
        elif self._tls == "opportunistic":
            self._authenticate()
        else:
            text = f"the server refused STARTTLS, which the route requires: {reply}"
            dialogue.said(Reply(454, "4.7.10", text), "starttls")

    def _authenticate(self) -> None:
        login = self._introduction.login
        if login is None:
            self._ready()
        elif not self.encrypted and not self._introduction.loopback:
            text = "the connection has no TLS, and the login is not sent in clear"
            self._dialogue.said(Reply(454, "4.7.11", text), "auth")
        else:
            offered = self.extensions.get("AUTH", "").split()
            self._authentication = Authentication(self._dialogue, login, self._ready)
            self._authentication.begin(offered, self.binding)

    def derived(self, key: bytes) -> None:
        """The work that a `mailframe.wire.sasl.Derivation` asks for is done."""
        if self._authentication is not None and not self._dialogue.closed:
            self._authentication.derived(key)

    def _ready(self) -> None:
        self._dialogue.events.append(Ready())
