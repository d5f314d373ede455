"""Every parser for a moment, and again with all inputs that ever mattered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.campaign import CORPUS, TARGETS, corpus, run
from tests.fuzz.target import Target

EXAMPLES = 120


class FuzzTests(SynchronousTestCase):
    """No input makes a parser fail otherwise than it says it does."""

    def test_corpus_has_a_target(self) -> None:
        """An input that once mattered would not be tried again, for its target has another name."""
        self.assertLessEqual({path.name for path in CORPUS.iterdir()}, TARGETS.keys())


def _test(target: Target) -> Callable[[Any], None]:
    def test(case: Any) -> None:
        for name, octets in corpus(target):
            try:
                target.check(octets)
            except Exception as error:
                raise AssertionError(f"corpus/{target.name}/{name}: {octets!r}") from error
        case.assertGreater(run(target, seconds=None, examples=EXAMPLES), EXAMPLES / 4)

    test.__doc__ = target.check.__doc__
    return test


for _target in TARGETS.values():
    setattr(FuzzTests, f"test_{_target.name}", _test(_target))
