"""``mailframe init``."""

from __future__ import annotations

import os
import stat

from mailframe.cli import init as init_module
from mailframe.cli import template
from mailframe.settings import load
from tests.cli.commands import CommandCase


class Init(CommandCase):
    """A configuration to start from."""

    def test_what_it_writes(self) -> None:
        """A fresh installation could not be started."""
        settings = load(self.config)
        self.assertEqual(settings.hostname, "mx.rosse.example")
        self.assertEqual(settings.local_domains, ("rosse.example",))
        listens = [listen for server in settings.servers for listen in server.listen]
        self.assertEqual(len(listens), 4)
        for listen in listens:
            self.assertIn("interface=127.0.0.1", listen)
        for name in ("state", "mail", "tls"):
            self.assertEqual(stat.S_IMODE(os.stat(self.path(name)).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.path("accounts.toml")).st_mode), 0o600)

    def test_what_to_do_next(self) -> None:
        """A first user would be left with a server without a mailbox, or without a postmaster."""
        result = self.run_command("init", "--domain", "blu.example", self.mktemp())
        self.assertIn("account add you@blu.example", result.stdout)
        self.assertIn("account alias postmaster@blu.example you@blu.example", result.stdout)

    def test_is_clean(self) -> None:
        """The first thing a user sees would be a complaint about our own file."""
        document = self.document("check")
        self.assertEqual((document["errors"], document["warnings"]), (0, 0), document)

    def test_comments_hold(self) -> None:
        """Taking the comment signs away would give a file that is refused."""
        self.configure("# [[routing.rule]]", "[[routing.rule]]")
        for line in ("recipients", "via ", "tls  ", "login", "password_file"):
            self.configure(f"# {line}", line)
        self.configure("# networks", "networks")
        self.configure("# customer", "customer")
        self.configure("# servers", "servers")
        self.configure("# senders", "senders")
        settings = load(self.config)
        (provider,) = settings.chosen["authorisation"].settings.provider
        self.assertEqual(provider.name, "rosse")
        self.assertEqual(len(settings.chosen["routing"].settings.rule), 1)

    def test_overwrites_nothing(self) -> None:
        """A configuration in use would be lost by a slip."""
        with open(self.config) as file:
            before = file.read()
        result = self.run_command("init", self.folder, status=1)
        self.assertIn("exists already", result.stderr)
        with open(self.config) as file:
            self.assertEqual(file.read(), before)
        os.unlink(self.config)
        self.run_command("init", self.folder, status=1)
        self.assertFalse(os.path.exists(self.config))

    def test_misuse(self) -> None:
        """A name that is none would end up in every greeting."""
        other = self.mktemp()
        result = self.run_command("init", "--domain", "a b", other, status=2)
        self.assertIn("'--domain': 'a b': the domain is not a host name", result.stderr)
        result = self.run_command("init", "--hostname", "a..b", other, status=2)
        self.assertIn("'--hostname': 'a..b'", result.stderr)
        self.assertFalse(os.path.exists(other))
        with open(other, "w"):
            pass
        self.assertIn(other, self.run_command("init", other, status=2).stderr)
        self.run_command("init", status=2)

    def test_name_of_the_system(self) -> None:
        """The configuration would have a name that no server accepts."""
        for names, expected in (
            (("mx.blu.example", "x"), "mx.blu.example"),
            (("localhost", "Host1"), "host1"),
            (("localhost.localdomain", "a_b c"), "mail.example"),
        ):
            self.patch(template.socket, "getfqdn", lambda names=names: names[0])
            self.patch(template.socket, "gethostname", lambda names=names: names[1])
            self.assertEqual(template.system_hostname(), expected)
        other = self.mktemp()
        self.patch(init_module, "system_hostname", lambda: "mx.blu.example")
        self.run_command("init", other)
        settings = load(os.path.join(other, "mailframe.toml"))
        self.assertEqual(settings.local_domains, ("mx.blu.example",))

    def test_file_is_whole_or_absent(self) -> None:
        """A full disk would leave half a configuration."""
        target = self.path("x.toml")
        self.patch(template.os, "fsync", _no_space)
        with self.assertRaises(OSError):
            template.write_file(target, "text")
        self.assertEqual([name for name in os.listdir(self.folder) if "x.toml" in name], [])
        self.assertEqual([name for name in os.listdir(self.folder) if name[0] == "."], [])


def _no_space(_descriptor: int) -> None:
    raise OSError(28, "No space left on device")
