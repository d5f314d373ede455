"""Runs targets: the corpus again, or new inputs for a while."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.fuzz import file_targets, message_targets, wire_targets
from tests.fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"
ALL = wire_targets.TARGETS + message_targets.TARGETS + file_targets.TARGETS
TARGETS = {target.name: target for target in ALL}


def corpus(target: Target) -> Iterator[tuple[str, bytes]]:
    """The inputs that are kept for a target, by their names."""
    for path in sorted((CORPUS / target.name).glob("*")):
        yield path.name, path.read_bytes()


def keep(target: Target, octets: bytes) -> Path:
    """Put an input into the corpus."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(octets).hexdigest()[:12]
    path.write_bytes(octets)
    return path


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """What to try: words in any order, kept inputs with something changed, and any octets."""
    word = st.sampled_from(target.words) | st.binary(max_size=3)
    phrases = st.lists(word, max_size=14).map(b"".join)
    kept = [octets for _, octets in corpus(target)]
    if not kept:
        return phrases
    changed = st.builds(
        _changed, st.sampled_from(kept), st.integers(0, 300), st.integers(0, 3), word
    )
    return phrases | changed


def _changed(octets: bytes, place: int, gone: int, instead: bytes) -> bytes:
    place = place % (len(octets) + 1)
    return octets[:place] + instead + octets[place + gone :]


class Failure(Exception):
    """A claim does not hold for an input, the smallest that was found."""

    def __init__(self, target: Target, octets: bytes) -> None:
        super().__init__(f"{target.name}: {octets!r}")
        self.octets = octets


def run(target: Target, *, seconds: float | None, examples: int, start: int = 0) -> int:
    """Try new inputs.

    :param seconds: until when to go on; ``None`` to try ``examples`` once
    :param examples: inputs in one round
    :param start: which random numbers to begin with; the same give the same inputs
    :returns: how many inputs were tried
    :raises Failure: a claim does not hold
    """
    tried = 0
    failed: list[bytes] = []

    def attempt(octets: bytes) -> None:
        nonlocal tried
        tried += 1
        try:
            target.check(octets)
        except BaseException:
            failed.append(octets)
            raise

    end = None if seconds is None else time.monotonic() + seconds
    while True:
        test = given(inputs(target))(attempt)
        test = seed(start)(test)
        test = hypothesis_settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )(test)
        try:
            test()
        except Exception as error:
            raise Failure(target, failed[-1]) from error
        start += 1
        if end is None or time.monotonic() > end:
            return tried
