"""The sizes of messages, as they are sent."""

from __future__ import annotations

import errno
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import maildir_sizes
from mailframe.delivery.maildir_files import ForeignMaildir
from mailframe.delivery.maildir_sizes import read_size, size_of
from mailframe.testing.faulty_files import FaultyFiles
from mailframe.wire.data import DataEncoder
from mailframe.wire.pop3_message import wire_form


class SizeTests(SynchronousTestCase):
    """Octets with CRLF, stuffed dots not counted (RFC 1939 §11)."""

    def setUp(self) -> None:
        self.root = os.path.abspath(self.mktemp())
        os.mkdir(self.root)
        self.files = FaultyFiles(self.root)
        self.folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, self.folder)

    def tearDown(self) -> None:
        self.assertEqual(self.files.opened, set())

    def put(self, octets: bytes) -> str:
        with open(f"{self.root}/message", "wb") as file:
            file.write(octets)
        return f"{self.root}/message"

    def size(self) -> int:
        return read_size(self.files, "message", self.folder)

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b"\r", b".b", b"\0"]), max_size=12))
    def test_sizes(self, parts: list[bytes]) -> None:
        """A size is not what is sent, as another program has stored other line ends."""
        octets = b"".join(parts)
        self.put(octets)
        encoder = DataEncoder()
        sent = encoder.encode(octets) + encoder.finish()
        stuffed = sent.count(b"\r\n..") + sent.startswith(b"..")
        size = len(sent) - len(b".\r\n") - stuffed
        self.assertEqual((size_of(octets), wire_form(octets)), (size, (sent, size)))
        for block in (1, 3, maildir_sizes.BLOCK):
            self.patch(maildir_sizes, "BLOCK", block)
            self.assertEqual(self.size(), size, block)

    def test_large(self) -> None:
        """A large message is read into memory whole, or only its beginning is counted."""
        for line in (b"0123456789abcde\n", b"0123456789abcd\r\n", b"0123456\r0123456\n"):
            octets = line * (maildir_sizes.BLOCK // 4)
            self.put(octets)
            self.assertEqual(self.size(), size_of(octets))

    def test_cut_short(self) -> None:
        """A file that shrinks while it is read is counted with octets that are not there."""
        self.patch(maildir_sizes, "BLOCK", 10)
        path = self.put(b"0123456789" * 10)

        def shrink(operation: str) -> None:
            if operation == "read" and self.files.count("read"):
                os.truncate(path, 4)

        self.files.before = shrink
        self.assertEqual(self.size(), 6)

    def test_no_file(self) -> None:
        """A pipe keeps a thread waiting, a link shows its owner any file."""
        path = f"{self.root}/message"
        os.mkfifo(path)
        self.assertRaises(ForeignMaildir, self.size)
        os.unlink(path)
        os.symlink("/etc/passwd", path)
        self.assertRaises(OSError, self.size)
        os.unlink(path)
        os.mkdir(path)
        self.assertRaises(OSError, self.size)
        os.rmdir(path)
        self.assertRaises(FileNotFoundError, self.size)

    def test_faults(self) -> None:
        """A file that can't be read stays open."""
        self.patch(maildir_sizes, "BLOCK", 10)
        self.put(b"0123456789" * 10)
        for operation, nth in (("open", 1), ("read", 1), ("read", 2), ("read", 3)):
            self.files.fail(operation, errno.EIO, nth)
            self.assertRaises(OSError, self.size)
