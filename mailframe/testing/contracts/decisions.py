"""What every decision must be, whoever takes it."""

from __future__ import annotations

import re
from unittest import TestCase

from mailframe.outcome import Decision

_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def check_decision(case: TestCase, decision: Decision) -> None:
    """Demand that a decision's reason can be shown to a person, on one line."""
    case.assertRegex(decision.reason, rf"\A{_PRINTABLE.pattern}\Z")
    case.assertFalse(decision.reason.endswith("."), "a reason has no final dot")
    case.assertNotIn("\n", decision.rule)
