"""The JSON documents that ``--json`` and the console show."""

from __future__ import annotations

import json
import re
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.address import Address
from mailframe.documents import (
    entry_details,
    entry_document,
    queue_document,
    time_text,
    trace_document,
)
from mailframe.entry import Entry, Event, QueuedRecipient
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.outcome import Permit
from mailframe.reply import Reply

ANGELO = Address("angelo", "demo.example")
JSMITH = Address("jsmith", "mindspring.com")
PERMIT = Permit(reason="login is a customer", rule="accounts", plugin="providers", provider="rosse")
ARRIVED = 1_700_000_000.0  # 2023-11-14T22:13:20Z


def an_entry(**changes: object) -> Entry:
    """A message to one recipient whose first attempt failed and to one that was delivered."""
    client = Client(server="mx", protocol="smtp", address="192.0.2.1", login="angelo@demo.example")
    values: dict[str, object] = {
        "id": "abc123",
        "envelope": Envelope(
            sender=ANGELO,
            recipients=(
                Recipient(address=JSMITH, evidence=PERMIT),
                Recipient(address=ANGELO, evidence=PERMIT),
            ),
            client=client,
            arrived=ARRIVED,
        ),
        "size": 321,
        "recipients": (
            QueuedRecipient(
                address=JSMITH, attempts=1, last_reply=Reply(451, "4.4.1", "try later"), where="mx"
            ),
            QueuedRecipient(address=ANGELO, state="delivered", attempts=1),
        ),
        "next_attempt": ARRIVED + 900,
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]  # a bag of changes for a test


class QueueDocument(SynchronousTestCase):
    """The document of ``queue list --json`` and of ``/api/queue``."""

    def test_exact_shape(self) -> None:
        """Scripts that read the queue would break if a key or a form changed."""
        self.assertEqual(
            queue_document([an_entry()]),
            {
                "messages": [
                    {
                        "id": "abc123",
                        "sender": "angelo@demo.example",
                        "size": 321,
                        "arrived": "2023-11-14T22:13:20Z",
                        "held": False,
                        "recipients": [
                            {
                                "address": "jsmith@mindspring.com",
                                "state": "pending",
                                "attempts": 1,
                                "next_attempt": "2023-11-14T22:28:20Z",
                                "last_reply": "451 4.4.1 try later",
                            },
                            {
                                "address": "angelo@demo.example",
                                "state": "delivered",
                                "attempts": 1,
                                "next_attempt": None,
                                "last_reply": None,
                            },
                        ],
                    }
                ]
            },
        )

    def test_null_reverse_path_is_null(self) -> None:
        """A bounce would be taken for mail from an address named ``<>``."""
        envelope = Envelope(
            sender=None,
            recipients=(Recipient(address=JSMITH, evidence=PERMIT),),
            client=None,
            arrived=ARRIVED,
        )
        document = entry_document(an_entry(envelope=envelope))
        self.assertIsNone(document["sender"])
        self.assertIsNone(entry_details(an_entry(envelope=envelope))["client"])


class Details(SynchronousTestCase):
    """The document of ``queue show --json``."""

    def test_tells_who_let_it_in(self) -> None:
        """The evidence of an authorisation would be stored but never seen."""
        shown = entry_details(an_entry())["recipients"][0]
        self.assertEqual(
            shown["evidence"],
            {
                "reason": "login is a customer",
                "rule": "accounts",
                "plugin": "providers",
                "provider": "rosse",
            },
        )
        self.assertEqual(shown["where"], "mx")

    def test_redirected_recipient_names_its_origin(self) -> None:
        """Nobody could see by which alias a recipient came in."""
        target = QueuedRecipient(address=Address("x", "y.example"), parent=1)
        entry = an_entry(recipients=(*an_entry().recipients, target))
        shown = entry_details(entry)["recipients"][2]
        self.assertEqual(shown["redirected_from"], "angelo@demo.example")
        self.assertNotIn("evidence", shown)

    def test_client(self) -> None:
        """The submitting client could not be found out."""
        client = entry_details(an_entry())["client"]
        self.assertEqual(client["address"], "192.0.2.1")
        self.assertEqual(client["login"], "angelo@demo.example")


class TraceDocument(SynchronousTestCase):
    """The document of ``trace --json`` and of ``/api/message/ID``."""

    def test_after_the_message_left(self) -> None:
        """The history of a message that was delivered would be lost to its users."""
        event = Event(
            at=ARRIVED,
            kind="postponed",
            recipient=JSMITH,
            where="mx.example [192.0.2.7]:25",
            reply=Reply(450, "4.2.0", "greylisted"),
            next_attempt=ARRIVED + 900,
        )
        document = trace_document("abc123", None, [event])
        self.assertEqual(document["queued"], False)
        self.assertIsNone(document["message"])
        self.assertEqual(
            document["events"],
            [
                {
                    "at": "2023-11-14T22:13:20Z",
                    "event": "postponed",
                    "recipient": "jsmith@mindspring.com",
                    "reason": "",
                    "rule": "",
                    "plugin": "",
                    "where": "mx.example [192.0.2.7]:25",
                    "reply": "450 4.2.0 greylisted",
                    "next_attempt": "2023-11-14T22:28:20Z",
                }
            ],
        )

    def test_is_json(self) -> None:
        """A value that is no JSON would end a command in a traceback."""
        event = Event(at=ARRIVED, kind="accepted")
        text = json.dumps(trace_document("abc123", an_entry(), [event]))
        self.assertEqual(json.loads(text)["message"]["id"], "abc123")


class Times(SynchronousTestCase):
    """RFC 3339 in UTC."""

    @settings(deadline=None, max_examples=50)
    @given(st.floats(min_value=0, max_value=4e9))
    def test_can_be_read_back(self, at: float) -> None:
        """A script that computes with the times would be off or fail."""
        text = time_text(at)
        self.assertTrue(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text))
        self.assertLessEqual(abs(datetime.fromisoformat(text).timestamp() - at), 1.0)
