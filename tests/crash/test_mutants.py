"""Whether `tests.crash.model` would find what it is there to find."""

from __future__ import annotations

import signal
from contextlib import redirect_stdout
from io import StringIO

from tests.crash import __main__ as command
from tests.crash import proofs
from tests.crash.model import explore
from tests.crash.mutants import MUTANTS
from tests.crash.needs import SharedSqliteCase


class MutantTests(SharedSqliteCase):
    """The program with something taken away."""

    def test_each_is_found(self) -> None:
        """A sync could be lost by a change, and no test would fail."""
        unfound = []
        for name, mutant in MUTANTS.items():
            with mutant.installed():
                report = explore("1", until_found=True)
            if report.is_clean:
                unfound.append(name)
        self.assertEqual(unfound, [])
        self.assertGreater(len(MUTANTS), 20)

    def test_a_bad_writer_ends_the_command_with_1(self) -> None:
        """Whoever runs the campaigns in a script would not notice what they find."""
        self.patch(proofs, "explore", lambda seed, most: explore(seed, until_found=True))
        self.patch(command, "quietly", lambda prove, seed: prove(seed))
        self.patch(signal, "signal", lambda number, act: None)
        output = StringIO()
        with MUTANTS["bad-writer"].installed(), redirect_stdout(output):
            self.assertEqual(command.main(["model"]), 1)
        self.assertRegex(output.getvalue(), r"lost [1-9]")
