"""The local delivery agent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from email import message_from_bytes

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailframe.address import Address
from mailframe.delivery.maildir import MaildirAgent, MaildirSettings, build
from mailframe.delivery.maildir_deliveries import SMALL, SWEPT
from mailframe.delivery.maildir_layout import Layout, LayoutError
from mailframe.entry import Ready
from mailframe.guard import PluginFault, as_deferred
from mailframe.interfaces import (
    IContent,
    IDeliveryAgent,
    IMailboxStore,
    Job,
    LeaseLost,
    MailboxInUse,
    StorageFault,
)
from mailframe.outcome import Delivered, Local, Outcome, Postponed, Refused
from mailframe.settings_reader import read_table
from mailframe.testing.contents import FakeContent
from mailframe.testing.contracts.delivery import DeliveryAgentContract
from mailframe.testing.faulty_files import FaultyFiles
from mailframe.testing.samples import make_envelope, make_job
from mailframe.testing.site import make_site
from mailframe.testing.threads import in_thread
from mailframe.units import FilePath
from mailframe.wire.data import DataDecoder, DataEncoder

MARY = Address("mary", "here.example")
BOB = Address("bob", "here.example")
CONTENT = b"Subject: lunch\r\n\r\nAt one?\r\n.\r\n"
LARGE = b"Subject: much\r\n\r\n" + b"0123456789abcdef\r\n" * (SMALL // 10)


def messages(root: str, mailbox: Address) -> dict[str, bytes]:
    """What is in a mailbox, by folder and name."""
    found = {}
    for folder in ("new", "cur"):
        path = os.path.join(root, mailbox.domain, mailbox.local_part, folder)
        for name in os.listdir(path) if os.path.isdir(path) else ():
            with open(os.path.join(path, name), "rb") as file:
                found[f"{folder}/{name}"] = file.read()
    return found


class ContractTests(DeliveryAgentContract, SynchronousTestCase):
    """What the server relies upon."""

    def make_agent(self) -> IDeliveryAgent:
        self.root = os.path.abspath(self.mktemp())
        settings = MaildirSettings(path=FilePath(self.root + "/{domain}/{mailbox}"))
        return build(settings, make_site(state_dir=self.mktemp(), reactor=self.reactor))

    def delivered(self, recipient: Address) -> list[bytes] | None:
        return [m.replace(b"\n", b"\r\n") for m in messages(self.root, recipient).values()]


class AgentCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        self.files = FaultyFiles(self.root)
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.contents: list[FakeContent] = []
        self.recorded: dict[tuple[str, int], Ready | None] = {}
        self.record_trouble: Exception | None = None
        self.restart()

    def restart(self) -> None:
        self.agent = MaildirAgent(
            layout=Layout(self.root + "/{domain}/{mailbox}", many_domains=True),
            hostname="mx.here.example",
            in_thread=self.in_thread,
            clock=self.clock,
            files=self.files,
        )

    def in_thread(self, function: object, *args: object) -> Deferred[object]:
        return in_thread(function, *args)  # type: ignore[arg-type]

    def job(
        self,
        *recipients: Address,
        content: bytes = CONTENT,
        id: str = "q1",
        sender: Address | None = BOB,
        attempt: int = 0,
        mailboxes: Sequence[Address] = (),
        arrived: float | None = None,
        fails_after: int | None = None,
    ) -> Job:
        async def open_content() -> IContent:
            self.contents.append(FakeContent(content, fails_after=fails_after))
            return self.contents[-1]

        async def record_ready(ready: Mapping[int, Ready | None]) -> None:
            if self.record_trouble is not None:
                raise self.record_trouble
            self.recorded.update(((id, index), record) for index, record in ready.items())

        return make_job(
            tuple(Local(mailbox=mailbox, reason="r") for mailbox in mailboxes or recipients),
            recipients,
            open_content,
            envelope=make_envelope(
                *recipients,
                sender=sender,
                arrived=self.clock.seconds() if arrived is None else arrived,
            ),
            id=id,
            size=len(content),
            attempt=attempt,
            ready=tuple(self.recorded.get((id, index)) for index in range(len(recipients))),
            record_ready=record_ready,
        )

    def deliver(self, job: Job) -> Sequence[Outcome]:
        delivering = as_deferred(self.agent.deliver(job))
        self.clock.pump([0, 0])  # a round to prepare it, and one to put it in place
        outcomes = self.successResultOf(delivering)
        self.agent.stopService()
        self.assertEqual(self.files.opened, set())
        self.assertEqual([content.closed for content in self.contents], [1] * len(self.contents))
        return outcomes

    def deliver_one(self, job: Job) -> Outcome:
        (outcome,) = self.deliver(job)
        return outcome


class DeliverTests(AgentCase):
    """What lies in the mailbox afterwards."""

    def test_interfaces(self) -> None:
        """The server can't find out that the mailboxes can be read."""
        verifyObject(IDeliveryAgent, self.agent)
        verifyObject(IMailboxStore, self.agent)

    def test_message(self) -> None:
        """A reader finds our headers, the very content, and the sizes in the name."""
        outcome = self.deliver_one(self.job(MARY))
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual(outcome.where, "mary@here.example")
        ((name, octets),) = messages(self.root, MARY).items()
        head = b"Return-Path: <bob@here.example>\nDelivered-To: mary@here.example\n"
        self.assertEqual(octets, head + CONTENT.replace(b"\r\n", b"\n"))
        lines = octets.count(b"\n")
        self.assertRegex(
            name,
            rf"\Anew/1700000000\.Qq1R[0-9a-f]{{16}}\.mx\.here\.example"
            rf",S={len(octets)},W={len(octets) + lines}\Z",
        )

    def test_large(self) -> None:
        """A message too large for memory arrives as well, and has the same form of name."""
        self.deliver(self.job(MARY, BOB, content=LARGE))
        for mailbox in (MARY, BOB):
            ((name, octets),) = messages(self.root, mailbox).items()
            self.assertTrue(octets.endswith(LARGE.replace(b"\r\n", b"\n")))
            self.assertEqual(octets.count(b"\n"), LARGE.count(b"\n") + 2)
            lines = octets.count(b"\n")
            self.assertTrue(name.endswith(f",S={len(octets)},W={len(octets) + lines}"))
            encoder, decoder = DataEncoder(), DataDecoder()
            fetched = decoder.decode(encoder.encode(octets) + encoder.finish())
            self.assertTrue(fetched.endswith(LARGE))

    def test_large_is_held_in_pieces(self) -> None:
        """A message of gigabytes takes gigabytes of memory."""
        self.deliver(self.job(MARY, content=LARGE * 3))
        self.assertTrue(0 < self.files.largest < 2 * SMALL)

    def test_recipients(self) -> None:
        """Each recipient gets a copy; one named twice gets one, and both are told."""
        outcomes = self.deliver(self.job(MARY, BOB, MARY))
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 3)
        self.assertEqual([len(messages(self.root, m)) for m in (MARY, BOB)], [1, 1])

    def test_mailbox_of_another_name(self) -> None:
        """Mail for another address of an account is put into the account's mailbox."""
        tagged = Address("mary+list", "here.example")
        self.deliver(self.job(tagged, mailboxes=(MARY,)))
        (octets,) = messages(self.root, MARY).values()
        self.assertIn(b"Delivered-To: mary+list@here.example\n", octets)

    def test_loop(self) -> None:
        """A message that a forwarding brings back again and again is not stopped."""
        looped = b"Delivered-To: mary@here.example\r\n" + CONTENT
        for content in (looped, b"Delivered-To: mary@here.example\r\n" + LARGE):
            mary, bob = self.deliver(self.job(MARY, BOB, content=content, id=f"q{len(content)}"))
            self.assertIsInstance(mary, Refused)
            self.assertEqual(str(mary.reply)[:10], "554 5.4.6 ")
            self.assertIsInstance(bob, Delivered)
        self.assertEqual(messages(self.root, MARY), {})

    def test_binary(self) -> None:
        """An attachment that was sent as it is has other octets when it is fetched (RFC 3030)."""
        header = b"MIME-Version: 1.0\r\nContent-Type: image/x-raw\r\n"
        header += b"Content-Transfer-Encoding: binary\r\n\r\n"
        for octets in (b"\0\r\r\n\n\xff", b"\n" * (SMALL + 1)):
            job = self.job(MARY, content=header + octets, id=f"q{len(octets)}")
            job = attrs.evolve(job, envelope=attrs.evolve(job.envelope, body="BINARYMIME"))
            self.assertIsInstance(self.deliver_one(job), Delivered)
            (kept,) = messages(self.root, MARY).values()
            parsed = message_from_bytes(kept)
            self.assertEqual(parsed.get_payload(decode=True), octets)
            shutil.rmtree(self.root)
            self.restart()

    def test_binary_that_is_signed(self) -> None:
        """A signature is broken, or an attachment damaged, and nobody is told."""
        content = (
            b'MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary="b"\r\n\r\n'
            b"--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\0\r\n--b--\r\n"
        )
        job = self.job(MARY, content=content)
        job = attrs.evolve(job, envelope=attrs.evolve(job.envelope, body="BINARYMIME"))
        outcome = self.deliver_one(job)
        assert isinstance(outcome, Refused)
        self.assertEqual((outcome.reply.code, outcome.reply.status), (554, "5.6.2"))

    def test_hostile_account(self) -> None:
        """An account's name puts mail outside the folder of mailboxes."""
        hostile = Address("../../../../tmp/x", "here.example")
        self.assertIsInstance(self.deliver_one(self.job(hostile)), Delivered)
        self.assertEqual(os.listdir(self.root + "/here.example"), ["%2E.%2F..%2F..%2F..%2Ftmp%2Fx"])


