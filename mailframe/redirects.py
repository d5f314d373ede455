"""What redirects do to the recipients of a message: their targets join it as recipients of their
own, each once, and what leads back to itself or too far is refused. For the queue, and for an
explanation of what the queue would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import attrs

from mailframe.address import Address
from mailframe.entry import QueuedRecipient
from mailframe.expansion import LOOP, MAX_ADDRESSES, MAX_DEPTH, TOO_MANY
from mailframe.outcome import Redirect
from mailframe.reply import Reply


def way_to(recipients: Sequence[QueuedRecipient], index: int) -> set[Address]:
    """A recipient's address and those whose redirects led to it."""
    way = {recipients[index].address}
    parent = recipients[index].parent
    while parent is not None:
        way.add(recipients[parent].address)
        parent = recipients[parent].parent
    return way


class Redirects:
    """The redirects of one attempt.

    :param recipients: of the message; targets are added at its end
    :param redirecting: the places of those that are redirected in this attempt
    """

    def __init__(self, recipients: list[QueuedRecipient], redirecting: Collection[int]) -> None:
        self._recipients = recipients
        self._redirecting = redirecting
        self._present: Counter[Address] | None = None  # once a redirect asks for it

    def follow(self, index: int, route: Redirect) -> Reply | int:
        """Add the targets of a redirect.

        :returns: how many were added; or the reply with which it fails instead
        """
        recipients = self._recipients
        before = recipients[index]
        ancestors = way_to(recipients, index)
        if any(address in ancestors for address in route.addresses):
            return LOOP
        if len(ancestors) > MAX_DEPTH:
            return TOO_MANY
        present = self._have_it()
        wanted = [address for address in dict.fromkeys(route.addresses) if not present[address]]
        if len(recipients) + len(wanted) > MAX_ADDRESSES:
            return TOO_MANY
        recipients[index] = attrs.evolve(before, state="redirected", attempts=before.attempts + 1)
        recipients.extend(
            QueuedRecipient(address=address, parent=index, held=before.held) for address in wanted
        )
        present.update(wanted)
        return len(wanted)

    def failed(self, index: int) -> None:
        """A recipient has failed after all, and may be the target of another redirect."""
        if self._present is not None and index not in self._redirecting:
            self._present[self._recipients[index].address] -= 1

    def _have_it(self) -> Counter[Address]:
        """Who already has, or will have, the message, and needs no second copy.

        A recipient that is itself redirected doesn't count: two aliases of each other would make it
        vanish. Counted once for all redirects of an attempt, of which there may be thousands.
        """
        if self._present is None:
            self._present = Counter(
                recipient.address
                for i, recipient in enumerate(self._recipients)
                if recipient.state in ("pending", "delivered", "relayed")
                and i not in self._redirecting
            )
        return self._present
