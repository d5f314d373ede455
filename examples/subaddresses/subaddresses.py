"""Subaddresses (RFC 5233): mail for ``mary+lists@here.example`` is for ``mary@here.example``.

A routing policy in one file, with a drop-in beside it in ``twisted/plugins/``. To try it:

    PYTHONPATH=examples/subaddresses mailframe explain -c examples/subaddresses/mailframe.toml \\
        --server mx --from-ip 192.0.2.1 angelo@rosse.example mary+lists@here.example
"""

from __future__ import annotations

import attrs
from zope.interface import implementer

from mailframe.address import Address
from mailframe.interfaces import Facts, IRoutingPolicy, Site
from mailframe.outcome import Local, Route
from mailframe.routing.dns import by_domain


@attrs.frozen(kw_only=True)
class SubaddressSettings:
    """The ``[routing]`` table.

    :ivar separator: what stands between the mailbox and the detail
    """

    separator: str = attrs.field(default="+", validator=attrs.validators.min_len(1))


@implementer(IRoutingPolicy)
class Subaddresses:
    """Cuts off the detail for local domains; all other mail goes by its domain."""

    def __init__(self, separator: str) -> None:
        self._separator = separator

    async def route(self, sender: Address | None, recipient: Address, facts: Facts) -> Route:
        """Where does this recipient's mail go now?"""
        mailbox, separator, detail = recipient.local_part.partition(self._separator)
        if facts.local and mailbox and separator:
            # `Local` names the mailbox; the server looks up whether there is one, already at RCPT.
            return Local(
                mailbox=Address(mailbox, recipient.domain),
                reason=f"{detail or 'nothing'} is a detail of {mailbox}",
                rule="detail",
                plugin="subaddresses",
            )
        return by_domain(recipient, facts, plugin="subaddresses")


def build(settings: SubaddressSettings, site: Site) -> Subaddresses:
    """Build the part for ``[routing] plugin = "subaddresses"``."""
    return Subaddresses(settings.separator)
