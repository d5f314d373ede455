"""Logins and passwords as text: the one form in which they are compared (RFC 8265, RFC 4013).

Unicode has many ways to write what looks the same. A login that could pass for another one is
refused before anybody is asked about it; a password is hashed in the form that clients hash.
"""

from __future__ import annotations

import stringprep
import unicodedata

from mailframe import unicode_names


class UnusableText(ValueError):
    """It can't be a login or a password; ``str(error)`` says why, without repeating it."""


def login_name(octets: bytes) -> bytes:
    """A login in its one form: UTF-8 in normalisation form C (RFC 8265 §3.3).

    What NFKC would replace is refused, not mapped: a fullwidth ``@``, the Kelvin sign for a K, a
    ligature; and so is what can't be seen, or can't be in an address.

    :raises UnusableText: it is not UTF-8, or holds such a character
    """
    if octets.isascii():
        if not octets.decode("ascii").isprintable():
            raise UnusableText("the login holds a control character")
        return octets
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise UnusableText("the login is not UTF-8") from None
    fault = unicode_names.fault(text)
    if fault or not "".join(filter(str.isascii, text)).isprintable():
        raise UnusableText(f"the login {fault or 'holds a control character'}")
    if any(unicodedata.normalize("NFKC", each) != each for each in text):
        raise UnusableText("the login holds a character that stands for another")
    return unicode_names.composed(text).encode()


def saslprep(text: str) -> str:
    """SASLprep (RFC 4013) for a text that is to be stored.

    :raises UnusableText: it holds a prohibited or unassigned character, or mixes directions
    """
    if text.isascii():
        if not text.isprintable():
            raise UnusableText("it holds a control character")
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each
        for each in text
        if not stringprep.in_table_b1(each)
    )
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    for each in normal:
        if any(prohibits(each) for prohibits in _PROHIBITED):
            raise UnusableText("it holds a character that SASLprep prohibits")
    _check_direction(normal)
    return normal


def password_for_scram(octets: bytes) -> bytes:
    """A password as SCRAM hashes it: prepared with SASLprep (RFC 5802 §2.2).

    SASLprep stopped at Unicode 3.2. What it can't prepare, such as an emoji, or would leave nothing
    of, is only brought into normalisation form C; and what is not UTF-8 is left as it is.
    """
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return octets
    try:
        prepared = saslprep(text)
    except UnusableText:
        prepared = ""
    return (prepared or unicodedata.normalize("NFC", text)).encode()


def _check_direction(text: str) -> None:
    """RFC 3454 §6: right-to-left text begins and ends with it and holds nothing left-to-right."""
    if any(map(stringprep.in_table_d1, text)):
        ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
        if not ends or any(map(stringprep.in_table_d2, text)):
            raise UnusableText("it mixes directions of writing")


# RFC 4013 §2.3 and, as the text is to be stored, the unassigned code points of §2.5.
_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