class RepeatTests(AgentCase):
    """An attempt after one that was cut off: each message comes once, whatever readers do."""

    def mailbox(self, folder: str) -> list[str]:
        path = f"{self.root}/here.example/mary/{folder}"
        return os.listdir(path) if os.path.isdir(path) else []

    def test_cut_off_before_the_record(self) -> None:
        """A copy that was written but not recorded is lost, or comes beside the next one."""
        for content in (CONTENT, LARGE):
            id = f"q{len(content)}"
            before = len(messages(self.root, MARY))
            for trouble in (StorageFault("disk"), LeaseLost(id), PluginFault("sqlite", "hangs")):
                self.record_trouble = trouble
                outcome = self.deliver_one(self.job(MARY, content=content, id=id))
                self.assertIsInstance(outcome, Postponed)
                self.assertEqual(len(messages(self.root, MARY)), before)
            self.record_trouble = None
            self.restart()
            job = self.job(MARY, content=content, id=id, attempt=3)
            self.assertIsInstance(self.deliver_one(job), Delivered)
            self.assertEqual(len(messages(self.root, MARY)), before + 1)

    def test_cut_off_before_it_was_placed(self) -> None:
        """A copy that was recorded but not placed is lost, or written anew."""
        for content in (CONTENT, LARGE):
            id = f"q{len(content)}"
            self.files.fail("rename", errno.EIO)
            job = self.job(MARY, content=content, id=id)
            self.assertIsInstance(self.deliver_one(job), Postponed)
            self.assertEqual(len(self.mailbox("tmp")), 1)
            self.assertIsNotNone(self.recorded[id, 0])
            self.restart()
            before = self.files.count("write")
            job = self.job(MARY, content=content, id=id)
            self.assertIsInstance(self.deliver_one(job), Delivered)
            self.assertEqual(self.files.count("write"), before)
            self.assertEqual(self.mailbox("tmp"), [])
        found = list(messages(self.root, MARY).values())
        self.assertEqual(sorted(len(f) > SMALL for f in found), [False, True])

    def test_cut_off_after_it_was_placed(self) -> None:
        """The message comes twice: still there, seen, or deleted by its reader."""
        for fate in ("stays", "is seen", "is deleted"):
            for content in (CONTENT, LARGE):
                id = fate.replace(" ", "") + str(len(content))
                self.deliver(self.job(MARY, content=content, id=id))
                (name,) = self.mailbox("new")
                path = f"{self.root}/here.example/mary/"
                if fate == "is seen":
                    os.rename(path + "new/" + name, path + "cur/" + name + ":2,S")
                elif fate == "is deleted":
                    os.unlink(path + "new/" + name)
                before = messages(self.root, MARY)
                self.restart()
                self.files.calls.clear()
                again = self.job(MARY, content=content, id=id)
                self.assertIsInstance(self.deliver_one(again), Delivered)
                self.assertEqual(messages(self.root, MARY), before)
                # Who placed it, or moved it on, may have died before the sync.
                for folder in ("new", "cur"):
                    self.assertIn(("fsync", f"here.example/mary/{folder}"), self.files.calls)
                for folder in ("new", "cur"):
                    for name in self.mailbox(folder):
                        os.unlink(path + folder + "/" + name)

    def test_the_other_recipients(self) -> None:
        """Those for whom nothing was begun get nothing, or those who have it get it again."""
        self.deliver(self.job(MARY, id="q1"))
        outcomes = self.deliver(self.job(MARY, BOB, id="q1"))
        self.assertEqual([type(outcome) for outcome in outcomes], [Delivered] * 2)
        self.assertEqual([len(messages(self.root, m)) for m in (MARY, BOB)], [1, 1])

    def test_mail_goes_elsewhere_by_now(self) -> None:
        """A route that changed after the crash makes the message come into two mailboxes."""
        self.files.fail("rename", errno.EIO)
        self.deliver(self.job(MARY))
        outcome = self.deliver_one(self.job(MARY, mailboxes=(BOB,)))
        self.assertIsInstance(outcome, Delivered)
        self.assertEqual([len(messages(self.root, m)) for m in (MARY, BOB)], [1, 0])

    def test_somebody_removed_it(self) -> None:
        """A copy that vanished from tmp before it was placed counts as delivered."""

        def sweep(operation: str) -> None:
            if operation == "rename":
                (name,) = self.mailbox("tmp")
                os.unlink(f"{self.root}/here.example/mary/tmp/{name}")

        self.files.before = sweep
        self.assertIsInstance(self.deliver_one(self.job(MARY)), Postponed)
        self.assertIsNone(self.recorded["q1", 0])
        self.files.before = lambda operation: None
        self.assertIsInstance(self.deliver_one(self.job(MARY)), Delivered)
        self.assertEqual(len(messages(self.root, MARY)), 1)

    def test_down_for_days(self) -> None:
        """Another program swept tmp while the server was down, and the message is lost."""
        self.deliver(self.job(MARY))
        (name,) = messages(self.root, MARY)
        self.clock.advance(SWEPT)
        self.restart()
        self.assertIsInstance(self.deliver_one(self.job(MARY, arrived=1_700_000_000.0)), Delivered)
        self.assertEqual(list(messages(self.root, MARY)), [name])
        os.unlink(f"{self.root}/here.example/mary/{name}")
        self.assertIsInstance(self.deliver_one(self.job(MARY, arrived=1_700_000_000.0)), Delivered)
        self.assertEqual(list(messages(self.root, MARY)), [name])

    def test_another_folder_lies_there(self) -> None:
        """Mail is lost when its disk is not mounted after a crash, or the path was changed."""
        for content in (CONTENT, LARGE):
            id = f"q{len(content)}"
            path = f"{self.root}/here.example/mary"
            self.files.fail("rename", errno.EIO)
            self.assertIsInstance(
                self.deliver_one(self.job(MARY, content=content, id=id)), Postponed
            )
            os.rename(path, f"{path}-{id}")
            self.restart()
            repeated = self.job(MARY, content=content, id=id)
            self.assertIsInstance(self.deliver_one(repeated), Postponed)
            self.assertIsNone(self.recorded[id, 0])
            self.assertIsInstance(
                self.deliver_one(self.job(MARY, content=content, id=id)), Delivered
            )
            self.assertEqual(len(messages(self.root, MARY)), 1)
            os.rename(path, f"{path}-{id}-also")

    def test_folder_was_copied(self) -> None:
        """A mailbox that was moved to another disk gets twice what it has."""
        self.deliver(self.job(MARY))
        path = f"{self.root}/here.example/mary"
        shutil.copytree(path, f"{path}-copy")
        os.rename(path, f"{path}-before")
        os.rename(f"{path}-copy", path)
        self.restart()
        self.assertIsInstance(self.deliver_one(self.job(MARY)), Delivered)
        self.assertEqual(len(messages(self.root, MARY)), 1)

    def test_older_record(self) -> None:
        """What an earlier version of the server had begun is delivered a second time."""
        self.deliver(self.job(MARY))
        ready = self.recorded["q1", 0]
        assert ready is not None
        self.recorded["q1", 0] = attrs.evolve(ready, where=ready.where.rpartition("/")[0])
        self.restart()
        self.assertIsInstance(self.deliver_one(self.job(MARY)), Delivered)
        self.assertEqual(len(messages(self.root, MARY)), 1)

    def test_never_looks_through_the_mailbox(self) -> None:
        """Each delivery costs a listing of a mailbox with a hundred thousand messages."""
        for attempt in (0, 1):
            self.deliver(self.job(MARY, id="q1", attempt=attempt))
        self.assertEqual(self.files.count("entries") + self.files.count("names"), 0)


