"""What is known of domains' policies of MTA-STS (RFC 8461), and how it is kept up.

For each domain that mail goes to by its MX records:

1. what is known of its policy is read from disk (`mailframe.delivery.mta_sts_cache`), now and then;
2. the TXT record of ``_mta-sts`` says whether there is a policy, and which one. Without a record a
   policy that is known stays in force until it runs out (§5.1);
3. one that is not known, or not that one, is fetched. If that fails the known one stays, and it is
   not tried again for a while (§3.3);
4. one that is known is fetched again once a day, or when half of its time is over if it holds less
   than two days, while mail goes on by the old one, so that who hinders us from fetching does not
   have it run out; and whatever becomes of its record, so that he who hinders us from looking that
   up does not either (§10.2). Where no mail goes for a while it is fetched again shortly before its
   end.

Those who wait for the same domain wait for the same questions. Nobody waits longer than `WAIT`:
then they go on with what is known, and what comes too late serves the next. There is no going on,
and the mail comes again, where the disk has not told what is known, or where DNS says that there is
a policy and nobody has tried to fetch it yet: a domain that may have a policy is none without one.
Else who keeps all turns busy, with servers that never answer, could have mail go out in clear.
"""

from __future__ import annotations

from typing import Protocol

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from mailframe.clocks import Elapsed
from mailframe.delivery.exchanges import LookupFault
from mailframe.delivery.lookup import Lookup
from mailframe.delivery.mta_sts_cache import PolicyFiles, Stored
from mailframe.delivery.mta_sts_policy import StsPolicy, record_id
from mailframe.delivery.remembered import Remembered
from mailframe.delivery.tls_fault import TlsFault
from mailframe.interfaces import Site

log = Logger()

WAIT = 40.0  # seconds that a delivery waits for a policy; more than fetching one may take
LOOK_AGAIN = 60.0  # seconds after which DNS is asked again, or rather its answer that is kept
NOT_AGAIN = 300.0  # seconds that a server which gave no policy is left alone (RFC 8461 §3.3)
REFRESH = 86_400.0  # seconds after which a policy is fetched again though it has not changed
LOOK_FOR_ENDS = 3600.0  # seconds after which policies are looked for that run out soon
MAX_KNOWN = 4096  # domains kept in memory
MAX_OCTETS = 16 * 1024 * 1024  # of what is known of them; they choose how long their policies are
AT_ONCE = 20  # policies that are fetched at once
AGAIN_AT_ONCE = 5  # those among them of domains whose policy could not be fetched last time
MAX_FETCHES = 2000  # policies that are fetched or wait for their turn
_EMPTY, _PATTERN = 1000, 60  # octets of memory that a policy and each of its exchangers need
_UNREAD = "what is kept of it could not be read"
_FETCHING = "it is being fetched for the first time"
_TOO_MANY = "too many others are being fetched"
_OUR_FAULT = "something went wrong here"


class Fetch(Protocol):
    """Fetches policies: a `mailframe.delivery.mta_sts_fetch.PolicyFetch`."""

    async def fetch(self, domain: str) -> StsPolicy | TlsFault:
        """The policy that a domain publishes now, or why there is none."""


@attrs.frozen
class Known:
    """What is known of a domain.

    :ivar stored: what is kept
    :ivar until: when somebody is asked for more
    :ivar doubt: why DNS did not say whether there is a policy; ``""`` when it did
    """

    stored: Stored
    until: float
    doubt: str


