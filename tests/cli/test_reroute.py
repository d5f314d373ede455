"""``mailframe queue reroute``."""

from __future__ import annotations

import os
import time
from typing import Any

import attrs

from mailframe.address import Address
from mailframe.cli import queued, rerouting
from mailframe.entry import Event, QueuedRecipient, Ready
from mailframe.in_force import InForce
from mailframe.settings import load
from tests.cli.test_explain_message import ANGELO, BUSY, INFO, JSMITH, MessageCase

MX = "mindspring.com is not a local domain: to its mail exchangers"
RULE = '[[routing.rule]]\nname = "far"\nrecipients = ["*@mindspring.com"]\n'
VIA = f'{RULE}via = "tcp:127.0.0.1:2600"\n\n[queue]'


class RerouteCase(MessageCase):
    """A queue, and configurations for it."""

    def setUp(self) -> None:
        super().setUp()
        self.new = self.path("new.toml")

    def write_new(self, old: str = "[queue]", new: str = VIA) -> None:
        """A changed configuration beside the one in force."""
        with open(self.config) as file:
            text = file.read()
        self.assertIn(old, text)
        with open(self.new, "w") as file:
            file.write(text.replace(old, new))

    def tried(
        self, address: Address = JSMITH, *, reason: str = MX, rule: str = "", **changes: Any
    ) -> str:
        """A message that was tried once."""
        id = self.put(address)
        now = time.time()
        told = {"recipient": address, "reason": reason, "rule": rule, "plugin": "table"}
        self.settle(
            (
                attrs.evolve(
                    QueuedRecipient(address=address, attempts=1, last_reply=BUSY), **changes
                ),
            ),
            Event(at=now, kind="routed", **told),
            Event(at=now, kind="postponed", reply=BUSY, **told),
        )
        return id

    def reroute(self, *arguments: str, status: int = 0) -> Any:
        return self.document("queue", "reroute", *arguments, status=status)

    def dry(self, *arguments: str, status: int = 0) -> Any:
        return self.reroute("--dry-run", "--config", self.new, *arguments, status=status)

    def due(self) -> list[bool]:
        messages = self.document("queue", "list")["messages"]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return [message["recipients"][0]["next_attempt"] <= now for message in messages]

    def serve(self, path: str) -> InForce:
        """Have a server run that works by a file."""
        server = InForce(load(self.config).state_dir)
        server.publish(path)
        self.addCleanup(server.close)
        return server


