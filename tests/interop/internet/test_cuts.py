"""Each link of the chain is cut in turn, at each moment at which that makes a difference."""

from __future__ import annotations

from pathlib import Path

from tests.interop.internet.case import InternetCase
from tests.interop.internet.wires import after_octets, saying
from tests.interop.ourselves import PASSWORD
from tests.interop.programs import maildir

JSMITH = "jsmith@mindspring.example"
WITH_DATA = "smtpd_discard_ehlo_keywords = chunking"  # so that there is a moment before the content


class CutTests(InternetCase):
    """A cut costs a delay; after the final dot it may cost a second copy, of which we tell."""

    def test_each_link(self) -> None:
        """Mail is lost, comes twice or is returned where a link was only cut for a while."""
        self.start_provider(more='\n[limits]\nidle = "2s"\n')
        self.start_carrier(WITH_DATA)
        self.box = self.start_destination()
        self.check_the_resolver()  # first, while our server knows no names
        self.check_the_client()
        self.check_before_connecting()
        self.check_in_the_dialogue(b"250-PIPELINING")
        self.check_in_the_dialogue(b"354 ")
        self.check_a_short_one_after_the_dot()
        self.check_a_long_one_after_the_dot()
        self.check_the_destination()

    # --- the link to the next server -------------------------------------------------------------

    def check_before_connecting(self) -> None:
        """Nobody answers: the message waits, goes when somebody does, and goes once."""
        with self.without("provider", "carrier"):
            name = self.send(JSMITH, subject="before")
            self.wait_until_it_says("4.4.1", "mx.carrier.example [198.51.100.25]:25")
        self.assertEqual(len(self.arrived("before")), 1)
        self.check_trace(name, "postponed", "4.4.1", "no answer in time", "relayed")

    def check_in_the_dialogue(self, reply: bytes) -> None:
        """A reply before the content does not arrive."""
        subject = f"at {reply[:3].decode()}"
        moment = self.internet.cut_when("carrier", "provider", saying(reply), forward=False)
        name = self.send(JSMITH, subject=subject)
        self.wait_for(reply.decode(), moment.happened.is_set)
        self.wait_until_it_says("4.4.")
        self.internet.mend("provider", "carrier")
        self.assertEqual(len(self.arrived(subject)), 1)
        self.check_trace(name, "postponed", "4.4.", "relayed")
        self.assertNotIn("twice", self.trace(name))

    def check_a_short_one_after_the_dot(self) -> None:
        """The reply arrives late, and the message once."""
        moment = self.internet.cut_when("carrier", "provider", saying(b"queued as"), forward=False)
        name = self.send(JSMITH, subject="short")
        self.wait_for("the reply to the final dot", moment.happened.is_set)
        self.internet.mend("provider", "carrier")  # the system sends it again after 0.2 s
        self.assertEqual(len(self.arrived("short")), 1)
        self.assertNotIn("postponed", self.trace(name))

    def check_a_long_one_after_the_dot(self) -> None:
        """Nobody can know whether it was taken: it is sent again, and the history says so."""
        moment = self.internet.cut_when("provider", "carrier", saying(b"\r\n.\r\n"), forward=True)
        name = self.send(JSMITH, subject="long")
        self.wait_for("the final dot", moment.happened.is_set)
        self.wait_until_it_says("4.4.", "may arrive twice")
        self.internet.mend("provider", "carrier")
        self.wait_for("both copies", lambda: len(self.arrived("long")) == 2)
        self.check_trace(name, "postponed", "may arrive twice", "relayed")

    def with_subject(self, subject: str) -> list[bytes]:
        line = b"Subject: %s\n" % subject.encode()
        return [message for message in maildir(self.box) if line in message]

    def arrived(self, subject: str) -> list[bytes]:
        """Wait until it is there, and nothing waits that could make another of it."""
        self.wait_for(f"the message {subject!r}", lambda: self.with_subject(subject))
        self.wait_for("an empty queue", lambda: not self.queued())
        return self.with_subject(subject)

    def check_trace(self, name: str, *words: str) -> None:
        text = self.trace(name)
        for word in words:
            self.assertIn(word, text)

    # --- the others ------------------------------------------------------------------------------

    def check_the_resolver(self) -> None:
        """Without names nobody can be reached; that is no reason to return mail."""
        with self.without("provider", "resolver"):
            name = self.send(JSMITH, subject="no names")
            self.wait_until_it_says("4.4.3", "carrier.example")
        self.assertEqual(len(self.arrived("no names")), 1)
        self.assertIn("did not answer in time", self.trace(name))

    def check_the_client(self) -> None:
        """Half of a message is none: the client has to send it again, and it arrives once."""
        content = "".join(f"{n:060d}\r\n" for n in range(20_000))
        large = self.write("large", f"Subject: large\r\n\r\n{content}")
        moment = self.internet.cut_when("client", "provider", after_octets(200_000), forward=False)
        self.assertNotEqual(self.upload(large, "--speed-limit", "1", "--speed-time", "2"), 0)
        self.assertTrue(moment.happened.is_set())
        self.assertEqual(self.queued(), [])
        self.internet.mend("client", "provider")
        self.assertEqual(self.upload(large), 0)
        (message,) = self.arrived("large")
        self.assertTrue(message.endswith(content.replace("\r\n", "\n").encode()))

    def upload(self, message: Path, *options: str) -> int:
        """Send a file with curl, which loses patience if told to; returns its exit status."""
        with self.at("client"):
            done = self.run_program(
                *(self.program("curl", "curl"), "--silent", "--show-error", "--ssl-reqd"),
                *("--cacert", self.folder / "ca.pem", "--user", f"angelo@demo.example:{PASSWORD}"),
                *("--mail-from", "angelo@demo.example", "--mail-rcpt", JSMITH),
                *("--upload-file", message, *options),
                f"smtp://mx.demo.example:{self.submission}/client.demo.example",
                check=False,
            )
        return done.returncode

    def check_the_destination(self) -> None:
        """What the next server has taken is its own to try again; we say who has it."""
        with self.without("carrier", "destination"):
            name = self.send(JSMITH, subject="further")
            self.wait_for("the carrier to have it", lambda: not self.queued())
            self.assertRegex(self.trace(name), r"relayed\s.*mx\.carrier\.example.*queued as")
            self.assertEqual(self.with_subject("further"), [])
        self.assertEqual(len(self.arrived("further")), 1)