class PolicyUpkeep:
    """Knows the policies of domains, and has them fetched.

    :param site: lends clock and threads
    :param lookup: asks DNS
    :param files: keeps policies
    :param fetch: fetches them
    """

    def __init__(self, *, site: Site, lookup: Lookup, files: PolicyFiles, fetch: Fetch) -> None:
        self._site = site
        self._lookup = lookup
        self._files = files
        self._fetch = fetch
        self._clock = Elapsed(site.reactor)
        self._known: Remembered[str, Known] = Remembered(MAX_KNOWN, MAX_OCTETS)
        # by the domain that is looked after; they fire with why what is known is not enough
        self._waiting: dict[str, list[Deferred[str]]] = {}
        self._fetching: dict[str, bool] = {}  # by domain, whether it never was before
        self._turns = DeferredSemaphore(AT_ONCE)
        self._turns_again = DeferredSemaphore(AGAIN_AT_ONCE)
        self._look_at = self._clock.seconds() + LOOK_AGAIN

    async def known(self, domain: str) -> Known | str:
        """What is known of a domain's policy, after those were asked that are to be asked now.

        :param domain: in normal form
        :returns: why it can't be told whether there is a policy, when it can't
        """
        self.look_after()
        now = self._clock.seconds()
        known = self._known.get(domain)
        if known is not None and now < known.until:
            self._known.used(domain)
            return known
        waiting: Deferred[str] = Deferred()
        line = self._waiting.get(domain)
        if line is None:
            self._waiting[domain] = [waiting]
            Deferred.fromCoroutine(self._look_after(domain))
        else:
            line.append(waiting)
        if not waiting.called:
            waiting.addTimeout(WAIT, self._clock, onTimeoutCancel=lambda *_: self._late(domain))
        why = await waiting
        known = self._known.get(domain)
        if known is None:
            return why or _UNREAD
        return why if why and known.stored.in_force(self._now()) is None else known

    def look_after(self) -> None:
        """See after policies that run out soon, if that has not been done of late.

        To be called now and then where no mail goes.
        """
        now = self._clock.seconds()
        if now >= self._look_at:
            self._look_at = now + LOOK_FOR_ENDS
            Deferred.fromCoroutine(self._before_they_end())

    def _late(self, domain: str) -> str:
        return _FETCHING if self._fetching.get(domain) else ""

    # --- one domain ----------------------------------------------------------------------------

    async def _before_they_end(self) -> None:
        """Have those policies fetched again that run out soon, one after the other."""
        domains: list[str] = []
        try:
            domains = await self._site.in_thread(self._files.expiring, self._now())
        except Exception:
            log.failure("policies of MTA-STS that run out could not be looked for")
        for domain in domains:
            if domain not in self._waiting:
                self._waiting[domain] = []
                await self._look_after(domain, is_wanted=False)

    async def _look_after(self, domain: str, is_wanted: bool = True) -> None:
        why = _OUR_FAULT
        try:
            why = await self._ask(domain, is_wanted)
        except Exception:
            log.failure("the MTA-STS policy of {domain} could not be looked after", domain=domain)
            known = self._known.get(domain)
            if known is not None:
                self._keep(known.stored, LOOK_AGAIN if known.stored.policy else 0)
        finally:
            self._serve(domain, why)
            del self._waiting[domain]

    async def _ask(self, domain: str, is_wanted: bool) -> str:
        """:returns: why what is known is not enough to go by; ``""`` when it is"""
        known = self._known.get(domain)
        stored = known.stored if known else Stored(domain=domain)
        read: Stored | None = None
        is_read = True
        try:
            read = await self._site.in_thread(self._files.read, domain)
        except OSError as error:
            log.error(
                "what is kept of the MTA-STS policy of {domain} can't be read: {error}",
                domain=domain,
                error=str(error),
            )
            if known is None:
                return _UNREAD
            is_read = False
        # Another process may have fetched it; or what is known here could not be written.
        now = self._now()
        if read is not None and read.latest >= stored.latest:
            stored = stored if stored.in_force(now) and not read.in_force(now) else read
        self._keep(stored, 0)
        texts = await self._lookup.texts(f"_mta-sts.{domain}")
        found = record_id(texts) if isinstance(texts, tuple) else None
        now = self._now()
        policy = stored.in_force(now)
        if found is None and policy is not None and policy.mode != "none":
            found = stored.id  # it may have a record that is kept from us
        is_new = policy is None or found != stored.id
        seconds = LOOK_AGAIN if isinstance(texts, tuple) else NOT_AGAIN
        if found is None or 0 <= now - stored.failed < NOT_AGAIN:
            if found is None and stored.fault is not None and policy is None:
                stored = Stored(domain=domain)  # there is no policy any more that could be had
            self._keep(stored, seconds, texts.reason if isinstance(texts, LookupFault) else "")
            return ""
        if policy is not None and not is_new and 0 <= now - stored.fetched < _fresh(policy):
            self._keep(stored, seconds)
            return ""
        is_first = policy is None and not stored.failed
        if len(self._fetching) >= MAX_FETCHES:
            self._keep(stored, 0 if is_first else LOOK_AGAIN)
            return _TOO_MANY if is_first else ""
        if not is_new:
            self._keep(stored, REFRESH)  # nobody waits for what comes after it
            self._serve(domain)  # it holds meanwhile
        stored = attrs.evolve(stored, wanted=now) if is_wanted else stored
        self._fetching[domain] = is_first
        try:
            await self._renew(stored, found, may_write=is_read)
        finally:
            del self._fetching[domain]
        return ""

    async def _renew(self, stored: Stored, id: str, may_write: bool) -> None:
        domain = stored.domain
        # Servers that never answer must not keep all turns busy, again and again.
        if stored.failed:
            fetched = await self._turns_again.run(self._in_turn, domain)
        else:
            fetched = await self._in_turn(domain)
        self._fetching[domain] = False
        now = self._now()
        if isinstance(fetched, TlsFault):
            log.warn(
                "the MTA-STS policy of {domain} could not be fetched: {reason}",
                domain=domain,
                reason=fetched.text,
            )
            stored = attrs.evolve(stored, failed=now, fault=fetched)
        else:
            log.info(
                "MTA-STS of {domain}: mode {mode}, for {seconds} seconds",
                domain=domain,
                mode=fetched.mode,
                seconds=fetched.max_age,
            )
            stored = Stored(domain=domain, id=id, policy=fetched, fetched=now, wanted=stored.wanted)
        self._keep(stored, LOOK_AGAIN)
        if not may_write:
            return  # there may be something better
        try:
            written = await self._site.in_thread(self._files.write, stored)
        except OSError as error:
            log.error("an MTA-STS policy can't be kept: {error}", error=str(error))
        else:
            self._keep(written, LOOK_AGAIN)

    def _in_turn(self, domain: str) -> Deferred[StsPolicy | TlsFault]:
        return self._turns.run(lambda: Deferred.fromCoroutine(self._fetch.fetch(domain)))

    def _keep(self, stored: Stored, seconds: float, doubt: str = "") -> None:
        policy = stored.in_force(self._now())
        if policy is not None:  # when it ends there may be another
            seconds = min(seconds, stored.fetched + policy.max_age - self._now())
        known = Known(stored, self._clock.seconds() + seconds, doubt)
        patterns = stored.policy.mx if stored.policy else ()
        octets = _EMPTY + sum(_PATTERN + len(pattern) for pattern in patterns)
        self._known.put(stored.domain, known, octets)

    def _serve(self, domain: str, why: str = "") -> None:
        """Let those go on who wait for a domain; who comes later waits anew."""
        line = self._waiting[domain]
        waiting, line[:] = tuple(line), ()
        for each in waiting:
            if not each.called:
                each.callback(why)

    def _now(self) -> float:
        now: float = self._site.reactor.seconds()
        return now


def _fresh(policy: StsPolicy) -> float:
    """For how many seconds a policy is not fetched again: it must not run out meanwhile."""
    return min(REFRESH, policy.max_age / 2)
