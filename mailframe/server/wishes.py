"""What the parameters of MAIL ask for, in the terms of the envelope."""

from __future__ import annotations

from typing import Any

from mailframe.envelope import DeliverBy
from mailframe.wire.smtp_events import Wishes


def envelope_fields(wishes: Wishes, now: float) -> dict[str, Any]:
    """The fields of `Envelope` that carry them.

    :param now: when MAIL came, from which times are counted; POSIX seconds
    """
    by, not_before = wishes.by, wishes.hold_until
    if wishes.hold_for is not None:
        not_before = now + wishes.hold_for
    deadline = None
    if by is not None:
        deadline = DeliverBy(at=now + by.seconds, mode="R" if by.returns else "N", trace=by.trace)
    return {
        "smtputf8": wishes.smtputf8,
        "require_tls": wishes.require_tls,
        "ret": wishes.ret,
        "envid": wishes.envid,
        "deliver_by": deadline,
        "not_before": None if not_before is None or not_before <= now else not_before,
    }
