"""The client's side of AUTH (RFC 4954)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailframe.reply import Reply
from mailframe.wire import sasl
from mailframe.wire.sender_dialogue import Dialogue


class Authentication:
    """Proves a login to a server.

    :param proved: called when the server took it; whatever else happens ends the session
    """

    def __init__(self, dialogue: Dialogue, login: sasl.Login, proved: Callable[[], None]) -> None:
        self._dialogue = dialogue
        self._login = login
        self._proved = proved
        self._mechanism: sasl.ClientMechanism | None = None

    def begin(self, offered: Sequence[str]) -> None:
        """Begin with the best of the mechanisms that the server offers.

        :param offered: the parameters of AUTH in its reply to EHLO
        """
        mechanism = sasl.choose(offered, self._login.user, self._login.password)
        if mechanism is None:
            text = "the server offers no AUTH mechanism that we know, and the route has a login"
            self._dialogue.said(Reply(454, "4.7.0", text), "auth")
            return
        self._mechanism = mechanism
        command = f"AUTH {mechanism.name}".encode("ascii")
        initial = mechanism.initial()
        if initial is not None:
            command += b" " + (sasl.encode(initial) or b"=")
        self._dialogue.send("auth", self._replied, command + b"\r\n")

    def _replied(self, reply: Reply) -> None:
        assert self._mechanism is not None
        if reply.code == 235:
            self._proved()
        elif reply.code == 334:
            try:
                response = self._mechanism.respond(b"")
            except sasl.SaslError as error:
                self._dialogue.protocol_error(str(error), "auth")
            else:
                self._dialogue.send("auth", self._replied, sasl.encode(response) + b"\r\n")
        elif reply.is_positive:
            self._dialogue.protocol_error(f"it answered {reply.code} to AUTH", "auth")
        else:
            # The fault is in our configuration; mail must not bounce for it.
            text = f"the server did not accept the route's login: {reply}"
            self._dialogue.said(Reply(454, "4.7.8", text), "auth")
