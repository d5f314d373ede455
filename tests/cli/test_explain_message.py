"""``mailframe explain --message``."""

from __future__ import annotations

import time
from typing import Any

import attrs

from mailframe import assembly
from mailframe.address import Address
from mailframe.cli.parts import with_storage
from mailframe.entry import Event, QueuedRecipient, Ready, Step
from mailframe.envelope import Client, Envelope, Recipient
from mailframe.interfaces import IQueueStorage
from mailframe.outcome import Permit
from mailframe.reply import Reply
from mailframe.settings import load
from tests.cli.commands import CommandCase
from tests.cli.explaining import Resolver

ANGELO = Address.parse("angelo@rosse.example")
INFO = Address.parse("info@rosse.example")
JSMITH = Address.parse("jsmith@mindspring.com")
EVIDENCE = Permit(
    reason="angelo@rosse.example is a customer of rosse", rule="login", plugin="providers"
)
CLIENT = Client(
    server="submission",
    protocol="submission",
    address="192.0.2.1",
    helo="pc.example",
    login="angelo@rosse.example",
)
BUSY = Reply(451, "4.3.2", "too busy")


class MessageCase(CommandCase):
    """A queue with a message in it, and DNS in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(assembly, "make_resolver", lambda *_: Resolver())
        self.configure("[queue]", "[relay]\nallow_private = true\n\n[queue]")
        self.add_account()

    def in_storage(self, act: Any) -> Any:
        return with_storage(load(self.config), act, makes=True)

    def put(self, *recipients: Address, **changes: Any) -> str:
        """A message in the queue; its id."""
        envelope = Envelope(
            sender=ANGELO,
            recipients=tuple(
                Recipient(address=each, evidence=attrs.evolve(EVIDENCE, provider="rosse"))
                for each in recipients
            ),
            client=CLIENT,
            arrived=time.time(),
        )

        async def act(storage: IQueueStorage) -> str:
            sink = storage.receive(attrs.evolve(envelope, **changes))
            sink.write(b"Subject: x\r\n\r\nHello!\r\n")
            await sink.commit()
            return sink.id

        id: str = self.in_storage(act)
        return id

    def settle(
        self, recipients: tuple[QueuedRecipient, ...], *events: Event, last: bool = False
    ) -> None:
        """Record one attempt at the message that is due."""
        now = time.time()

        async def act(storage: IQueueStorage) -> None:
            (entry,) = await storage.claim("test", now, 1, now + 60)
            step = Step(
                recipients=recipients,
                next_attempt=None if last else now + 900,
                warned=False,
                events=events,
            )
            await storage.settle(entry.id, "test", step, [])

        self.in_storage(act)

    def explain(self, id: str, status: int = 0) -> Any:
        return self.document("explain", "--message", id, status=status)


class Waiting(MessageCase):
    """What is said of a message that is in the queue."""

    def test_before_the_first_attempt(self) -> None:
        """Nobody could see why a message was let in, which way it takes and when."""
        document = self.explain(self.put(JSMITH))
        self.assertEqual(document["sender"], str(ANGELO))
        self.assertEqual(document["client"]["login"], str(ANGELO))
        (recipient,) = document["recipients"]
        self.assertIs(recipient["authorised"], True)
        self.assertEqual(recipient["authorisation"]["reason"], EVIDENCE.reason)
        self.assertEqual(recipient["authorisation"]["rule"], "login")
        self.assertEqual(recipient["authorisation"]["provider"], "rosse")
        self.assertEqual(recipient["state"], "pending")
        self.assertIsNone(recipient["settled"])
        route = recipient["route"]
        self.assertEqual(route["kind"], "relay")
        self.assertEqual(route["hosts"], ["mx1.mindspring.com", "mx2.mindspring.com"])
        self.assertEqual(route["hops"][0]["servers"][0]["address"], "198.51.100.1")
        self.assertEqual(recipient["destinations"][0]["route"], route)
        self.assertEqual(recipient["destinations"][0]["rules"][-1]["rule"], "no rule")
        retry = recipient["retry"]
        self.assertEqual(len(retry["next_attempts"]), 8)
        self.assertEqual(retry["next_attempts"], sorted(set(retry["next_attempts"])))
        self.assertLess(retry["warn_at"], retry["give_up_at"])

    def test_after_an_attempt(self) -> None:
        """Nobody could see what was tried before, and with what result."""
        id = self.put(JSMITH)
        reason = {"reason": "to its mail exchangers", "plugin": "table"}
        where = "mx1.mindspring.com [198.51.100.1]:25"
        now = time.time()
        self.settle(
            (QueuedRecipient(address=JSMITH, attempts=1, last_reply=BUSY, where=where),),
            Event(at=now, kind="routed", recipient=JSMITH, **reason),
            Event(at=now, kind="postponed", recipient=JSMITH, reply=BUSY, where=where, **reason),
        )
        document = self.explain(id)
        (recipient,) = document["recipients"]
        self.assertEqual(recipient["attempts"], 1)
        self.assertEqual(recipient["last_reply"], "451 4.3.2 too busy")
        self.assertEqual([e["event"] for e in recipient["history"]], ["routed", "postponed"])
        self.assertEqual(recipient["history"][1]["where"], where)
        self.assertEqual(recipient["retry"]["next_attempts"][0], recipient["next_attempt"])
        text = self.run_here("explain", "--message", id).stdout
        self.assertIn("tried once", text)
        self.assertIn(f"postponed: {where} 451 4.3.2 too busy; to its mail exchangers", text)
        self.assertIn(f"{EVIDENCE.reason} (providers login)", text)
        self.assertIn("mx1.mindspring.com [198.51.100.1]:25\n", text)
        self.assertIn("given up", text)

    def test_changed_route(self) -> None:
        """An operator could not see whether a changed table takes what is queued along."""
        id = self.put(JSMITH)
        self.configure(
            "[queue]",
            '[[routing.rule]]\nname = "far"\nsize = "<1MB"\nproviders = ["rosse"]\n'
            'via = "tcp:127.0.0.1:2600"\n\n[queue]',
        )
        (recipient,) = self.explain(id)["recipients"]
        self.assertEqual(recipient["route"]["rule"], "far")
        self.assertEqual(recipient["route"]["hosts"], ["tcp:127.0.0.1:2600"])

    def test_waits_for_hours(self) -> None:
        """Mail that waits for its hours would be said to be tried at times at which nothing is,
        such as when its warning is due."""
        opens = time.gmtime(time.time() + 12 * 3600)
        hours = f"{time.strftime('%H:00', opens)}-{time.strftime('%H:01', opens)} UTC"
        self.configure(
            "[queue]",
            f'[[routing.rule]]\nhours = "{hours}"\noutside_hours = "wait"\n'
            'via = "mx"\nretry = { first = "30m", jitter = 0, factor = 1 }\n\n[queue]',
        )
        id = self.put(JSMITH)
        self.settle((QueuedRecipient(address=JSMITH, throttled=time.time()),))
        retry = self.explain(id)["recipients"][0]["retry"]
        self.assertEqual(
            retry["next_attempts"][:2],
            [time.strftime(f"%Y-%m-%dT%H:{minute}:00Z", opens) for minute in ("00", "30")],
        )
        self.assertLess(retry["warn_at"], retry["next_attempts"][0])

    def test_nobody_is_warned(self) -> None:
        """A warning would be announced that nobody gets."""
        self.assertIsNotNone(self.explain(self.put(JSMITH))["recipients"][0]["retry"]["warn_at"])
        never = Recipient(address=JSMITH, evidence=EVIDENCE, notify=("NEVER",))
        for changes in ({"sender": None}, {"recipients": (never,)}):
            retry = self.explain(self.put(JSMITH, **changes))["recipients"][0]["retry"]
            self.assertIsNone(retry["warn_at"])

    def test_waits_of_an_alias(self) -> None:
        """The waits would be said to be others than those of the rule by which the mail goes."""
        self.run_here("account", "alias", str(INFO), str(JSMITH))
        self.configure(
            "[queue]",
            '[[routing.rule]]\nrecipients = ["*@mindspring.com"]\nvia = "mx"\n'
            'retry = { first = "30m", factor = 1 }\n\n[queue]',
        )
        retry = self.explain(self.put(INFO))["recipients"][0]["retry"]
        self.assertEqual(retry["waits"]["first"], 1800)

    def test_settled_and_redirected(self) -> None:
        """A message to several would look as if all of them waited."""
        id = self.put(INFO, ANGELO)
        ok = Reply(250, "2.0.0", "ok")
        now = time.time()
        self.settle(
            (
                QueuedRecipient(address=INFO, state="redirected", attempts=1),
                QueuedRecipient(
                    address=ANGELO, state="delivered", attempts=1, last_reply=ok, where="angelo"
                ),
                QueuedRecipient(address=JSMITH, parent=0),
            ),
            Event(at=now, kind="redirected", recipient=INFO, reason="an alias"),
            Event(at=now, kind="delivered", recipient=ANGELO, reply=ok, where="angelo"),
        )
        info, angelo, jsmith = self.explain(id)["recipients"]
        self.assertIsNone(info["route"])
        self.assertEqual(info["destinations"], [])
        self.assertEqual(angelo["state"], "delivered")
        self.assertRegex(angelo["settled"], r"\dZ$")
        self.assertEqual(jsmith["redirected_from"], str(INFO))
        self.assertEqual(jsmith["authorisation"]["reason"], EVIDENCE.reason)
        self.assertEqual(jsmith["route"]["kind"], "relay")
        text = self.run_here("explain", "--message", id).stdout
        self.assertRegex(text, f"instead of +{INFO}")
        self.assertIn("delivered, tried once", text)

    def test_alias(self) -> None:
        """Nobody could see whom a message for an alias goes to."""
        self.run_here("account", "alias", str(INFO), str(ANGELO), str(JSMITH))
        (recipient,) = self.explain(self.put(INFO))["recipients"]
        self.assertEqual(recipient["route"]["kind"], "redirect")
        self.assertEqual(recipient["aliases"][0]["addresses"], [str(ANGELO), str(JSMITH)])
        self.assertEqual(
            [each["route"]["kind"] for each in recipient["destinations"]], ["local", "relay"]
        )

    def test_forwarded(self) -> None:
        """The reverse-path shown would be another than the one that is told."""
        with open(self.path("srs.secret"), "w") as file:
            file.write("0123456789abcdef")
        self.configure(
            "[queue]",
            '[routing.srs]\ndomain = "rosse.example"\nsecret_file = "srs.secret"\n\n[queue]',
        )
        blu = Address.parse("a@blu.example")
        id = self.put(INFO, sender=blu)
        self.settle(
            (
                QueuedRecipient(address=INFO, state="redirected", attempts=1),
                QueuedRecipient(address=JSMITH, parent=0),
            )
        )
        route = self.explain(id)["recipients"][1]["route"]
        self.assertTrue(route["reverse_path"].endswith("=blu.example=a@rosse.example"))

    def test_cut_off(self) -> None:
        """What lies beside a mailbox already would be said to go elsewhere."""
        id = self.put(JSMITH)
        ready = Ready(mailbox=ANGELO, since=0, where="somewhere")
        self.settle((QueuedRecipient(address=JSMITH, ready=ready),))
        route = self.explain(id)["recipients"][0]["route"]
        self.assertEqual(route["mailbox"], str(ANGELO))
        self.assertIn("cut off", route["reason"])
        self.assertEqual(route["plugin"], "maildir")

    def test_required_tls(self) -> None:
        """A message that must not go in clear would seem to do so."""
        id = self.put(JSMITH, require_tls=True)
        (hop,) = self.explain(id)["recipients"][0]["route"]["hops"]
        self.assertEqual(hop["tls"], "verify")

    def test_held(self) -> None:
        """Times would be shown of attempts that are not made."""
        id = self.put(JSMITH)
        self.run_here("queue", "hold", id)
        document = self.explain(id)
        self.assertIs(document["held"], True)
        self.assertEqual(document["recipients"][0]["retry"]["next_attempts"], [])
        self.assertIn(f"queue release {id}", self.run_here("explain", "--message", id).stdout)

    def test_refused_now(self) -> None:
        """A script could not tell that a changed table would bounce what waits."""
        id = self.put(JSMITH)
        self.configure("[queue]", '[[routing.rule]]\nvia = "reject:not here"\n\n[queue]')
        (recipient,) = self.explain(id, status=1)["recipients"]
        self.assertEqual(recipient["route"]["reply"], "550 5.7.1 not here")

    def test_notice(self) -> None:
        """A notice of our own, which no client sent, could not be explained."""
        id = self.put(ANGELO, sender=None, client=None)
        self.assertIsNone(self.explain(id)["client"])
        text = self.run_here("explain", "--message", id).stdout
        self.assertIn("ourselves", text)
        self.assertIn("into the mailbox", text)


class NotThere(MessageCase):
    """What can't be explained."""

    def test_left(self) -> None:
        """Somebody who is a moment late would be told that there never was such a message."""
        id = self.put(JSMITH)
        relayed = QueuedRecipient(address=JSMITH, state="relayed", attempts=1)
        self.settle((relayed,), Event(at=time.time(), kind="relayed"), last=True)
        result = self.run_here("explain", "--message", id, status=1)
        self.assertIn(f"{id} left the queue at 20", result.stderr)
        self.assertIn(f"mailframe trace {id}", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_unknown(self) -> None:
        """A mistyped id would end in a traceback."""
        for id in ("zzz", "../../etc"):
            result = self.run_here("explain", "--message", id, status=1)
            self.assertIn("no message", result.stderr)

    def test_misuse(self) -> None:
        """Options that say nothing of a queued message would seem to matter."""
        for more in (("--server", "mx"), (str(ANGELO), str(JSMITH))):
            result = self.run_here("explain", "--message", "zzz", *more, status=2)
            self.assertIn("takes nothing besides", result.stderr)
        for given in ((), ("--server", "mx", "--from-ip", "192.0.2.1", str(ANGELO))):
            self.assertIn("--message ID", self.run_here("explain", *given, status=2).stderr)
