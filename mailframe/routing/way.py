"""Where a rule sends mail, once it is known that it does."""

from __future__ import annotations

import attrs

from mailframe.address import Address, AddressError
from mailframe.outcome import Hold, Local, NextHop, Redirect, Relay, Route, Unroutable
from mailframe.reply import Reply
from mailframe.routing.rules import RuleSettings
from mailframe.routing.via import MX, Via

PLUGIN = "table"
_NO_TARGET = Reply(550, "5.1.3", "this recipient's mail can't be redirected")
_ITSELF = Reply(554, "5.4.6", "the address is redirected to itself")


class Way:
    """The routes that one value of ``via`` gives.

    :param rule: the rule's name
    :param settings: of the rule
    :param via: what stands in the rule, or what a map gave
    :param told: what is told of the choice besides
    """

    def __init__(self, rule: str, settings: RuleSettings, via: Via, told: str = "") -> None:
        self.via = via
        self._rule = rule
        label = f'rule "{settings.name}"' if settings.name else rule
        shown = (*via.where, *(f"redirect to {each.text}" for each in via.targets))
        kind = f"{via.kind}: {via.reason}" if via.reason else via.kind
        self._reason = f"{label} matches: {', '.join(shown) or kind}{_asked(settings, via)}{told}"
        self._retry = settings.retry
        self._hops = tuple(
            NextHop(
                where=where,
                protocol=settings.protocol,
                tls=settings.tls,
                login=settings.login,
                password_file=settings.password_file,
                source=settings.source,
            )
            for where in via.where
        )

    def route(self, recipient: Address) -> Route:
        """Where a recipient's mail goes."""
        name, via = self._rule, self.via
        if via.kind == "local":
            return Local(mailbox=recipient, reason=self._reason, rule=name, plugin=PLUGIN)
        if via.kind == "reject":
            reply = Reply(550, "5.7.1", via.reason)
            return Unroutable(reply=reply, reason=via.reason, rule=name, plugin=PLUGIN)
        if via.kind == "hold":
            return Hold(reason=self._reason, rule=name, plugin=PLUGIN)
        if via.kind == "redirect":
            return self._redirect(recipient)
        hops = tuple(
            attrs.evolve(hop, where=MX + recipient.domain) if hop.where == "mx" else hop
            for hop in self._hops
        )
        return Relay(hops=hops, reason=self._reason, rule=name, plugin=PLUGIN, retry=self._retry)

    def _redirect(self, recipient: Address) -> Route:
        try:
            addresses = tuple(
                dict.fromkeys(target.address(recipient) for target in self.via.targets)
            )
        except AddressError as error:
            reason = f"{self._reason}, and for {recipient} that is none: {error}"
            return Unroutable(reply=_NO_TARGET, reason=reason, rule=self._rule, plugin=PLUGIN)
        if recipient in addresses:
            reason = f"{self._reason}, and that is the recipient itself"
            return Unroutable(reply=_ITSELF, reason=reason, rule=self._rule, plugin=PLUGIN)
        return Redirect(addresses=addresses, reason=self._reason, rule=self._rule, plugin=PLUGIN)


def _asked(settings: RuleSettings, via: Via) -> str:
    """What a rule asks besides of the servers that it names, where it is not the usual."""
    asked = [
        *(() if settings.protocol == "smtp" else (settings.protocol,)),
        *(() if settings.tls == "opportunistic" else (f"tls {settings.tls}",)),
        *(() if settings.source is None else (f"source {settings.source}",)),
    ]
    return f" with {', '.join(asked)}" if asked and via.kind == "hops" else ""