class Changed(RerouteCase):
    """``--dry-run --config NEW``: decisions by two configurations."""

    def test_elsewhere(self) -> None:
        """An operator would have to put a table in force to see what it does to the queue."""
        moved, _stays = self.put(JSMITH), self.put(ANGELO)
        self.write_new()
        document = self.dry()
        self.assertEqual(document["checked"], 2)
        self.assertEqual(document["differ"], 1)
        (message,) = document["messages"]
        self.assertEqual(message["id"], moved)
        self.assertEqual(message["sender"], str(ANGELO))
        self.assertIs(message["due_now"], False)
        (recipient,) = message["recipients"]
        self.assertEqual(recipient["address"], str(JSMITH))
        before = recipient["before"]
        self.assertEqual(before["where"], "mx:mindspring.com")
        self.assertEqual(before["reason"], MX)
        self.assertEqual(before["kind"], "relay")
        self.assertEqual(recipient["after"]["rule"], "far")
        self.assertEqual(recipient["after"]["kind"], "relay")
        self.assertEqual(recipient["after"]["where"], "tcp:127.0.0.1:2600")

    def test_other_domains(self) -> None:
        """A domain that is to become one of ours, or no more, would seem to be as it is."""
        self.put(JSMITH)
        self.write_new('["rosse.example"]', '["rosse.example", "mindspring.com"]')
        (recipient,) = self.dry()["messages"][0]["recipients"]
        self.assertEqual(recipient["after"]["reply"], "550 5.1.1 no such mailbox here")

    def test_no_folder_is_made(self) -> None:
        """To look at a changed file would leave folders behind."""
        self.put(JSMITH)
        self.write_new('"state"', '"elsewhere"')
        self.dry(status=1)
        self.assertFalse(os.path.exists(self.path("elsewhere")))

    def test_nothing(self) -> None:
        """A script could not tell that a change moves nothing."""
        self.put(JSMITH)
        self.write_new(new=f'{RULE}via = "mx"\n\n[queue]')
        document = self.dry(status=1)
        self.assertEqual(document, {"checked": 1, "differ": 0, "due_now": 0, "messages": []})

    def test_text(self) -> None:
        """A person would have to read JSON."""
        id = self.put(JSMITH)
        self.write_new()
        arguments = ("queue", "reroute", "--dry-run", "--config", self.new)
        result = self.run_here(*arguments)
        heading, line = result.stdout.splitlines()
        self.assertEqual(heading, "ID\tTO\tFROM\tGOES\tWHY")
        self.assertTrue(
            line.startswith(f"{id}\t{JSMITH}\tmx:mindspring.com\ttcp:127.0.0.1:2600\t"), line
        )
        self.assertIn("(table far)", line)
        self.assertIn("1 from mx:mindspring.com to tcp:127.0.0.1:2600", result.stderr)
        self.assertIn("1 of 1 message would go elsewhere", result.stderr)

    def test_behind_an_alias(self) -> None:
        """Mail for an alias would seem to stay, for the alias does."""
        self.run_here("account", "alias", str(INFO), str(JSMITH))
        self.put(INFO)
        self.write_new()
        (recipient,) = self.dry()["messages"][0]["recipients"]
        self.assertEqual(recipient["after"]["kind"], "redirect")
        self.assertEqual(recipient["before"]["where"], f"{JSMITH}: mx:mindspring.com")
        self.assertEqual(recipient["after"]["where"], f"{JSMITH}: tcp:127.0.0.1:2600")

    def test_other_accounts(self) -> None:
        """Mail that a change leaves without a mailbox would bounce unforeseen."""
        self.put(ANGELO)
        with open(self.path("others.toml"), "w"):
            pass
        os.chmod(self.path("others.toml"), 0o600)
        self.write_new('"accounts.toml"', '"others.toml"')
        (recipient,) = self.dry()["messages"][0]["recipients"]
        self.assertEqual(recipient["before"]["where"], f"mailbox {ANGELO}")
        self.assertEqual(recipient["after"]["reply"], "550 5.1.1 no such mailbox here")

    def test_what_is_known(self) -> None:
        """Rules that ask for provider, size or login would seem not to match."""
        self.put(JSMITH)
        self.write_new(
            new='[[routing.rule]]\nproviders = ["rosse"]\nsize = "<1KB"\n'
            'logins = ["angelo@*"]\nvia = "tcp:127.0.0.1:2600"\n\n[queue]'
        )
        self.assertEqual(self.dry()["differ"], 1)

    def test_settled_or_begun(self) -> None:
        """What has gone, or is on its way into a mailbox, would seem to go elsewhere."""
        id = self.put(JSMITH)
        ready = Ready(mailbox=ANGELO, since=0, where="somewhere")
        self.settle((QueuedRecipient(address=JSMITH, ready=ready),))
        self.write_new()
        self.assertEqual(self.dry(id, status=1)["checked"], 1)

    def test_ids(self) -> None:
        """Of a long queue nobody could ask for one message."""
        _other, id = self.put(JSMITH), self.put(JSMITH)
        self.write_new()
        document = self.dry(id, id)
        self.assertEqual([each["id"] for each in document["messages"]], [id])
        result = self.run_here(
            *("queue", "reroute", "--dry-run", "--config", self.new, "zzz", id), status=1
        )
        self.assertIn("no message 'zzz'", result.stderr)
        self.assertIn(id, result.stdout)

    def test_pages(self) -> None:
        """Of a long queue only the beginning would be looked at."""
        self.patch(queued, "PAGE", 3)
        self.patch(rerouting, "AT_ONCE", 2)
        ids = [self.put(JSMITH) for _ in range(7)]
        self.write_new()
        self.assertEqual([each["id"] for each in self.dry()["messages"]], ids)

    def test_bad_configuration(self) -> None:
        """A slip in the changed file would be noticed when it is in force."""
        self.put(JSMITH)
        self.write_new(new='[[routing.rule]]\nvai = "mx"\n\n[queue]')
        arguments = ("queue", "reroute", "--config", self.new)
        for more in ((), ("--dry-run",)):
            result = self.run_here(*arguments, *more, status=2)
            self.assertIn("new.toml", result.stderr)
            self.assertIn("via", result.stderr)
        self.write_new('"accounts.toml"', '"absent/accounts.toml"')
        result = self.run_here(*arguments, "--dry-run", status=2)
        self.assertIn("absent/accounts.toml", result.stderr)
        self.assertTrue(result.stderr.startswith(f"{self.new}: [accounts]"), result.stderr)


