"""What MAIL asks for, in the envelope: `mailframe.server.wishes`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.envelope import DeliverBy
from mailframe.server.wishes import envelope_fields
from mailframe.wire.smtp_events import By, Wishes


class WishesTests(SynchronousTestCase):
    def test_all(self) -> None:
        """A wish is lost between the dialogue and the queue."""
        wishes = Wishes(
            smtputf8=True,
            require_tls=True,
            ret="HDRS",
            envid="QQ",
            by=By(seconds=120, returns=True, trace=True),
            hold_for=60,
        )
        self.assertEqual(
            envelope_fields(wishes, 1000.0),
            {
                "smtputf8": True,
                "require_tls": True,
                "ret": "HDRS",
                "envid": "QQ",
                "deliver_by": DeliverBy(at=1120.0, mode="R", trace=True),
                "not_before": 1060.0,
            },
        )

    def test_times(self) -> None:
        """A time that is over puts a message off, or a deadline is counted wrongly."""
        for wishes, deliver_by, not_before in (
            (Wishes(), None, None),
            (Wishes(hold_until=1500.0), None, 1500.0),
            (Wishes(hold_until=999.0), None, None),
            (Wishes(by=By(seconds=-5, returns=False)), DeliverBy(at=995.0, mode="N"), None),
        ):
            fields = envelope_fields(wishes, 1000.0)
            self.assertEqual((fields["deliver_by"], fields["not_before"]), (deliver_by, not_before))
