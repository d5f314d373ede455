"""What the server at the other end of a connection says of itself."""

from __future__ import annotations

from mailframe.wire.sender_parameters import Limits
from mailframe.wire.smtp_sender import Sender


class Offers:
    """One server.

    :ivar sender: the session; ``None`` until the connection stands
    """

    sender: Sender | None = None

    @property
    def used_up(self) -> bool:
        """Whether there may be no more transactions because the server said so (RFC 9422)."""
        return self.sender is not None and self.sender.used_up

    def offers(self, extension: str) -> bool:
        """Whether the server offers an extension, named in capitals."""
        return self.sender is not None and extension in self.sender.extensions

    def parameters(self, extension: str) -> str:
        """What the server says of an extension, or ``""``."""
        return self.sender.extensions.get(extension, "") if self.sender is not None else ""

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is active."""
        return self.sender is not None and self.sender.encrypted

    @property
    def limits(self) -> Limits:
        """What the server said of its limits (RFC 9422)."""
        return self.sender.limits if self.sender is not None else Limits()
