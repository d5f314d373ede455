"""One table of a TOML file as the object of its settings class, or what is wrong with it.

Whatever does not fit becomes a `Mistake` that knows its table and key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from mailframe.config_errors import Disallowed, Mistake, nearest, shown
from mailframe.settings_converter import describe, make_converter

T = TypeVar("T")
Path = tuple[str | int, ...]  # from the file's top to a value
_VALIDATOR = re.compile(r"'(\w+)' (.+)")  # how the validators of attrs begin their messages
_BOUND = re.compile(r"must be (<|<=|>=|>) (\S+): .*")  # and those of bounds end theirs
_BOUNDS = {"<": "less than", "<=": "at most", ">=": "at least", ">": "more than"}
_NOTES = (AttributeValidationNote, IterableValidationNote)


def read_table(
    cls: type[T],
    document: Mapping[str, Any],
    path: Path,
    folder: str,
    values: Mapping[str, Any],
    other_keys: Sequence[str] = (),
) -> tuple[T | None, list[Mistake]]:
    """Read one table into its settings class.

    :param cls: the attrs class
    :param document: the whole file, to name the place of a mistake
    :param path: where the table stands in it
    :param folder: the absolute path of the folder that paths are relative to
    :param values: the table's keys that are meant for ``cls``
    :param other_keys: keys of the table that are read elsewhere, to be named among the allowed
    :returns: the object, or ``None`` with the mistakes that prevented it
    """
    try:
        return make_converter(folder).structure(values, cls), []
    except Exception as error:  # whatever a settings class raises is a mistake in the file
        return None, list(_mistakes(error, document, path, tuple(other_keys)))


def table_name(document: Mapping[str, Any], path: Path) -> str:
    """How a table is written in the file: ``[tls]``, or ``[[server]] #2 "mx"`` in an array."""
    if not path:
        return ""
    dotted = ""
    for step in path[:-1] if isinstance(path[-1], int) else path:
        dotted += f" #{step + 1}" if isinstance(step, int) else f".{step}" if dotted else step
    if not isinstance(path[-1], int):
        return f"[{dotted}]"
    table = _value_at(document, path)
    name = table.get("name") if isinstance(table, dict) else None
    return f"[[{dotted}]] #{path[-1] + 1}" + (f" {shown(name)}" if isinstance(name, str) else "")


def found_instead(
    document: Mapping[str, Any], path: Path, allowed: str, choices: Sequence[str] = ()
) -> Mistake:
    """The mistake that the value at ``path`` is not one of those allowed."""
    value = _value_at(document, path)
    meant = nearest(value, choices) if isinstance(value, str) else None
    return mistake_at(document, path, f"found {shown(value)}", allowed, meant)


def mistake_at(
    document: Mapping[str, Any],
    path: Path,
    problem: str,
    allowed: str = "",
    meant: str | None = None,
) -> Mistake:
    """A mistake at a key; the table is the deepest one around it."""
    cut = len(path) - 1
    while cut > 0 and not isinstance(_value_at(document, path[:cut]), dict | None):
        cut -= 1
    if isinstance(_value_at(document, path[:-1]), str):
        path = path[:-1]  # one text where a list of texts is allowed
    words = [f"item {step + 1}" if isinstance(step, int) else step for step in path[cut:]]
    return Mistake(
        table=table_name(document, path[:cut]),
        key=", ".join(words),
        problem=problem,
        allowed=allowed,
        meant=meant,
    )


def _value_at(document: Any, path: Path) -> Any:
    for step in path:
        if isinstance(document, str):
            return document
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return None
    return document


# --- from errors to mistakes ------------------------------------------------------------------


def _mistakes(
    error: BaseException,
    document: Mapping[str, Any],
    path: Path,
    other_keys: tuple[str, ...] = (),
    wanted: str = "",
) -> Iterator[Mistake]:
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            note = next((n for n in getattr(inner, "__notes__", ()) if isinstance(n, _NOTES)), None)
            if note is None:
                yield from _mistakes(inner, document, path, other_keys)
            else:
                wanted = describe(note.type)
                yield from _mistakes(inner, document, (*path, _step(note)), (), wanted)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = sorted([*(field.name for field in attrs.fields(error.cl)), *other_keys])
        for key in sorted(error.extra_fields):
            meant = nearest(key, known)
            yield mistake_at(document, (*path, key), "unknown key", ", ".join(known), meant)
    elif isinstance(error, KeyError) and _value_at(document, path) is None:
        yield mistake_at(document, path, "is missing", wanted)
    elif isinstance(error, Disallowed):
        yield found_instead(document, path, error.allowed, error.choices)
    else:
        yield _refused(error, document, path)


def _step(note: AttributeValidationNote | IterableValidationNote) -> str | int:
    return note.name if isinstance(note, AttributeValidationNote) else note.index


def _refused(error: BaseException, document: Mapping[str, Any], path: Path) -> Mistake:
    """What a settings class itself objects to, in its validators or its own checks."""
    text = " ".join(str(error.args[0] if error.args else type(error).__name__).split())
    value = _value_at(document, path)
    if isinstance(value, Mapping) or not path:
        quoted = _VALIDATOR.match(text)
        if quoted and value is not None and quoted[1] in value:
            return _out_of_bounds(quoted[2], document, (*path, quoted[1]))
        return Mistake(table=table_name(document, path), problem=text)
    return mistake_at(document, path, f"found {shown(value)}: {text}")


def _out_of_bounds(text: str, document: Mapping[str, Any], path: Path) -> Mistake:
    """What a validator says of a key, with what was found where that says only what must be."""
    bound = _BOUND.fullmatch(text)
    if bound is not None:
        text = f"must be {_BOUNDS[bound[1]]} {bound[2].removesuffix('.0')}"
    if not text.startswith("must be "):
        return mistake_at(document, path, text)
    return found_instead(document, path, text.removeprefix("must be "))
