"""Haraka and aiosmtpd, which are measured where they can be installed.

Each is installed once, with its own package manager, into ``build/benchmark`` and used from there
afterwards. What is missing is said, and no reason to fail.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.against_postfix.servers import CPUS, DOMAIN, Serving
from benchmarks.programs import (
    Failed,
    environment,
    find_program,
    greeted,
    run,
    running,
)

INSTALLED = Path("build/benchmark").resolve()
_PATIENCE = 300.0  # seconds for an installation


class Haraka:
    """Haraka, from npm, with one process for each CPU."""

    name = "Haraka"
    promise = (
        "the file is synced before it gets its name, the folder isn't: after a power cut it may be"
        " there only under the temporary name, which is not read"
    )

    def missing(self) -> str:
        """Install it, unless that was done."""
        if find_program("node") is None or find_program("npm") is None:
            return "Haraka needs node and npm (Debian: apt-get install nodejs npm)"
        if self._program.exists():
            return ""
        home = INSTALLED / "haraka"
        home.mkdir(parents=True, exist_ok=True)
        quiet = ("--no-audit", "--no-fund", "--omit=optional")
        try:
            run("npm", "install", "--prefix", home, *quiet, "Haraka", patience=_PATIENCE)
        except Failed as error:
            return f"Haraka can't be installed: {error}"
        return ""

    @property
    def _package(self) -> Path:
        return INSTALLED / "haraka" / "node_modules" / "Haraka"

    @property
    def _program(self) -> Path:
        return self._package / "bin" / "haraka"

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, *, local: bool, sink: int) -> Iterator[Serving]:
        """Serve; it has no Maildirs, so that all mail goes to the sink."""
        for name, text in {
            "config/smtp.ini": f"listen=127.0.0.1:{port}\nnodes={CPUS}\n",
            "config/outbound.ini": "local_mx_ok=true\nenable_tls=false\nconcurrency_max=50\n",
            "config/plugins": "benchmark\n",
            "config/me": f"mx.{DOMAIN}\n",
            "config/log.ini": "level=warn\n",
            "config/host_list": "",
            # It does not work without this one, and does not take its own.
            "config/connection.ini": (self._package / "config/connection.ini").read_text(),
            "plugins/benchmark.js": _HARAKA_PLUGIN.format(sink=sink),
        }.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        with running("node", self._program, "-c", root, cwd=root) as process:
            greeted(port, process)
            yield Serving(process.pid)


_HARAKA_PLUGIN = """\
exports.hook_connect = (next, connection) => {{ connection.relaying = true; next() }}
exports.hook_rcpt = (next) => next(OK)
exports.hook_get_mx = (next) =>
    next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink} }})
"""


class Aiosmtpd:
    """aiosmtpd, from PyPI, with a program that says 250 and does nothing."""

    name = "aiosmtpd"
    promise = "nothing: the program throws the message away (one process)"

    def missing(self) -> str:
        """Install it, unless that was done."""
        if self._works():
            return ""
        home = INSTALLED / "aiosmtpd"
        try:
            run(sys.executable, "-m", "venv", home, patience=_PATIENCE)
            run(self._python, "-m", "pip", "install", "-q", "aiosmtpd", patience=_PATIENCE)
        except Failed as error:
            return f"aiosmtpd can't be installed: {error}"
        return ""

    @property
    def _python(self) -> Path:
        return INSTALLED / "aiosmtpd" / "bin" / "python"

    def _works(self) -> bool:
        if not self._python.exists():
            return False
        command = (self._python, "-c", "import aiosmtpd")
        return not subprocess.run(command, capture_output=True, env=environment()).returncode

    @contextlib.contextmanager
    def serve(self, root: Path, port: int, *, local: bool, sink: int) -> Iterator[Serving]:
        """Take everything, and forget it."""
        program = root / "take_all.py"
        program.write_text(_AIOSMTPD_PROGRAM)
        with running(self._python, program, str(port), cwd=root) as process:
            greeted(port, process)
            yield Serving(process.pid)


_AIOSMTPD_PROGRAM = """\
import asyncio
import sys

from aiosmtpd.smtp import SMTP


class TakeAll:
    async def handle_DATA(self, server, session, envelope):
        return "250 OK"


async def main():
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(TakeAll()), "127.0.0.1", int(sys.argv[1]), backlog=1000
    )
    await server.serve_forever()


asyncio.run(main())
"""
