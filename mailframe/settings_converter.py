"""From a value of a TOML file to the type that a settings class asks for.

A settings class only annotates its fields: ``str``, ``int``, ``float``, ``bool``, ``Literal``, the
types of `mailframe.units`, `DomainName`, `mailframe.address.Address`, other attrs classes (a
table), ``tuple[X, ...]`` (a list, or an array of tables), ``dict[str, X]``, and unions of them.
Nothing is converted silently: ``"25"`` is not a number. Where a list of texts is asked for, one
text will do.
"""

from __future__ import annotations

import math
import operator
import os
import types
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Literal, NewType, Union, cast, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from mailframe.address import Address, AddressError, normal_domain
from mailframe.config_errors import Disallowed, shown
from mailframe.units import FilePath, Octets, Seconds, parse_duration, parse_size

Hook = Callable[[Any, Any], Any]

DomainName = NewType("DomainName", str)  # in normal form once read

_LISTS = (tuple, list, frozenset, Sequence)
_TABLES = (dict, Mapping)
_NAMES: Mapping[Any, str] = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Seconds: 'a duration such as "30s", "15m", "4h" or "5d"',
    Octets: 'a size such as "64KB", "25MB" or "1GB"',
    FilePath: "the path of a file or folder, in quotes",
    DomainName: 'a domain name such as "rosse.example"',
    Address: 'a mail address such as "postmaster@rosse.example"',
}


@lru_cache(maxsize=16)  # what it learns of a class it compiles, and that takes its time
def make_converter(folder: str) -> Converter:
    """The converter for settings whose paths are relative to ``folder``."""
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (str, int, bool, float):
        converter.register_structure_hook(kind, _scalar)

    def file_path(value: Any, _type: Any) -> FilePath:
        return FilePath(os.path.normpath(os.path.join(folder, _scalar(value, FilePath))))

    named: dict[Any, Hook] = {
        Seconds: _reads(parse_duration),
        Octets: _reads(parse_size),
        FilePath: file_path,
        DomainName: _reads(normal_domain, text=True),
        Address: _reads(Address.parse, text=True),
    }
    # the last registered is asked first
    converter.register_structure_hook_factory(attrs.has, _table_hook)
    converter.register_structure_hook_factory(lambda t: _origin(t) in _TABLES, _mapping_hook)
    converter.register_structure_hook_factory(lambda t: _origin(t) in _LISTS, _list_hook)
    converter.register_structure_hook_factory(_is_union, _union_hook)
    converter.register_structure_hook_func(_is_literal, _literal)
    for type_, hook in named.items():
        converter.register_structure_hook_func(partial(operator.is_, type_), hook)
    return converter


# --- what is allowed --------------------------------------------------------------------------


def describe(type_: Any) -> str:
    """What may stand in the file for a type."""
    if type_ in _NAMES:
        return _NAMES[type_]
    if _is_literal(type_):
        return ", ".join(shown(choice) for choice in get_args(type_))
    if _is_union(type_):
        return " or ".join(describe(each) for each in _alternatives(type_))
    if _origin(type_) in _LISTS:
        item = _item_type(type_)
        return "tables in [[double brackets]]" if attrs.has(item) else f"a list of {_plural(item)}"
    return "a table" if attrs.has(type_) or _origin(type_) in _TABLES else str(type_)


def _plural(type_: Any) -> str:
    return "texts in quotes" if type_ is str else f"values, each {describe(type_)}"


def _origin(type_: Any) -> Any:
    origin = get_origin(type_) or type_
    return {Sequence: Sequence, Mapping: Mapping}.get(origin, origin)


def _item_type(type_: Any) -> Any:
    return (get_args(type_) or (Any,))[0]


def _is_literal(type_: Any) -> bool:
    origin: Any = get_origin(type_)  # its declared type leaves out the special forms
    return origin is Literal


def _is_union(type_: Any) -> bool:
    return get_origin(type_) in (Union, types.UnionType)


