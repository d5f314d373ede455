"""The documentation tells the truth: what can be compared with the code is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.file import FileSettings
from mailframe.authorisation.providers import ProviderSettings
from mailframe.cli import account, queue, root
from mailframe.delivery.maildir import MaildirSettings
from mailframe.delivery.relay_settings import RelaySettings, Timeouts
from mailframe.durability import Durability
from mailframe.plugin import SEAMS, find_parts
from mailframe.queue.notices import NoticeSettings
from mailframe.queue.schedule import Schedule
from mailframe.queue.sqlite import SqliteSettings
from mailframe.routing.srs import SrsSettings
from mailframe.routing.table import MapSettings, RuleSettings
from mailframe.server.limits import Limits
from mailframe.settings import DnsSettings, ServerSettings, TlsSettings, load
from mailframe.units import parse_duration, parse_size

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def sections(text: str) -> dict[str, str]:
    """The text under each heading."""
    parts = re.split(r"^(.+)\n[-=.]{4,}$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


class ConfigurationTests(SynchronousTestCase):
    """docs/configuration.rst and docs/mailframe.toml"""

    def setUp(self) -> None:
        self.sections = sections((DOCS / "configuration.rst").read_text())

    def section(self, start: str) -> str:
        return next(text for title, text in self.sections.items() if title.startswith(start))

    def check(self, title: str, *classes: type[Any]) -> None:
        """Demand that each key has its entry, and each entry its key."""
        text = self.section(title)
        documented = re.findall(r"^``(\w+)``$", text, flags=re.MULTILINE)
        keys = [field.name for each in classes for field in attrs.fields(each)]
        self.assertEqual(sorted(documented), sorted(keys), title)

    def test_every_key(self) -> None:
        """A user can't find out about a key, or reads of one that there isn't."""
        self.check("``[[server]]``", ServerSettings)
        self.check("``[tls]``", TlsSettings)
        self.check("``[limits]``", Limits)
        self.check("``[accounts]``", FileSettings)
        self.check("``[authorisation]``", ProviderSettings)
        self.check("``[routing]``", RuleSettings)
        self.check("``[[routing.map]]``", MapSettings)
        self.check("``[routing.srs]``", SrsSettings)
        self.check("``[queue]``", Schedule, NoticeSettings, Durability, SqliteSettings)
        self.check("``[delivery]``", MaildirSettings)
        self.check("``[dns]``", DnsSettings)

    def test_relay(self) -> None:
        """The same for the table with a table in it."""
        text = self.section("``[relay]``")
        for field in [*attrs.fields(RelaySettings), *attrs.fields(Timeouts)]:
            self.assertIn(f"``{field.name}``" if field.name != "timeouts" else "timeouts", text)

    def test_defaults(self) -> None:
        """A user relies on a default that is another."""
        for title, settings in (
            ("``[limits]``", Limits()),
            ("``[queue]``", Schedule()),
            ("``[queue]``", NoticeSettings()),
            ("``[relay]``", RelaySettings()),
        ):
            text = self.section(title)
            entries = re.findall(
                r"^``(\w+)``$((?:\n {3}.*)+)", text.replace("\n\n``", "\n\n\n``"), re.MULTILINE
            )
            checked = 0
            for key, words in entries:
                default = re.search(r'Default:\s+(?:``)?"?([\w.]+)"?(?:``)?\.', words)
                if default and hasattr(settings, key):
                    checked += 1
                    self.assertIn(getattr(settings, key), list(readings(default[1])), key)
            self.assertGreater(checked, 1, title)

    def test_sample(self) -> None:
        """The configuration that the manual shows is refused."""
        settings = load(str(DOCS / "mailframe.toml"))
        self.assertEqual([s.name for s in settings.servers], ["mx", "submission", "pop"])

    def test_readme(self) -> None:
        """The first configuration that a user types is refused."""
        (text,) = re.findall(
            r"code-block:: toml\n\n((?:   .*\n)+)", (ROOT / "README.rst").read_text()
        )
        lines = [line.removeprefix("   ") for line in text.splitlines()]
        self.assertEqual(len(lines), 10)
        path = Path(self.mktemp())
        path.write_text("\n".join(lines))
        self.assertEqual(load(str(path)).hostname, "mx.rosse.example")


def readings(text: str) -> Any:
    """What a default in the manual may mean."""
    yield {"true": True, "false": False}.get(text, text)
    if text.isdigit():
        yield int(text)
    for parse in (parse_duration, parse_size):
        try:
            yield parse(text)
        except ValueError:
            continue


class CommandTests(SynchronousTestCase):
    """docs/commands.rst"""

    def test_every_command(self) -> None:
        """A user can't find out about a command, or types one that there isn't."""
        text = (DOCS / "commands.rst").read_text()
        documented = set(re.findall(r"^``mailframe ([\w-]+)", text, flags=re.MULTILINE))
        self.assertEqual(documented, set(root.COMMANDS))
        groups = (("account", account.account), ("queue", queue.queue))
        for name, group in groups:
            (line,) = re.findall(rf"^(``mailframe {name} .*)$", text, flags=re.MULTILINE)
            documented = set(re.findall(rf"``(?:mailframe {name} )?(\w+)[^`]*``", line))
            self.assertEqual(documented, set(group.commands))


class PluginTests(SynchronousTestCase):
    """docs/plugins.rst"""

    def test_every_seam(self) -> None:
        """An author can't find out that a part can be replaced."""
        text = (DOCS / "plugins.rst").read_text()
        for seam, interface in SEAMS.items():
            self.assertIn(f"``[{seam}]``", text)
            self.assertIn(f"``{interface.__name__}``", text)

    def test_shipped_parts(self) -> None:
        """A user can't find out what there is to choose from."""
        text = (DOCS / "configuration.rst").read_text()
        installed = find_parts()
        for seam in SEAMS:
            for name, part in installed.parts[seam].items():
                if part.builds.startswith("mailframe."):
                    self.assertIn(f'``plugin = "{name}"``', text)
