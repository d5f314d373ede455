"""The time that the worst inputs take as they double: ``python -m benchmarks.linear [name …]``.

For each of `benchmarks.attacks` it prints the CPU time for its size, doubled three times, and the
ratio of each time to the one before. Ratios about 2 are proportional, about 4 quadratic.
"""

from __future__ import annotations

import itertools
import sys
import time

from benchmarks.attacks import ATTACKS, Attack


def cost(attack: Attack, size: int, rounds: int = 3) -> float:
    """CPU seconds for an input of a size, the least of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        run = attack.prepare(size)
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """The command."""
    wanted = sys.argv[1:]
    print(f"{'attack':46} {'size':>9} {'ms':>8}   {'x2':>13} {'x4':>13} {'x8':>13}")
    for attack in ATTACKS:
        if wanted and not any(word in attack.name for word in wanted):
            continue
        costs = [cost(attack, attack.size * factor) for factor in (1, 2, 4, 8)]
        shown = "".join(
            f"{after * 1000:8.1f} {after / before:5.1f}"
            for before, after in itertools.pairwise(costs)
        )
        print(f"{attack.name:46} {attack.size:9} {costs[0] * 1000:8.1f}   {shown}", flush=True)


if __name__ == "__main__":
    main()
