"""How many descriptors the process may have."""

from __future__ import annotations

import resource

from twisted.trial.unittest import SynchronousTestCase

from mailframe.descriptors import allow_all


class LimitTests(SynchronousTestCase):
    """The limit on open files."""

    def test_allowed(self) -> None:
        """At 170 POP3 clients nobody gets mail any more, though the system allows far more."""
        before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, soft), hard))
        allow_all()
        self.assertEqual(resource.getrlimit(resource.RLIMIT_NOFILE), (hard, hard))

    def test_refused(self) -> None:
        """A server that may not ask for more doesn't start."""
        for error in (ValueError("not allowed to raise maximum limit"), OSError(1, "no")):

            def refuse(*arguments: object, error: Exception = error) -> None:
                raise error

            self.patch(resource, "setrlimit", refuse)
            allow_all()
