"""``python -m tests.interop.internet [--rounds N] [--messages N] [--strikes N] [--seed S]``.

Ends with 1 when a promise was broken, with 3 when that can't be found out on this machine.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from twisted.trial.unittest import SkipTest

from tests.interop.internet.copies import Counts
from tests.interop.internet.flow import Flow

NOT_HERE = 3


def main() -> int:
    """Run as many rounds as were asked for, over one chain."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.internet")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--messages", type=int, default=100, help="in a round")
    parser.add_argument("--strikes", type=int, default=12, help="cuts and kills in a round")
    parser.add_argument("--seed", default=str(time.time_ns()))
    chosen = parser.parse_args()
    print("seed", chosen.seed, flush=True)
    flow, counts = Flow(), Counts()
    try:
        flow.setUp()
        source = random.Random(chosen.seed)
        for number in range(chosen.rounds):
            flow.round(
                messages=chosen.messages, strikes=chosen.strikes, random=source, counts=counts
            )
            print(f"round {number + 1}: {counts}", flush=True)
    except SkipTest as reason:
        print(f"not here: {reason}", file=sys.stderr)
        return NOT_HERE
    finally:
        flow.doCleanups()
    print(*counts.broken, sep="\n", end="")
    return 1 if counts.broken else 0


if __name__ == "__main__":
    sys.exit(main())
