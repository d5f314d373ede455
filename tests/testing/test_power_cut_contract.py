"""Whether the contract about power cuts finds what it is there to find."""

from __future__ import annotations

from random import Random
from unittest import TestResult

from mailframe.files import Files
from mailframe.queue.memory import MemoryStorage
from mailframe.testing.contracts import PowerCutContract
from tests.crash.mutants import MUTANTS
from tests.crash.needs import SharedSqliteCase
from tests.queue import test_sqlite


class CarelessTests(SharedSqliteCase):
    """A storage that does not keep its promises."""

    def run_contract(self) -> TestResult:
        result = TestResult()
        test_sqlite.PowerCutTests("test_power_cuts").run(result)
        self.flushLoggedErrors()
        return result

    def test_each_is_found(self) -> None:
        """The author of another storage would be told that all is well."""
        for name in ("sqlite-normal", "row-first", "notices-apart"):
            with MUTANTS[name].installed():
                result = self.run_contract()
            self.assertFalse(result.wasSuccessful(), name)

    def test_a_storage_that_does_nothing_to_files(self) -> None:
        """One that is not given the files would pass without a look at it."""

        class Elsewhere(PowerCutContract, SharedSqliteCase):
            def make_storage_in(self, folder: str, files: Files) -> MemoryStorage:
                return MemoryStorage(clock=self.reactor, random=Random(1))

        result = TestResult()
        Elsewhere("test_power_cuts").run(result)
        self.assertIn("nothing was done by the files", str(result.failures + result.errors))
