"""Which IP addresses this machine has."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery.local_addresses import every_address

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     |-- 192.0.2.0
        /24 link UNICAST
     |-- 192.0.2.9
        /32 host LOCAL
     |-- 198.51.100.1
        /32 link UNICAST
Local:
     |-- 192.0.2.9
        /32 host LOCAL
"""
IF_INET6 = """\
20010db8000000000000000000000009 02 40 00 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


class EveryAddressTests(SynchronousTestCase):
    """`every_address`."""

    def folder(self, **files: str) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        return folder

    def test_both_families(self) -> None:
        """Mail for a domain whose MX is an interface of ours would be sent to ourselves."""
        folder = self.folder(fib_trie=FIB_TRIE, if_inet6=IF_INET6)
        expected = {"127.0.0.1", "192.0.2.9", "2001:db8::9", "::1"}
        self.assertEqual(every_address(folder), expected)

    def test_what_can_not_be_read(self) -> None:
        """A server does not start where a container hides this, or writes it in another way."""
        self.assertEqual(every_address(self.folder()), set())
        folder = self.folder(fib_trie="/32 host LOCAL\n|-- x\n/32 host LOCAL\n", if_inet6="x\n\n")
        self.assertEqual(every_address(folder), set())

    def test_this_machine(self) -> None:
        """The format is that of the kernel it runs on."""
        self.assertIn("127.0.0.1", every_address())
