"""Many ``smtp-sink`` at once, each with switches of its own."""

from __future__ import annotations

import getpass
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mailframe.cli.parts import with_storage
from mailframe.documents import trace_document
from mailframe.interfaces import IQueueStorage
from mailframe.settings import load
from tests.interop.programs import free_ports
from tests.interop.relaying import RelayCase


def listens(address: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


class FaultyServersCase(RelayCase):
    """Starts the sinks; what they were given lies in ``self.dump``, a file for each transaction."""

    def setUp(self) -> None:
        super().setUp()
        self.dump = self.folder / "dump"
        self.dump.mkdir()
        self.dump.chmod(0o777)

    def start_sinks(
        self,
        each: Sequence[Sequence[str]],
        name: str,
        ports: Sequence[int] = (),
        address: str = "127.0.0.1",
    ) -> tuple[list[int], list[subprocess.Popen[bytes]]]:
        """Start them all, and wait until all listen; returns their ports, and them.

        :param each: the options of each
        :param name: their messages' files begin with it, and the port: two sinks may draw
            the same number, and one that can't make its file is gone
        """
        sink = self.program("smtp-sink", "postfix")
        user = "nobody" if getpass.getuser() == "root" else getpass.getuser()
        ports = list(ports) or free_ports(len(each))
        processes = [
            self.start(
                *(sink, "-u", user, "-d", str(self.dump / f"{name}-{port}-")),
                *(*options, f"{address}:{port}", "100"),
            )
            for port, options in zip(ports, each, strict=True)
        ]
        for port, process in zip(ports, processes, strict=True):
            self.wait_for(f"{address}:{port} open", lambda port=port: listens(address, port))
            self.assertIsNone(process.poll(), self.logs())
        return ports, processes

    def taken(self, name: str) -> Counter[str]:
        """How often each recipient is in what sinks of a name were given."""
        prefix = b"X-Rcpt-Args: <"
        return Counter(
            line[len(prefix) :].partition(b">")[0].decode()
            for path in self.dumped(name)
            for line in path.read_bytes().splitlines()
            if line.startswith(prefix)
        )

    def dumped(self, name: str) -> list[Path]:
        """The files that sinks of a name have written."""
        return [path for path in self.dump.glob(f"{name}-*") if path.stat().st_size]

    def traces(self, ids: Sequence[str]) -> dict[str, Any]:
        """What ``mailframe trace`` prints of each, by id; read at once, for there are many."""
        time.sleep(0.2)  # who asks again and again leaves the server time for its work

        async def documents(storage: IQueueStorage) -> dict[str, Any]:
            return {
                id: trace_document(id, await storage.find(id=id), await storage.history(id=id))
                for id in ids
            }

        return with_storage(load(str(self.configuration)), documents)
