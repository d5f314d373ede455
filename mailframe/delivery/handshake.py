"""TLS over one connection: how it begins, and whether what the server shows is good enough."""

from __future__ import annotations

from collections.abc import Callable

from OpenSSL import SSL

from mailframe.delivery.tls_demand import TlsDemand
from mailframe.delivery.tls_fault import TlsFault, fault_of
from mailframe.delivery.tls_policy import TlsCreator, TlsPolicies


class Handshake:
    """One handshake.

    :param creator: begins it, or ``None`` where TLS is not used or stands from the start
    :param check: looks at what the server showed and raises what is wrong with it; ``None`` when
        any certificate will do
    :param lenient: what is wrong with the certificate is only remembered
    :ivar creator: as given
    :ivar fault: what was wrong, or ``None``
    """

    def __init__(
        self,
        creator: TlsCreator | None = None,
        check: Callable[[SSL.Connection], None] | None = None,
        *,
        lenient: bool = False,
    ) -> None:
        self.creator = creator
        self.fault: TlsFault | None = None
        self._check = check
        self._lenient = lenient

    @classmethod
    def under(cls, demand: TlsDemand, host: str, policies: TlsPolicies) -> Handshake:
        """The one that is asked for.

        :param host: the server's name, or an IP address
        """
        creator, check = policies.creator(demand, host), policies.check(demand)
        return cls(creator, check, lenient=demand.is_tried_out)

    def is_good(self, connection: SSL.Connection) -> bool:
        """Whether to go on, now that it is done."""
        if self._check is not None:
            try:
                self._check(connection)
            except Exception as error:  # whatever it is, the certificate was not found good
                self.broke(error)
                return self._lenient
        if self.creator is not None:
            self.fault = self.creator.fault
        return True

    def broke(self, error: BaseException) -> TlsFault:
        """It did not come about, or is not good: what is wrong.

        OpenSSL tells what is wrong with a chain only while it looks at it, so that goes first.
        """
        seen = self.creator.fault if self.creator is not None else None
        self.fault = seen or fault_of(error)
        return self.fault
