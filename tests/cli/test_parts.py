"""The server's parts, as commands use them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import succeed

from mailframe.assembly import PartError
from mailframe.cli import parts as parts_module
from mailframe.cli.options import Misuse, Refusal
from mailframe.cli.parts import with_parts
from mailframe.interfaces import StorageFault
from mailframe.settings import load
from tests.cli.commands import CommandCase


class WithParts(CommandCase):
    """Parts that are services, and parts that fail."""

    def setUp(self) -> None:
        super().setUp()
        self.events: list[str] = []
        self.settings = load(self.config)

        def service(name: str, stopped: Any) -> Any:
            def stop() -> Any:
                self.events.append(f"stop {name}")
                return stopped

            return SimpleNamespace(
                startService=lambda: self.events.append(f"start {name}"), stopService=stop
            )

        async def close() -> None:
            self.events.append("close")

        opened = SimpleNamespace(
            services=(service("a", None), service("b", succeed(None))), close=close
        )
        self.patch(parts_module, "open_parts", lambda *_, **__: opened)

    def test_services(self) -> None:
        """A storage that connects when it is started could not be looked at."""

        async def act(_parts: object) -> str:
            self.events.append("act")
            return "done"

        self.assertEqual(with_parts(self.settings, ("queue",), act), "done")
        self.assertEqual(self.events, ["start a", "start b", "act", "stop a", "stop b", "close"])

    def test_faults(self) -> None:
        """A fault would end in a traceback, and leave the queue open."""
        for fault, expected in (
            (StorageFault("disk is gone"), Refusal),
            (PartError("no such part"), Misuse),
        ):

            async def act(_parts: object, fault: Exception = fault) -> None:
                raise fault

            self.events.clear()
            with self.assertRaises(expected) as caught:
                with_parts(self.settings, ("queue",), act)
            self.assertIn(str(fault), caught.exception.message)
            self.assertEqual(self.events[-1], "close")
