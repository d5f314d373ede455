"""Disks that fill up, run out of inodes or turn read-only under a server, and recover."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import smtplib
import struct
import subprocess
from collections import Counter
from pathlib import Path

from tests.interop.ourselves import MailframeCase
from tests.interop.programs import maildir
from tests.interop.small_disks import SmallDiskCase

QUICK = 'retry_every = "1s"\n'
NO_RESERVE = QUICK + "reserve = 0\nreserve_files = 0\n"
FS_IOC_SHUTDOWN = 0x8004587D  # ends a file system as a fault of its disk does
LARGE = 100_000  # octets; beyond what lies in the database
_MARK = re.compile(rb"mark-(\d+)-")


class DiskCase(SmallDiskCase, MailframeCase):
    """A server whose queue or mailboxes lie on a small disk, and a client that counts."""

    timeout = 90

    def setUp(self) -> None:
        super().setUp()
        self.acknowledged: list[int] = []
        self.count = 0
        self.state = self.folder / "state"
        self.mail = self.folder / "mail"

    def open_files(self) -> list[str]:
        """What the server has open, but for connections that are being closed."""
        assert self.server is not None
        folder = Path(f"/proc/{self.server.pid}/fd")
        found = []
        for each in folder.iterdir():
            try:
                found.append(os.readlink(each))
            except FileNotFoundError:
                continue
        return sorted(found)

    def log(self) -> str:
        """What the server has logged."""
        assert self.server is not None
        text: str = self.server.log.read_text()  # type: ignore[attr-defined]  # put there by `start`
        return text

    def send(self, size: int = 500) -> int:
        """Send a message; the first reply that was not positive, or 250."""
        self.count += 1
        text = b"Subject: mark-%d-\r\n\r\n" % self.count
        text += (b"x" * 70 + b"\r\n") * (size // 72)
        with smtplib.SMTP("127.0.0.1", self.smtp, "client", timeout=20) as client:
            client.ehlo()
            code, _ = client.mail("a@far.example")
            if code == 250:
                code, _ = client.rcpt("jsmith@demo.example")
            if code == 250:
                try:
                    code, _ = client.data(text)
                except smtplib.SMTPDataError as refused:
                    code = refused.smtp_code
        if code == 250:
            self.acknowledged.append(self.count)
        return code

    def warm_up(self) -> int:
        """Have everything open that stays open; how many that is."""
        for size in (500, LARGE):
            self.assertEqual(self.send(size), 250)
        self.wait_for("the first delivered", self.all_arrived)
        large = self.state / "queue" / "large"  # its file is deleted a moment later
        self.wait_for("nothing left of it", lambda: not any(large.iterdir()))
        return len(self.open_files())

    def arrived(self) -> Counter[int]:
        """How often each message is in the mailbox."""
        messages = maildir(self.mailbox("jsmith"))
        return Counter(int(m[1]) for each in messages if (m := _MARK.search(each)))

    def all_arrived(self) -> bool:
        """Whether nothing is on its way any more."""
        return set(self.acknowledged) <= set(self.arrived())

    def assert_recovers(self, files: int) -> None:
        """The service goes on by itself; what was acknowledged comes once, and nothing else."""
        self.wait_for("mail is taken", lambda: self.send() == 250)
        self.assertEqual(self.send(LARGE), 250)
        self.wait_for("all delivered", self.all_arrived)
        self.assertEqual(self.arrived(), Counter(self.acknowledged))
        self.wait_for("descriptors closed", lambda: len(self.open_files()) <= files)

    def queued(self) -> int:
        """How many messages wait."""
        listed = self.mailframe("queue", "list", "--json", "-c", self.configuration)
        return len(json.loads(listed.stdout)["messages"])


class QueueTests(DiskCase):
    """The queue's disk."""

    def test_full(self) -> None:
        """Mail is lost, or the server must be restarted, once its disk was full."""
        self.disk(self.state)
        self.serve_mail(queue=NO_RESERVE)
        files = self.warm_up()
        filler = self.fill(self.state)
        codes = [self.send(size) for size in (LARGE, 500, LARGE, 60_000, 500, LARGE) * 3]
        self.assertTrue(set(codes) <= {250, 451, 452}, codes)
        self.assertEqual({codes[0], codes[-1]}, {452})
        filler.unlink()
        self.assert_recovers(files)

    def test_quota(self) -> None:
        """Mail is lost when a quota is used up, even where the server does not outlive that.

        On Btrfs there is no room for what SQLite writes to memory that it shares, and so the kernel
        ends the process (SIGBUS). Whoever watches over it starts it again.
        """
        self.disk_with_quota(self.state)
        self.serve_mail(queue=NO_RESERVE)
        self.warm_up()
        assert self.server is not None
        self.limit(self.state, "100K")
        try:
            codes = [self.send(size) for size in (LARGE, 500, LARGE, 60_000, 500, LARGE)]
            self.assertTrue(set(codes) <= {250, 451, 452}, codes)
        except (smtplib.SMTPServerDisconnected, ConnectionError):
            self.assertEqual(self.server.wait(10), -signal.SIGBUS)
        self.limit(self.state, "none")
        if self.server.poll() is not None:
            self.server = self.serve(self.configuration, self.smtp)
        self.wait_for("mail is taken", lambda: self.send() == 250)
        self.wait_for("all delivered", self.all_arrived)
        self.assertEqual(set(self.arrived().values()), {1})

    def test_reserve(self) -> None:
        """A client sends its whole message in vain, and deliveries stop for want of room."""
        self.disk(self.state)
        self.serve_mail(queue=QUICK + 'reserve = "4MB"\nreserve_files = 10')
        files = self.warm_up()
        # One that can't be delivered yet, and is to be in spite of the reserve.
        blocked = self.mail / "demo.example" / "jsmith"
        aside = blocked.with_name("aside")
        blocked.rename(aside)
        blocked.touch()
        self.assertEqual(self.send(), 250)
        filler = self.fill(self.state, leave=3_000_000)
        self.wait_for("a refusal", lambda: self.send() == 452)
        for _ in range(5):
            self.assertEqual(self.send(), 452)
        blocked.unlink()
        aside.rename(blocked)
        self.wait_for("all delivered", self.all_arrived)
        filler.unlink()
        self.assert_recovers(files)
        self.assertEqual(self.log().count("are kept in reserve"), 1)
        self.assertEqual(self.log().count("has room again"), 1)

    def test_no_inodes(self) -> None:
        """A disk with room, but for no more files, stops the server for good."""
        self.disk(self.state, files=64)
        self.serve_mail(queue=NO_RESERVE)
        files = self.warm_up()
        taken = self.take_files(self.state)
        self.assertEqual([self.send(LARGE) for _ in range(5)], [452] * 5)
        self.send()
        shutil.rmtree(taken)
        self.assert_recovers(files)

    def test_turned_read_only(self) -> None:
        """After a fault of the disk the server says that it kept what it did not."""
        self.disk(self.state)
        self.serve_mail(queue=NO_RESERVE)
        files = self.warm_up()
        # What ext4 does with errors=remount-ro when the disk fails.
        self.run_program("mount", "-o", "remount,abort", self.state, check=False)
        codes = [self.send(size) for size in (500, LARGE) * 3]
        self.assertEqual({code // 100 for code in codes}, {4}, codes)
        self.wait_for("descriptors closed", lambda: len(self.open_files()) <= files)
        assert self.server is not None
        self.end(self.server)
        self.unmount(self.state)
        self.mount_again()
        self.server = self.serve(self.configuration, self.smtp)
        self.assert_recovers(files + 1)

    def test_read_only_for_a_while(self) -> None:
        """A disk that is back, first to be looked at only, takes no mail before a restart."""
        self.disk(self.state)
        self.serve_mail(queue=NO_RESERVE)
        self.warm_up()
        image, copy = self.folder / "state.image", self.folder / "copy.image"
        descriptor = os.open(self.state, os.O_RDONLY)
        fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", 0))  # after a sync
        os.close(descriptor)
        shutil.copyfile(image, copy)
        self.assertEqual([self.send(size) // 100 for size in (500, LARGE)], [4, 4])
        device = self.run_program("losetup", "--find", "--show", copy).stdout.decode().strip()
        self.addCleanup(self.run_program, "losetup", "--detach", device)
        self.addCleanup(self.end_and_unmount)
        self.run_program("mount", "-o", "ro", device, self.state)
        self.assertEqual([self.send(size) // 100 for size in (500, LARGE)], [4, 4])
        files = len(self.open_files())
        self.run_program("mount", "-o", "remount,rw", self.state)
        self.assert_recovers(files + 3)  # the database, its log and the shared memory

    def end_and_unmount(self) -> None:
        """Take away what is mounted over each other."""
        assert self.server is not None
        self.end(self.server)
        while os.path.ismount(self.state):
            self.unmount(self.state)

    def mount_again(self) -> None:
        """As an operator does who has seen to the disk."""
        image = self.folder / "state.image"
        self.run_program(self.program("fsck.ext4", "e2fsprogs"), "-p", image, check=False)
        self.run_program("mount", "-o", "loop", image, self.state)


class MailboxTests(DiskCase):
    """The mailboxes' disk. The queue's is another one, and mail is taken all the time."""

    def assert_waits(self) -> None:
        """Mail is taken and waits."""
        before = self.arrived()
        self.assertEqual([self.send(size) for size in (500, LARGE, 500)], [250] * 3)
        self.wait_for("tried", lambda: self.tried() >= 3)
        self.assertEqual(self.queued(), 3)
        self.assertEqual(self.arrived(), before)

    def tried(self) -> int:
        """How many attempts were postponed."""
        return self.log().count('"kind": "postponed"')

    def serve_with_disk(self, **size: int) -> int:
        self.disk(self.mail, **size)
        self.serve_mail(queue=QUICK)
        return self.warm_up()

    def test_full(self) -> None:
        """A full mailbox disk returns mail to its senders, or loses it."""
        files = self.serve_with_disk()
        filler = self.fill(self.mail)
        self.assert_waits()
        filler.unlink()
        self.assert_recovers(files)

    def test_quota(self) -> None:
        """The same for a quota that is used up."""
        self.disk_with_quota(self.mail)
        self.serve_mail(queue=QUICK)
        files = self.warm_up()
        self.limit(self.mail, "100K")
        self.assert_waits()
        self.assertIn("Disk quota exceeded", self.log())
        self.limit(self.mail, "none")
        self.assert_recovers(files)

    def test_no_inodes(self) -> None:
        """The same for a disk on which there can be no more files."""
        files = self.serve_with_disk(files=64)
        taken = self.take_files(self.mail)
        self.assert_waits()
        shutil.rmtree(taken)
        self.assert_recovers(files)

    def test_read_only(self) -> None:
        """The same for one that is mounted read-only for a while."""
        files = self.serve_with_disk()
        self.wait_for("no file open for writing", lambda: self.remount("ro"))
        self.assert_waits()
        self.assertTrue(self.remount("rw"))
        self.assert_recovers(files)

    def remount(self, how: str) -> bool:
        done: subprocess.CompletedProcess[bytes] = self.run_program(
            "mount", "-o", f"remount,{how}", self.mail, check=False
        )
        return not done.returncode
