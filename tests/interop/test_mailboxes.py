"""Mailboxes with much in them, with UTF-8, and shared with Dovecot, fetched by stock clients."""

from __future__ import annotations

import poplib
import subprocess
from pathlib import Path

from tests.interop.dovecot_pop3 import give_to, write_dovecot
from tests.interop.ourselves import PASSWORD, MailframeCase
from tests.interop.programs import free_ports

MANY = 10_000


class MailboxCase(MailframeCase):
    """jsmith's mailbox, filled by hand."""

    def fill(self, contents: dict[str, bytes]) -> Path:
        """Put messages into new, under these names."""
        maildir = self.mailbox("jsmith")
        for folder in (maildir.parent.parent, maildir.parent, maildir):
            folder.mkdir(exist_ok=True, parents=True)
            folder.chmod(0o755)
        for sub in ("tmp", "new", "cur"):
            (maildir / sub).mkdir(exist_ok=True)
        for name, content in contents.items():
            (maildir / "new" / name).write_bytes(content)
        return maildir

    def client(self, port: int | None = None, *, utf8: bool = False) -> poplib.POP3:
        """Log in with poplib."""
        client = poplib.POP3("127.0.0.1", port or self.pop3, timeout=60)
        self.addCleanup(client.close)
        if utf8:
            client.utf8()
        client.user("jsmith@demo.example")
        client.pass_(PASSWORD)
        return client

    def uidls(self, client: poplib.POP3) -> list[bytes]:
        """The unique ids, in order."""
        return [line.split()[1] for line in client.uidl()[1]]


class Utf8Tests(MailboxCase):
    """RFC 6856, with poplib."""

    def test_utf8(self) -> None:
        """A client that asks for UTF-8 does not get it, or one that does not ask does."""
        message = "Subject: caf\u00e9\n\n\u00e9\n".encode()
        self.fill({"1700000000.a.host": message})
        self.serve_mail()
        client = self.client(utf8=True)
        self.assertEqual(client.capa()["UTF8"], ["USER"])
        self.assertIn("LANG", client.capa())
        self.assertEqual(client._shortcmd("LANG en"), b"+OK en the language is English")
        self.assertEqual(client._longcmd("LANG")[1][0], b"en English")
        self.assertEqual(client.retr(1)[1], message.splitlines())
        client.quit()
        client = self.client()
        self.assertEqual(client.retr(1)[1][0], b"Subject: =?utf-8?b?Y2Fmw6k=?=")
        self.assertEqual(client.top(1, 0)[1], [b"Subject: =?utf-8?b?Y2Fmw6k=?=", b""])
        client.quit()


class LargeTests(MailboxCase):
    """A mailbox of 10,000 messages."""

    def test_fetch_and_delete(self) -> None:
        """A client that has kept its mail for years can't get at it, or fetches all of it again."""
        self.fill(
            {
                f"{1_700_000_000 + n // 2}.M{n:06}.host": b"Subject: %d\n\n.\n" % n
                for n in range(MANY)
            }
        )
        self.serve_mail()
        client = self.client()
        count, octets = client.stat()
        self.assertEqual(count, MANY)
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        self.assertEqual(sum(sizes), octets)
        before = self.uidls(client)
        self.assertEqual(len(set(before)), MANY)
        for number in (*range(1, 300), MANY):
            lines = client.retr(number)[1]
            self.assertEqual(lines, [b"Subject: %d" % (number - 1), b"", b"."])
        for number in range(1, MANY + 1, 2):
            client.dele(number)
        client.close()
        assert self.server is not None
        self.end(self.server)
        self.server = self.serve(self.configuration, self.pop3)
        client = self.client()
        self.assertEqual(self.uidls(client), before)
        for number in range(1, MANY + 1, 2):
            client.dele(number)
        client.quit()
        client = self.client()
        self.assertEqual(self.uidls(client), before[1::2])
        client.quit()


class DovecotTests(MailboxCase):
    """Dovecot at work in the same Maildir."""

    def start_dovecot(self, maildir: Path) -> tuple[subprocess.Popen[bytes], int]:
        """Have Dovecot serve it."""
        self.need_root()
        dovecot = self.program("dovecot", "dovecot-pop3d")
        (port,) = free_ports(1)
        process = self.start(dovecot, "-F", "-c", write_dovecot(self.folder, port, maildir))
        self.wait_for_port(port, process)
        return process, port

    def fetched(self, client: poplib.POP3) -> list[bytes]:
        """All messages."""
        count, _ = client.stat()
        return [b"\n".join(client.retr(number + 1)[1]) for number in range(count)]

    def test_in_turns(self) -> None:
        """What one server delivers, flags or deletes confuses the other."""
        maildir = self.fill(
            {
                "1700000000.M1.host": b"Subject: one\n\n.\n",
                "1700000001.M2.host,S=16,W=19": b"Subject: two\n\n.\n",
                "1700000002.M3.host": b"Subject: three\n\nno end",
            }
        )
        self.serve_mail()
        client = self.client()
        messages, ids = self.fetched(client), self.uidls(client)
        client.quit()

        dovecot, port = self.start_dovecot(maildir)
        client = self.client(port)
        self.assertEqual(self.fetched(client), messages)
        theirs = self.uidls(client)
        client.quit()  # it has moved all to cur
        self.assertEqual(list((maildir / "new").iterdir()), [])

        give_to(maildir, "root")
        client = self.client()
        self.assertEqual((self.fetched(client), self.uidls(client)), (messages, ids))
        client.dele(2)
        client.quit()

        give_to(maildir, "nobody")
        client = self.client(port)
        self.assertEqual(self.uidls(client), [theirs[0], theirs[2]])
        client.dele(1)
        client.quit()

        give_to(maildir, "root")
        client = self.client()
        self.assertEqual(self.uidls(client), ids[2:])
        self.assertEqual(self.fetched(client), messages[2:])
        client.quit()
        self.end(dovecot)