class FaultTests(AgentCase):
    """What goes wrong is temporary, and said in words that tell nothing of the inside."""

    def postponed(self, outcome: Outcome) -> str:
        self.assertIsInstance(outcome, Postponed)
        self.assertEqual(outcome.where, "mary@here.example")
        text = str(outcome.reply)
        self.assertNotIn(self.root, text)
        self.assertNotIn("rrno", text)
        return text[:9]

    def test_faults_of_the_disk(self) -> None:
        """A full disk or a broken one makes mail bounce."""
        for number, code in (
            (errno.ENOSPC, "452 4.3.1"),
            (errno.EDQUOT, "452 4.2.2"),
            (errno.EIO, "451 4.3.0"),
            (errno.EMFILE, "451 4.3.0"),
            (errno.EROFS, "451 4.3.0"),
        ):
            for content in (CONTENT, LARGE):
                job = self.job(MARY, content=content, id=f"q{number}x{len(content)}")
                self.files.fail("write", number)
                self.assertEqual(self.postponed(self.deliver_one(job)), code)
                self.assertEqual(messages(self.root, MARY), {})
        self.assertEqual(os.listdir(self.root + "/here.example/mary/tmp"), [])
        self.assertIsInstance(self.deliver_one(self.job(MARY)), Delivered)

    def test_foreign_maildir(self) -> None:
        """Mail for a mailbox that can't be used bounces, or goes where a link leads."""
        os.makedirs(self.root + "/here.example")
        os.symlink("/tmp", self.root + "/here.example/mary")
        for content in (CONTENT, LARGE):
            job = self.job(MARY, BOB, content=content, id=f"q{len(content)}")
            mary, bob = self.deliver(job)
            self.assertEqual(self.postponed(mary), "451 4.2.0")
            self.assertIsInstance(bob, Delivered)

    def test_content_breaks_off(self) -> None:
        """A fault of the queue while a large message is read leaves half a message."""
        outcome = self.deliver_one(self.job(MARY, content=LARGE, fails_after=6))
        self.assertIsInstance(outcome, Postponed)
        self.assertEqual(messages(self.root, MARY), {})
        self.assertEqual(os.listdir(self.root + "/here.example/mary/tmp"), [])

    def test_unexpected_error(self) -> None:
        """A bug makes mail bounce, or stops the queue."""
        job = self.job(MARY, content=LARGE)
        self.files.faults["write", 1] = RuntimeError("a bug")
        self.assertIsInstance(self.deliver_one(job), Postponed)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.files.faults["write", 2] = RuntimeError("a bug")
        self.assertIsInstance(self.deliver_one(self.job(MARY, id="q2")), Postponed)

    def test_abandoning_fails(self) -> None:
        """A fault while cleaning up hides the fault that came first."""
        self.files.fail("write", errno.ENOSPC)
        self.files.faults["unlink", 1] = RuntimeError("a bug")
        outcome = self.deliver_one(self.job(MARY, content=LARGE))
        self.assertEqual(self.postponed(outcome), "452 4.3.1")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class CancelTests(AgentCase):
    """The server does not wait for ever."""

    def setUp(self) -> None:
        self.threads: list[tuple[Deferred[object], object, tuple[object, ...]]] = []
        super().setUp()

    def in_thread(self, function: object, *args: object) -> Deferred[object]:
        done: Deferred[object] = Deferred(lambda _: None)
        self.threads.append((done, function, args))
        return done

    def finish(self) -> None:
        done, function, args = self.threads.pop(0)
        result = function(*args)  # type: ignore[operator]
        if not done.called:
            done.callback(result)

    def test_while_it_begins(self) -> None:
        """A delivery that was given up leaves a file and descriptors behind."""
        delivery = as_deferred(self.agent.deliver(self.job(MARY, content=LARGE)))
        delivery.cancel()
        self.failureResultOf(delivery, CancelledError)
        while self.threads:
            self.finish()
        self.agent.stopService()
        self.assertEqual(self.files.opened, set())
        self.assertEqual(os.listdir(self.root + "/here.example/mary/tmp"), [])
        self.assertEqual(self.contents[0].closed, 1)

    def test_while_it_writes(self) -> None:
        """Likewise when it is half written."""
        delivery = as_deferred(self.agent.deliver(self.job(MARY, content=LARGE)))
        self.finish()
        self.finish()
        delivery.cancel()
        self.failureResultOf(delivery, CancelledError)
        abandon = self.threads.pop()
        self.threads.insert(0, abandon)
        self.finish()
        self.assertRaises(OSError, self.finish)  # the write that comes too late
        self.agent.stopService()
        self.assertEqual(self.files.opened, set())
        self.assertEqual(os.listdir(self.root + "/here.example/mary/tmp"), [])