def _alternatives(type_: Any) -> list[Any]:
    return [each for each in get_args(type_) if each is not type(None)]


# --- hooks ------------------------------------------------------------------------------------


def _scalar(value: Any, type_: Any) -> Any:
    wanted: Any = str if type_ is FilePath else type_
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise Disallowed(describe(type_))
    if type_ is FilePath and (not value or "\0" in value):
        raise Disallowed(describe(type_))
    return value


def _reads(parse: Callable[[Any], Any], text: bool = False) -> Hook:
    def hook(value: Any, type_: Any) -> Any:
        if text and not isinstance(value, str):
            raise Disallowed(describe(type_))
        try:
            return parse(value)
        except AddressError as error:
            raise Disallowed(f"{describe(type_)} ({error})") from error
        except ValueError as error:
            raise Disallowed(str(error) or describe(type_)) from None

    return hook


def _literal(value: Any, type_: Any) -> Any:
    choices = get_args(type_)
    if value not in choices or type(value) not in map(type, choices):
        raise Disallowed(describe(type_), [each for each in choices if isinstance(each, str)])
    return value


def _union_hook(type_: Any, converter: Converter) -> Hook:
    alternatives = _alternatives(type_)
    choices = [c for each in alternatives for c in get_args(each) if isinstance(c, str)]

    def hook(value: Any, _type: Any) -> Any:
        fitting = [each for each in alternatives if _has_shape(each, value)]
        if len(alternatives) == 1 or (len(fitting) == 1 and isinstance(value, list | dict)):
            return converter.structure(value, (*fitting, *alternatives)[0])
        for each in fitting:
            try:
                return converter.structure(value, each)
            except Disallowed:
                continue  # the next alternative may take it
        raise Disallowed(describe(type_), choices)

    return hook


def _has_shape(type_: Any, value: Any) -> bool:
    if _origin(type_) in _LISTS:
        return isinstance(value, list)
    is_table = type_ is not Address and attrs.has(type_)
    if is_table or _origin(type_) in _TABLES:
        return isinstance(value, dict)
    return not isinstance(value, list | dict)


def _list_hook(type_: Any, converter: Converter) -> Hook:
    item = _item_type(type_)
    build = {list: list, frozenset: frozenset}.get(_origin(type_), tuple)

    def hook(value: Any, _type: Any) -> Any:
        if isinstance(value, str) and not attrs.has(item):
            value = [value]
        if not isinstance(value, list | tuple):
            raise Disallowed(describe(type_))
        return build(_each(converter, enumerate(value), item, type_))

    return hook


def _mapping_hook(type_: Any, converter: Converter) -> Hook:
    item = (*get_args(type_), Any, Any)[1]

    def hook(value: Any, _type: Any) -> Any:
        if not isinstance(value, dict):
            raise Disallowed(describe(type_))
        return dict(zip(value, _each(converter, value.items(), item, type_), strict=True))

    return hook


def _each(converter: Converter, items: Any, item: Any, type_: Any) -> list[Any]:
    read, errors = [], []
    for index, value in items:
        try:
            read.append(converter.structure(value, item))
        except Exception as error:  # collected, each with its place
            error.add_note(IterableValidationNote(f"at {index}", index, item))
            errors.append(error)
    if errors:
        raise IterableValidationError("in a list", errors, type_)
    return read


def _table_hook(cls: Any, converter: Converter) -> Hook:
    read = make_dict_structure_fn(cls, converter)
    # Defaults are written as in the file, so a path among them is relative to it as well.
    paths = {
        field.name: field.default
        for field in attrs.fields(attrs.resolve_types(cls))
        if isinstance(field.default, str)
        and (field.type is FilePath or FilePath in get_args(field.type))
    }

    def hook(value: Any, _type: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Disallowed("a table")
        return read({**paths, **value}, cls)

    return cast(Hook, hook)
