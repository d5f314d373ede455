"""A mailframe that relays, and what its queue and mailboxes hold."""

from __future__ import annotations

import json
from typing import Any

from tests.interop.ourselves import MailframeCase
from tests.interop.programs import maildir, toml_list
from tests.interop.servers import ServersCase

RULE = '[[routing.rule]]\nname = "{name}"\nrecipients = {recipients}\nvia = "{via}"\n'


class RelayCase(MailframeCase, ServersCase):
    """What the tests of relaying share."""

    def rule(self, via: str, *recipients: str, name: str = "next", more: str = "") -> str:
        recipients = recipients or ("*@mindspring.example",)
        return RULE.format(name=name, recipients=toml_list(recipients), via=via) + more

    def queued(self) -> list[dict[str, Any]]:
        done = self.mailframe("queue", "list", "-c", self.configuration, "--json")
        messages: list[dict[str, Any]] = json.loads(done.stdout)["messages"]
        return messages

    def inbox(self, name: str = "angelo") -> list[bytes]:
        return maildir(self.mailbox(name))
