"""The client's side of AUTH (RFC 4954).

Nothing is believed of a server before the mechanism says so: with SCRAM it has to prove that it
knows the login, and a 235 without that proof ends the session.
"""

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

    def begin(self, offered: Sequence[str], binding: tuple[str, bytes] | None = None) -> None:
        """Begin with the best of the mechanisms that the server offers.

        :param offered: the parameters of AUTH in its reply to EHLO
        :param binding: kind and octets of the connection's channel binding, if it has one
        """
        mechanism = sasl.choose(offered, self._login.user, self._login.password, binding)
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
            try:
                self._mechanism.succeeded()
            except sasl.SaslError as error:
                self._dialogue.protocol_error(str(error), "auth")
            else:
                self._proved()
        elif reply.code == 334:
            try:
                response = self._mechanism.respond(_challenge(reply))
            except sasl.SaslError as error:
                self._dialogue.protocol_error(str(error), "auth")
            else:
                self._go_on(response)
        elif reply.is_positive:
            self._dialogue.protocol_error(f"it answered {reply.code} to AUTH", "auth")
        else:
            # The fault is in our configuration; mail must not bounce for it.
            text = f"the server did not accept the route's login: {reply}"
            self._dialogue.said(Reply(454, "4.7.8", text), "auth")

    def _go_on(self, response: bytes | sasl.Derivation) -> None:
        dialogue = self._dialogue
        if isinstance(response, sasl.Derivation):
            dialogue.resting = "auth"
            dialogue.events.append(response)
        else:
            dialogue.send("auth", self._replied, sasl.encode(response) + b"\r\n")

    def derived(self, key: bytes) -> None:
        """The work that a `mailframe.wire.sasl.Derivation` asks for is done."""
        assert self._mechanism is not None
        self._dialogue.resting = "idle"
        self._go_on(self._mechanism.derived(key))


def _challenge(reply: Reply) -> bytes:
    text = "".join(reply.text).encode()
    try:
        return sasl.decode(text)
    except sasl.SaslError:
        # Some servers write the prompts of LOGIN as they are; for SCRAM that is no message.
        return text
