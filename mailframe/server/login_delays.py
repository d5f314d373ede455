"""How long a client has to wait until it may log in to its mailbox again (RFC 2449 §6.5)."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from mailframe.server.client_records import ClientRecords


class LoginDelays:
    """When each mailbox was opened last, over whatever server."""

    def __init__(
        self, *, seconds: float, clock: IReactorTime, records: ClientRecords | None = None
    ) -> None:
        """
        :param seconds: that have to pass between two logins; 0 for none
        :param records: where the times are kept; when ``None``, by this object alone
        """
        self._seconds = seconds
        self._clock = clock
        self._opened = (ClientRecords() if records is None else records).opened

    def left(self, mailbox: str) -> float:
        """Seconds that are left until the mailbox may be opened; 0 when it may be now."""
        if self._seconds <= 0:
            return 0.0
        now = self._clock.seconds()
        opened = self._opened.get(mailbox.encode(), now, self._seconds)
        return 0.0 if opened is None else opened[0] + self._seconds - now

    def opened(self, mailbox: str) -> None:
        """The mailbox was opened just now."""
        if self._seconds > 0:
            self._opened.put(mailbox.encode(), self._clock.seconds(), 1)
