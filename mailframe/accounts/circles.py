"""Finds what leads back to itself, in time that grows with the number of steps and no faster."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def on_circles(targets: Mapping[K, Iterable[K]]) -> set[K]:
    """Which keys lead back to themselves, through however many others.

    Tarjan's algorithm for strongly connected components, without recursion: what is on a circle
    shares its component with another key, or leads to itself at once.

    :param targets: where each key leads; what is no key leads nowhere
    """
    found: set[K] = set()
    numbers: dict[K, int] = {}  # in the order in which keys are reached
    lowest: dict[K, int] = {}  # the earliest open key that is known to be reached from each
    open_keys: dict[K, None] = {}  # whose component is not complete, in that order
    for first in targets:
        if first in numbers:
            continue
        path: list[tuple[K, Iterator[K]]] = []
        ahead: K | None = first
        while ahead is not None or path:
            if ahead is not None:
                numbers[ahead] = lowest[ahead] = len(numbers)
                open_keys[ahead] = None
                path.append((ahead, iter(targets.get(ahead, ()))))
            key, steps = path[-1]
            ahead = None
            for to in steps:
                if to == key:
                    found.add(key)
                elif to not in numbers:
                    ahead = to
                    break
                elif to in open_keys:
                    lowest[key] = min(lowest[key], numbers[to])
            if ahead is not None:
                continue
            path.pop()
            if path:
                before = path[-1][0]
                lowest[before] = min(lowest[before], lowest[key])
            if lowest[key] == numbers[key]:
                component = []
                while True:
                    member, _ = open_keys.popitem()
                    component.append(member)
                    if member == key:
                        break
                if len(component) > 1:
                    found.update(component)
    return found
