"""What there is while a server runs: its parts put together, and the exchange of some of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from twisted.internet.ssl import CertificateOptions

from mailframe.assembly import POLICY, Parts, build_parts
from mailframe.config_errors import Mistake, SettingsError, shown
from mailframe.delivery.dispatch import Dispatch
from mailframe.delivery.live_limits import LiveLimits
from mailframe.delivery.relay import RelayAgent
from mailframe.embedding import Settlements
from mailframe.queue.notice_rate import NoticeRate
from mailframe.queue.notices import NoticeWriter
from mailframe.queue.runner import QueueRunner
from mailframe.server.client_records import ClientRecords
from mailframe.serving import PolicyInForce, ServerFactory, make_factories
from mailframe.settings import Settings
from mailframe.settings_checks import check_mailboxes


@attrs.define(kw_only=True)
class Running:
    """A server's parts, put together.

    :ivar parts: those that serve now
    :ivar factories: serve who comes now, by the names of the servers
    :ivar policy: judges
    :ivar dispatch: makes the attempts
    :ivar runner: moves the queue
    :ivar notices: writes the notices
    :ivar settlements: tells programs when their message has left the queue
    :ivar records: what is remembered of clients
    :ivar live: tells other processes what was learned of next hops
    """

    parts: Parts
    factories: Mapping[str, ServerFactory]
    policy: PolicyInForce
    dispatch: Dispatch
    runner: QueueRunner
    notices: NoticeWriter
    settlements: Settlements
    records: ClientRecords
    live: LiveLimits

    @property
    def services(self) -> tuple[Any, ...]:
        """What is to be started and stopped with the server; the runner last, who uses the rest."""
        return (*self.parts.services, self.live, self.dispatch.relay.part, self.runner)

    def exchange(self, parts: Parts, factories: Mapping[str, ServerFactory]) -> None:
        """Use these for whatever begins from now on.

        Sessions that are open keep their factory and its certificate, but are judged by the
        policies that are in force when they ask.
        """
        self.policy.use(parts)
        relay = self.dispatch.relay.part
        assert isinstance(relay, RelayAgent), "it is what Parts.relay_agent makes"
        relay.use(parts.settings.relay)
        self.runner.schedule = parts.settings.schedule
        self.runner.longest_wait = self.policy.longest_wait
        self.notices = self.runner.notices = _notice_writer(parts, self.notices.rate)
        self.parts = parts
        self.factories = factories


def assemble(
    parts: Parts, context: CertificateOptions | None, owner: str, records: ClientRecords
) -> Running:
    """Put the parts of a server together.

    :param parts: all of them
    :param context: the TLS context
    :param owner: names this server's leases, unique among all that share the queue
    :param records: what is remembered of clients
    """
    clock, settings = parts.site.reactor, parts.settings
    policy = PolicyInForce(parts)
    relay = parts.relay_agent()
    assert isinstance(relay.part, RelayAgent), "it is what Parts.relay_agent makes"
    dispatch = Dispatch(router=policy, local=parts.local_agent(), relay=relay, clock=clock)
    notices = _notice_writer(parts, NoticeRate())
    runner = QueueRunner(
        storage=parts.queue.part,
        storage_name=parts.queue.name,
        dispatch=dispatch,
        schedule=settings.schedule,
        notices=notices,
        clock=clock,
        owner=owner,
        storage_time=settings.limits.plugin_time,
        in_thread=parts.site.in_thread,
    )
    runner.longest_wait = policy.longest_wait
    settlements = Settlements(parts.queue.part, clock)
    runner.observe(settlements.stepped)
    return Running(
        parts=parts,
        factories=make_factories(parts, policy, context, records),
        policy=policy,
        dispatch=dispatch,
        runner=runner,
        notices=notices,
        settlements=settlements,
        records=records,
        live=LiveLimits(relay.part, parts.site),
    )


def _notice_writer(parts: Parts, rate: NoticeRate) -> NoticeWriter:
    return NoticeWriter(
        hostname=parts.settings.hostname,
        random=parts.site.random,
        schedule=parts.settings.schedule,
        settings=parts.settings.notices,
        local_domains=parts.site.local_domains,
        rate=rate,
    )


def changeable(old: Settings, found: Settings) -> tuple[Settings, list[str]]:
    """What of a changed configuration can come into force without a restart.

    :param old: the one in force
    :param found: the one that was read
    :returns: settings with what can't change as it was, and the names of what was kept so
    :raises SettingsError: what can't change does not fit the rest
    """
    fixed = ("hostname", "state_dir", "processes", "relay", "dns")
    kept = {name: getattr(old, name) for name in fixed}
    kept["relay"] = old.relay.with_limits_of(found.relay)
    changed = [name for name in fixed if getattr(found, name) != kept[name]]
    for seam in ("queue", "delivery"):
        if seam in old.chosen and old.chosen[seam] != found.chosen.get(seam):
            changed.append(f"[{seam}]")
    stay = {seam: choice for seam, choice in old.chosen.items() if seam not in POLICY}
    listened = [(server.name, server.listen) for server in old.servers]
    if listened != [(server.name, server.listen) for server in found.servers]:
        changed.append("[[server]]")
        kept |= {"servers": old.servers, "tls": found.tls or old.tls}
    settings = attrs.evolve(found, **kept, chosen={**found.chosen, **stay})
    _check_mailboxes(settings)
    return settings, changed


def _check_mailboxes(settings: Settings) -> None:
    """The mailboxes in force must do for all local domains, or people would share one."""
    if "delivery" not in settings.chosen:
        return
    own = settings.chosen["delivery"].settings
    if check_mailboxes(own, settings.local_domains, {}):
        problem = f"{shown(own.path)} is in force until a restart; it does for one domain alone"
        allowed = "several local_domains with a restart, and {domain} in the path"
        mistake = Mistake(table="[delivery]", key="path", problem=problem, allowed=allowed)
        raise SettingsError(settings.path, [mistake])


def rebuild(
    running: Running,
    settings: Settings,
    given: Mapping[str, Any],
    context: CertificateOptions | None,
) -> tuple[Parts, dict[str, ServerFactory]]:
    """Build what a reload exchanges; nothing is changed yet.

    :param given: the parts that a program passed as objects
    :param context: the TLS context
    :raises PartError: a part can't be built
    """
    site = attrs.evolve(running.parts.site, local_domains=frozenset(settings.local_domains))
    policy = build_parts(settings, site, POLICY, given)
    parts = attrs.evolve(policy, built={**running.parts.built, **policy.built})
    return parts, make_factories(parts, running.policy, context, running.records)