class Since(RerouteCase):
    """Without ``--config``: the configuration in force, and what was decided before."""

    def test_moved(self) -> None:
        """After a change queued mail would wait for its time before it goes the new way."""
        id = self.tried()
        self.configure("[queue]", VIA)
        (message,) = self.reroute("--dry-run")["messages"]
        self.assertEqual(message["recipients"][0]["before"]["reason"], MX)
        self.assertIsNone(message["recipients"][0]["before"]["kind"])
        self.assertEqual(self.due(), [False])
        document = self.reroute()
        self.assertEqual(document["due_now"], 1)
        self.assertIs(document["messages"][0]["due_now"], True)
        self.assertEqual(self.due(), [True])
        self.assertEqual(self.document("trace", id)["events"][-1]["event"], "retried")

    def test_stays(self) -> None:
        """What goes the same way would be tried at once, all of it, for nothing."""
        self.tried()
        document = self.reroute()
        self.assertEqual((document["checked"], document["differ"]), (1, 0))
        self.assertEqual(self.due(), [False])
        self.reroute("--dry-run", status=1)

    def test_waits_for_hours(self) -> None:
        """Mail that waits for its hours would be had tried again and again, for the time passes."""
        opens = time.gmtime(time.time() + 12 * 3600)
        hours = f"{time.strftime('%H:00', opens)}-{time.strftime('%H:01', opens)} UTC"
        self.configure(
            "[queue]",
            f'{RULE}via = "tcp:127.0.0.1:2600"\nhours = "{hours}"\n'
            'outside_hours = "wait"\n\n[queue]',
        )
        way = 'rule "far" matches: tcp:127.0.0.1:2600'
        reason = f"{way}; Mon 00:00 UTC is not in {hours}, so it waits until some time"
        self.tried(reason=reason, rule="far")
        self.reroute("--dry-run", status=1)
        (recipient,) = self.document("queue", "list")["messages"][0]["recipients"]
        self.assertEqual(recipient["attempts"], 1)

    def test_not_tried_yet(self) -> None:
        """A message that has not gone anywhere would be said to go elsewhere."""
        self.put(JSMITH)
        self.configure("[queue]", VIA)
        self.assertEqual(self.reroute()["differ"], 0)

    def test_held(self) -> None:
        """A message that an operator stopped would be let go, or be said to go."""
        id = self.tried()
        self.run_here("queue", "hold", id)
        self.configure("[queue]", VIA)
        result = self.run_here("queue", "reroute")
        self.assertIn("1 of 1 message go elsewhere by now; 0 of them due now", result.stderr)
        self.assertIn(f"{id} is held", result.stderr)
        self.assertEqual(self.document("queue", "list")["messages"][0]["held"], True)

    def test_just_left(self) -> None:
        """A message that is delivered at that moment would end it all."""
        self.tried()
        self.configure("[queue]", VIA)
        found = rerouting.Rerouting.changes

        async def changes(self: Any, entries: Any) -> Any:
            changed = await found(self, entries)
            await self.storage.remove(entries[0].id, 0)
            return changed

        self.patch(rerouting.Rerouting, "changes", changes)
        self.assertIn("has just left", self.run_here("queue", "reroute").stderr)


class InForceTests(RerouteCase):
    """What is done depends on what a running server works by."""

    def test_stopped(self) -> None:
        """Before a start with a changed file, nothing could be made ready for it."""
        self.tried()
        self.write_new()
        document = self.reroute("--config", self.new)
        self.assertEqual(document["due_now"], 1)
        self.assertEqual(self.due(), [True])

    def test_not_in_force(self) -> None:
        """Messages would be tried over the old way, and be said to go over the changed one."""
        self.tried()
        self.write_new()
        self.serve(self.config)
        result = self.run_here("queue", "reroute", "--config", self.new, status=1)
        self.assertIn("new.toml is not what the running server works by", result.stderr)
        self.assertIn("SIGHUP", result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(self.due(), [False])

    def test_in_force(self) -> None:
        """What a server has read already could not be carried out."""
        self.tried()
        self.write_new()
        self.serve(self.new)
        self.assertEqual(self.reroute("--config", self.new)["due_now"], 1)

    def test_not_read_again(self) -> None:
        """A changed file that the server has not been told of would seem to be in force."""
        self.tried()
        server = self.serve(self.config)
        self.configure("[queue]", VIA)
        result = self.run_here("queue", "reroute", status=1)
        self.assertIn("SIGHUP", result.stderr)
        self.assertEqual(self.reroute("--dry-run")["differ"], 1)
        server.publish(self.config)
        self.assertEqual(self.reroute()["due_now"], 1)


class Options(RerouteCase):
    """Which file is which."""

    def test_only_config(self) -> None:
        """Who calls the one configuration as for every other command would be refused."""
        self.tried()
        self.configure("[queue]", VIA)
        result = self.run_command("queue", "reroute", "--dry-run", "--config", self.config)
        self.assertIn("1 of 1 message would", result.stderr)

    def test_the_same(self) -> None:
        """A file would be compared with itself, and nothing ever be found."""
        self.tried()
        self.configure("[queue]", VIA)
        self.assertEqual(self.reroute("--dry-run", "--config", self.config)["differ"], 1)

    def test_missing(self) -> None:
        """A wrong path would end in a traceback."""
        result = self.run_here("queue", "reroute", "--config", self.new, status=2)
        self.assertIn("new.toml", result.stderr)
