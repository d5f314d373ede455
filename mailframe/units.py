"""The types that settings classes use for values with a unit, and how they are written.

A plugin annotates the fields of its settings class with these; `mailframe.settings` reads them.
"""

from __future__ import annotations

import re
from typing import NewType

Seconds = NewType("Seconds", float)  # written "15m", "4h", "5d", "30s", or a number of seconds
Octets = NewType("Octets", int)  # written "25MB", "64KB", or a number of octets
FilePath = NewType("FilePath", str)  # absolute once read; written relative to the file it stands in

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|KiB|MiB|GiB)")
_LONGEST = 36_500 * 86_400.0  # beyond it are days that no calendar can name
_LARGEST = 10**15  # more than any disk holds, and SQLite can count it
_OCTETS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


def parse_duration(value: object) -> Seconds:
    """Read a duration.

    :param value: text such as ``"15m"`` or a number of seconds
    :raises ValueError: it is neither, negative or longer than a century; the message says what is
        allowed
    """
    seconds: float = -1
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        seconds = float(match[1]) * _SECONDS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    if not 0 <= seconds <= _LONGEST:
        most = " of at most 36500d" if seconds > _LONGEST else ""
        raise ValueError(f'a duration{most} such as "30s", "15m", "4h" or "5d"')
    return Seconds(float(seconds))


def parse_size(value: object) -> Octets:
    """Read a size.

    :param value: text such as ``"25MB"`` or a number of octets
    :raises ValueError: it is neither, negative or beyond 1,000,000 GB; the message says what is
        allowed
    """
    octets: float = -1
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        octets = float(match[1]) * _OCTETS[match[2]]
    elif isinstance(value, int) and not isinstance(value, bool):
        octets = value
    if not 0 <= octets <= _LARGEST:
        most = " of at most 1000000GB" if octets > _LARGEST else ""
        raise ValueError(f'a size{most} such as "64KB", "25MB" or "1GB"')
    return Octets(int(octets))


def duration_text(seconds: float) -> str:
    """The duration in the largest unit that shows it exactly: ``"15m"``."""
    for unit in ("w", "d", "h", "m"):
        if seconds >= _SECONDS[unit] and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.12g}{unit}"
    return f"{seconds:.12g}s"
