"""``mailframe queue export``."""

from __future__ import annotations

import json
import mailbox
import os
import stat

from mailframe.address import Address
from mailframe.interfaces import IQueueStorage, StorageFault, UnknownMessage
from mailframe.queue.sqlite import SqliteStorage
from tests.cli.test_explain_message import ANGELO, INFO, JSMITH, MessageCase

CONTENT = b"Subject: x\r\n\r\nHello!\r\n"


class ExportCase(MessageCase):
    """A queue to export from."""

    def setUp(self) -> None:
        super().setUp()
        self.out = self.path("out")

    def files(self) -> list[str]:
        return sorted(os.listdir(self.out))

    def read(self, name: str) -> bytes:
        with open(os.path.join(self.out, name), "rb") as file:
            return file.read()


class One(ExportCase):
    """A single message."""

    def test_content(self) -> None:
        """Nobody could look at what a message says."""
        result = self.run_here("queue", "export", self.put(JSMITH))
        self.assertEqual(result.stdout_bytes, CONTENT)

    def test_unknown(self) -> None:
        """A mistyped id would look like an empty message."""
        result = self.run_here("queue", "export", "zzz", status=1)
        self.assertEqual(result.stdout_bytes, b"")
        self.assertIn("no message 'zzz' is in the queue", result.stderr)

    def test_stays(self) -> None:
        """A message that was only looked at would be gone, or tried at once."""
        id = self.put(JSMITH)
        before = self.document("queue", "list")
        self.run_here("queue", "export", id)
        self.assertEqual(self.document("queue", "list"), before)


