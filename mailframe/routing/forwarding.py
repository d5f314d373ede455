"""What a redirect that leaves our domains does to the reverse-path, and bounces that come back."""

from __future__ import annotations

import attrs

from mailframe.address import AddressError, normal_domain
from mailframe.outcome import Redirect, Relay, Route, Unroutable
from mailframe.reply import Reply
from mailframe.routing.conditions import Question
from mailframe.routing.srs import Srs, SrsError, SrsSettings, read_secrets
from mailframe.routing.way import PLUGIN

RULE = "srs"
_NOT_OURS = Reply(550, "5.1.1", "this address is not one that this server made, or is too old")


class Forwarding:
    """Rewrites reverse-paths by SRS.

    :param local_domains: whose reverse-paths are ours to use
    """

    def __init__(self, srs: Srs, local_domains: frozenset[str]) -> None:
        self._srs = srs
        self._local_domains = local_domains

    @classmethod
    def build(cls, settings: SrsSettings, local_domains: frozenset[str]) -> Forwarding:
        """Make it of its settings.

        :raises ValueError: its secret or domain can't be used
        """
        domain = normal_domain(settings.domain)
        if domain not in local_domains:
            raise ValueError(
                f"srs domain {domain} is not among local_domains, so bounces to it would not come "
                f"back to us; there are: {', '.join(sorted(local_domains)) or 'none'}"
            )
        secrets = read_secrets(settings.secret_file)
        return cls(Srs(domain, secrets, settings.max_age), local_domains)

    def returned(self, question: Question) -> Route | None:
        """Where mail for an address that we made goes; ``None``: it is no such address."""
        recipient = question.recipient
        if not self._srs.is_meant(recipient):
            return None
        try:
            address = self._srs.reverse(recipient, question.facts.now)
        except SrsError as error:
            reason = f"{recipient} is refused as an address of SRS: {error}"
            return Unroutable(reply=_NOT_OURS, reason=reason, rule=RULE, plugin=PLUGIN)
        reason = "mail was forwarded with this reverse-path: back to whom it was made from"
        return Redirect(addresses=(address,), reason=reason, rule=RULE, plugin=PLUGIN)

    def forwarded(self, route: Route, question: Question) -> Route:
        """The route, with another reverse-path where mail for somebody here is sent on."""
        sender, facts = question.sender, question.facts
        original = facts.known.original
        if (
            not isinstance(route, Relay)
            or sender is None
            or original is None
            or facts.local
            or original.domain not in self._local_domains
            or sender.domain in self._local_domains
        ):
            return route
        try:
            told = self._srs.forward(sender, facts.now)
        except AddressError as error:
            reason = f"{route.reason}; the reverse-path stays as it is: by SRS {error}"
            return attrs.evolve(route, reason=reason)
        reason = f"{route.reason}; sent on for {original}, so by SRS the reverse-path is ours"
        return attrs.evolve(route, reverse_path=told, reason=reason)