class BuildTests(AgentCase):
    """From the configuration."""

    def test_refuses_an_ambiguous_path(self) -> None:
        """Two domains' accounts of one name share a mailbox."""
        site = make_site(state_dir="s", local_domains=("a.example", "b.example"))
        settings = MaildirSettings(path=FilePath("/m/{mailbox}"))
        self.assertRaises(LayoutError, build, settings, site)

    def test_refuses_a_useless_path(self) -> None:
        """The mistake is found when mail arrives, and nobody says in which file and key it is."""
        for path, words in (
            ("/m/{user}/{mailbox}", "{user} stands for nothing"),
            ("/m/{mailbox", "brace"),
            ("/m}/{mailbox}", "brace"),
            ("/m/{domain}", "must hold {mailbox}"),
        ):
            error = self.assertRaises(ValueError, MaildirSettings, path=FilePath(path))
            self.assertTrue(str(error).startswith("'path' "), error)
            self.assertIn(words, str(error))

    def test_mistake_is_told_with_its_key(self) -> None:
        """The user has to search for what is wrong in the configuration."""
        values = {"path": "mail/{user}"}
        _, mistakes = read_table(MaildirSettings, {"delivery": values}, ("delivery",), "/", values)
        self.assertEqual([(m.table, m.key) for m in mistakes], [("[delivery]", "path")])
        self.assertIn("{user} stands for nothing", mistakes[0].problem)

    def test_second_domain_while_running(self) -> None:
        """A domain that is added while the server runs shares the mailboxes of the first."""
        self.agent = build(
            MaildirSettings(path=FilePath(self.root + "/{mailbox}")),
            make_site(state_dir="s", reactor=self.clock, local_domains=("here.example",)),
        )
        other = Address("mary", "there.example")
        logged: list[LogEvent] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        for content in (CONTENT, LARGE):
            mary, stranger = self.deliver(self.job(MARY, other, content=content, id=content[9:14]))
            self.assertIsInstance(mary, Delivered)
            self.assertIsInstance(stranger, Postponed)
            self.assertEqual((stranger.reply.code, stranger.reply.status), (451, "4.3.5"))
        self.failureResultOf(as_deferred(self.agent.open_mailbox(other)), StorageFault)
        lines = [event for event in logged if event.get("mailbox") == str(other)]
        self.assertEqual(len(lines), 3)
        mailbox = self.successResultOf(self.agent.open_mailbox(MARY))
        self.assertEqual(len(mailbox.listMessages()), 2)
        mailbox.close()  # type: ignore[attr-defined]  # what the agent opens has more to it

    def test_second_domain_with_a_place_for_it(self) -> None:
        """A domain that is added while the server runs gets no mail although it could."""
        self.agent = build(
            MaildirSettings(path=FilePath(self.root + "/{domain}/{mailbox}")),
            make_site(state_dir="s", reactor=self.clock, local_domains=("here.example",)),
        )
        outcome = self.deliver_one(self.job(Address("mary", "there.example")))
        self.assertIsInstance(outcome, Delivered)

    def test_mailboxes(self) -> None:
        """What is delivered can be read, by one session at a time."""
        self.deliver(self.job(MARY))
        mailbox = self.successResultOf(self.agent.open_mailbox(MARY))
        self.assertEqual(len(mailbox.listMessages()), 1)
        self.failureResultOf(self.agent.open_mailbox(MARY), MailboxInUse)
        mailbox.close()  # type: ignore[attr-defined]
        self.successResultOf(self.agent.open_mailbox(MARY)).close()  # type: ignore[attr-defined]