class Folder(ExportCase):
    """``--output``"""

    def test_files(self) -> None:
        """What a message is for would be lost with its export."""
        id = self.put(JSMITH, require_tls=True, envid="mine")
        result = self.run_here("queue", "export", id, "--output", self.out)
        self.assertIn(f"{id} {self.out}/{id}.eml", result.stdout)
        self.assertEqual(self.files(), [f"{id}.eml", f"{id}.json"])
        self.assertEqual(self.read(f"{id}.eml"), CONTENT)
        document = json.loads(self.read(f"{id}.json"))
        self.assertEqual(document["id"], id)
        self.assertEqual(document["sender"], str(ANGELO))
        self.assertEqual(document["recipients"][0]["address"], str(JSMITH))
        self.assertEqual(document["recipients"][0]["evidence"]["rule"], "login")
        self.assertIs(document["require_tls"], True)
        self.assertEqual(document["envid"], "mine")
        self.assertIsNone(document["deliver_by"])

    def test_private(self) -> None:
        """Everybody on the machine could read other people's mail."""
        id = self.put(JSMITH)
        self.run_here("queue", "export", id, "--output", self.out)
        for path in (self.out, os.path.join(self.out, f"{id}.eml")):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode) & 0o077, 0, path)

    def test_all(self) -> None:
        """A whole queue could only be moved message by message."""
        ids = [self.put(JSMITH) for _ in range(3)]
        arguments = ("queue", "export", "--all", "--output", self.out)
        document = self.document(*arguments)
        self.assertEqual([each["id"] for each in document["messages"]], ids)
        self.assertEqual(len(self.files()), 6)
        for each in document["messages"]:
            self.assertTrue(os.path.exists(each["content"]))
            self.assertTrue(os.path.exists(each["envelope"]))

    def test_patterns(self) -> None:
        """Those of one domain could not be picked."""
        blu = Address.parse("a@blu.example")
        first, second, third = (
            self.put(JSMITH),
            self.put(INFO, JSMITH, sender=blu),
            self.put(INFO),
        )
        for patterns, ids in (
            (("--recipient", "*@mindspring.com"), [first, second]),
            (("--sender", "*@rosse.example", "--recipient", "info@*"), [third]),
            (("--sender", "*@blu.example", "--sender", "<>"), [second]),
        ):
            out = self.path("-".join(ids))
            document = self.document("queue", "export", *patterns, "--output", out)
            self.assertEqual([each["id"] for each in document["messages"]], ids)
        result = self.run_here("queue", "export", "--sender", "rosse", "--mbox", status=2)
        self.assertIn("--sender", result.stderr)

    def test_nothing_is_overwritten(self) -> None:
        """A second export would destroy the first, perhaps of a message that has left since."""
        first, second = self.put(JSMITH), self.put(JSMITH)
        self.run_here("queue", "export", first, "--output", self.out)
        result = self.run_here("queue", "export", first, second, "--output", self.out, status=1)
        self.assertIn(f"{first}.eml is there already", result.stderr)
        self.assertEqual(len(self.files()), 4)

    def test_folder_that_cannot_be_made(self) -> None:
        """A wrong path would end in a traceback."""
        with open(self.out, "w"):
            pass
        result = self.run_here("queue", "export", "--all", "--output", self.out, status=1)
        self.assertIn("can't be made a folder", result.stderr)

    def test_file_that_cannot_be_written(self) -> None:
        """A name that is taken would end in a traceback, or be written through."""
        id = self.put(JSMITH)
        os.mkdir(self.out)
        os.symlink(self.config, os.path.join(self.out, f"{id}.eml.part"))
        result = self.run_here("queue", "export", id, "--output", self.out, status=1)
        self.assertIn("can't be written", result.stderr)
        with open(self.config) as file:
            self.assertIn("hostname", file.read())

    def test_content_that_cannot_be_read(self) -> None:
        """Half a message would pass for a whole one."""
        id, other = self.put(JSMITH), self.put(JSMITH)
        real = SqliteStorage.open

        async def broken(storage: SqliteStorage, asked: str) -> object:
            content = await real(storage, asked)
            if asked == id:

                async def read() -> bytes:
                    raise StorageFault("the disk is gone")

                self.patch(content, "read", read)
            return content

        self.patch(SqliteStorage, "open", broken)
        result = self.run_here("queue", "export", id, other, "--output", self.out, status=1)
        self.assertIn(f"{id}: the disk is gone", result.stderr)
        self.assertEqual(self.files(), [f"{other}.eml", f"{other}.json"])

    def test_one_that_just_left(self) -> None:
        """A queue that is being worked off could not be exported."""
        id = self.put(JSMITH)

        async def gone(_storage: IQueueStorage, id: str) -> object:
            raise UnknownMessage(id)

        self.patch(SqliteStorage, "open", gone)
        self.run_here("queue", "export", "--all", "--output", self.out)
        self.assertEqual(self.files(), [])
        result = self.run_here("queue", "export", id, "--output", self.out, status=1)
        self.assertIn("has just left the queue", result.stderr)


class Mbox(ExportCase):
    """``--mbox``"""

    def test_read_by_another_program(self) -> None:
        """Another mail program could not open what was exported."""
        self.put(JSMITH)
        self.put(JSMITH, sender=None)
        out = self.run_here("queue", "export", "--all", "--mbox").stdout_bytes
        path = self.path("queue.mbox")
        with open(path, "wb") as file:
            file.write(out)
        messages = mailbox.mbox(path)
        self.assertEqual([m["Subject"] for m in messages], ["x", "x"])
        self.assertEqual(
            [m.get_from().split()[0] for m in messages], [str(ANGELO), "MAILER-DAEMON"]
        )
        messages.close()


class Misuse(ExportCase):
    """Calls that say nothing certain."""

    def test_misuse(self) -> None:
        """A wrong call would write something else than was meant, or nothing and no word."""
        for arguments, words in (
            ((), "takes ids, or --all"),
            (("--all", "x"), "takes ids, or --all"),
            (("--all", "--sender", "*"), "takes ids, or --all"),
            (("--all",), "into a folder"),
            (("a", "b"), "into a folder"),
            (("a", "--mbox", "--output", "x"), "either --output or --mbox"),
            (("a", "--json"), "--output DIR"),
        ):
            result = self.run_here("queue", "export", *arguments, status=2)
            self.assertIn(words, result.stderr)
