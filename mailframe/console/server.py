"""The factory of a ``protocol = "console"`` server."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.web.http import Request as HttpRequest
from twisted.web.server import Request, Site

from mailframe.console.site import ConsoleResource
from mailframe.interfaces import IQueueStorage
from mailframe.server.limits import Limits

REQUEST_TIME = 60  # seconds that a client may take to send a request or to read the answer


class ConsoleServerFactory:
    """The web console of one queue: read-only, without a login, for this machine alone."""

    def __init__(
        self,
        *,
        name: str,
        storage: IQueueStorage,
        hostname: str,
        clock: IReactorTime,
        limits: Limits,
    ) -> None:
        """
        :param name: the ``name`` of the ``[[server]]``
        :param storage: whose messages are shown
        :param hostname: the server's own name, one of those the console answers to
        :param clock: measures time-outs
        :param limits: the ``[limits]`` table
        """
        self.name = name
        self._clock = clock
        self._resource = ConsoleResource(
            storage=storage, hostname=hostname, clock=clock, plugin_time=limits.plugin_time
        )
        self._site = _QuietSite(  # type: ignore[no-untyped-call]  # twisted.web has no types here
            self._resource,
            requestFactory=_BodilessRequest,
            timeout=REQUEST_TIME,
            reactor=clock,
            parsePOSTFormSubmission=False,
        )

    def for_endpoint(self) -> IProtocolFactory:
        """What an endpoint is to listen with."""
        site: IProtocolFactory = self._site
        return site

    def drain(self, seconds: float) -> Deferred[None]:
        """Wait for the requests in flight, but no longer than this many seconds."""

        waiting = self._resource.when_idle()
        if not waiting.called:
            waiting.addTimeout(seconds, self._clock, onTimeoutCancel=lambda _result, _after: None)
        return waiting


class _QuietSite(Site):
    """A site without an access log: paths and agents are the client's own words."""

    noisy = False

    def startFactory(self) -> None:
        """Begin nothing: the base class would keep a clock running for its log."""

    def stopFactory(self) -> None:
        """End nothing."""

    def log(self, request: HttpRequest) -> None:
        """Write nothing."""


class _BodilessRequest(Request):
    """A request whose body is read and thrown away, since nothing here takes one."""

    def handleContentChunk(self, data: bytes) -> None:
        """Keep nothing: the base class would write it into a file before we may refuse it."""
