"""The server is killed, and its disk cut off, at random moments; nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import smtplib
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.interop.ourselves import MailframeCase
from tests.interop.programs import maildir

# A longer campaign: MAILFRAME_CRASHES=500 trial tests.interop.test_crash
CRASHES = int(os.environ.get("MAILFRAME_CRASHES", "3"))
SENDERS = 4
FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_FLUSHING = 2  # the file system ends as if the power were cut


class CrashCase(MailframeCase):
    """Senders that go on through crashes, and remember what was acknowledged."""

    timeout = 90 + 20 * CRASHES

    def setUp(self) -> None:
        super().setUp()
        self.acknowledged: set[bytes] = set()
        # How often the power was cut and switched on: odd while it is off. What a server that
        # lives on for a moment says then is no promise: some disks say that they have synced.
        self.switched = 0
        self.stop = threading.Event()
        self.chance = random.Random(5)

    @contextlib.contextmanager
    def senders(self) -> Iterator[None]:
        """Send small, middling and large messages from several threads meanwhile."""
        threads = [threading.Thread(target=self.send, args=(n,)) for n in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(30)

    def send(self, number: int) -> None:
        count = 0
        while not self.stop.is_set():
            with (
                contextlib.suppress(OSError, smtplib.SMTPException),
                smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=10) as client,
            ):
                while not self.stop.is_set():
                    count += 1
                    switched = self.switched
                    mark = b"mark-%d-%d-" % (number, count)
                    size = (500, 5_000, 90_000)[count % 3]
                    text = b"Subject: " + mark + b"\r\n\r\n" + b"x" * 70 + b"\r\n"
                    text += (b"y" * 70 + b"\r\n") * (size // 72) + b"end of " + mark
                    client.sendmail("a@far.example", ["jsmith@demo.example"], text)
                    if switched == self.switched and switched % 2 == 0:
                        self.acknowledged.add(mark)
            time.sleep(0.02)

    def let_some_pass(self) -> None:
        """Wait until more was acknowledged, and then a random moment."""
        before = len(self.acknowledged)
        self.wait_for("some more mail", lambda: len(self.acknowledged) > before + 20)
        time.sleep(self.chance.random() * 0.5)

    def missing(self) -> set[bytes]:
        """What was acknowledged and is not in the mailbox; fails on a message that is torn."""
        whole = set()
        for message in maildir(self.mailbox("jsmith")):
            mark = message.split(b"\nSubject: ", 1)[-1].split(b"\n", 1)[0]
            if not message.rstrip().endswith(b"end of " + mark):
                self.fail(f"a torn message is visible: {mark!r}")
            whole.add(mark)
        return self.acknowledged - whole

    def everything_arrives(self) -> None:
        """All that was acknowledged is in the mailbox in the end."""
        self.assertGreater(len(self.acknowledged), 20 * CRASHES)
        try:
            self.wait_for("every acknowledged message", lambda: not self.missing(), 180)
        except AssertionError as error:
            listed = self.mailframe("queue", "list", "-c", self.configuration, "--json").stdout
            self.fail(f"missing: {self.missing()}; the queue: {listed!r}; {error}")


class KillTests(CrashCase):
    """kill -9, again and again, under load."""

    def test_nothing_acknowledged_is_lost(self) -> None:
        """After 250 the message is ours: each one is in the mailbox in the end, whole."""
        self.serve_mail()
        with self.senders():
            for _ in range(CRASHES):
                self.let_some_pass()
                assert self.server is not None
                self.end(self.server, signal.SIGKILL)
                self.server = self.serve(self.configuration, self.smtp)
        self.everything_arrives()


class DiskCase(CrashCase):
    """Queue and mailboxes on a disk of their own, an image in a file."""

    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.image = self.folder / "image"
        with self.image.open("wb") as image:
            image.truncate(512 * 2**20)
        self.run_program(self.program("mkfs.ext4", "e2fsprogs"), "-q", "-m", "0", self.image)
        self.mount()
        self.addCleanup(self.run_program, "umount", self.disk, check=False)

    def mount(self) -> None:
        done = self.run_program("mount", "-o", "loop", self.image, self.disk, check=False)
        if done.returncode:
            raise SkipTest(f"no loop device can be mounted here: {done.stdout.decode()}")

    def mailbox(self, name: str) -> Path:
        return self.disk / "mail" / self.domain / name

    def serve_from_disk(self) -> None:
        """Configure and start a server that keeps everything on the disk."""
        self.configure()
        text = self.configuration.read_text()
        text = text.replace('path = "mail/', f'path = "{self.disk}/mail/')
        self.write("mailframe.toml", f'state_dir = "{self.disk}/state"\n{text}')
        self.server = self.serve(self.configuration, self.smtp)


class PowerCutTests(DiskCase):
    """The disk forgets what was not synced, under load."""

    def cut(self) -> None:
        """Cut the power: nothing that was not synced is there after it."""
        descriptor = os.open(self.disk, os.O_RDONLY)
        self.switched += 1
        try:
            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_FLUSHING))
        finally:
            os.close(descriptor)
        assert self.server is not None
        self.end(self.server, signal.SIGKILL)
        self.run_program("umount", self.disk)
        self.mount()
        self.switched += 1

    def test_nothing_acknowledged_is_lost(self) -> None:
        """250 means: on the disk. Without each of the syncs some of these would be gone."""
        self.serve_from_disk()
        with self.senders():
            for _ in range(CRASHES):
                self.let_some_pass()
                self.cut()
                self.server = self.serve(self.configuration, self.smtp)
        self.everything_arrives()


class FullDiskTests(DiskCase):
    """There is no room left, and then there is again."""

    def test_refused_for_now_and_nothing_lost(self) -> None:
        """A full disk must answer 4xx, keep what was acknowledged, and mend itself when emptied."""
        self.serve_from_disk()
        filler = self.disk / "filler"
        room = os.statvfs(self.disk)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, (room.f_bavail - 1500) * room.f_frsize)
        refused: list[smtplib.SMTPResponseException] = []
        with smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=30) as client:

            def send(number: int, size: int) -> bool:
                mark = b"mark-0-%d-" % number
                lines = (b"y" * 70 + b"\r\n") * (size // 72)
                text = b"Subject: " + mark + b"\r\n\r\n" + lines + b"end of " + mark
                try:
                    client.sendmail("a@far.example", ["jsmith@demo.example"], text)
                except smtplib.SMTPResponseException as error:
                    refused.append(error)
                    return False
                self.acknowledged.add(mark)
                return True

            for number in range(60):
                send(number, (3_000, 400_000)[number % 2])
            self.assertTrue(refused)
            self.assertEqual({error.smtp_code // 100 for error in refused}, {4}, refused)
            self.assertTrue(all(error.smtp_error[:2] == b"4." for error in refused), refused)
            filler.unlink()
            self.wait_for("room again", lambda: send(1000, 400_000))
        for entry in json.loads(
            self.mailframe("queue", "list", "-c", self.configuration, "--json").stdout
        )["messages"]:
            self.mailframe("queue", "retry", "-c", self.configuration, entry["id"], check=False)
        try:
            self.wait_for("every acknowledged message", lambda: not self.missing(), 180)
        except AssertionError as error:
            listed = self.mailframe("queue", "list", "-c", self.configuration, "--json").stdout
            self.fail(f"missing: {self.missing()}; the queue: {listed!r}; {error}")
