"""Unicode in mail addresses: what a local part may hold, and how DNS writes a domain's label.

What looks like a character of ASCII and isn't one, what can't be seen, and what turns the direction
of the text around is refused: with these one address can be made to pass for another (RFC 6532
§3.1, UTS #36).
"""

from __future__ import annotations

import unicodedata

import idna

A_LABEL = "xn--"
_IDEOGRAPHIC_STOP = "\u3002"  # which programs take for the dot between labels (UTS #46)
# Join controls: several scripts can't be written without them (RFC 5892 appendix A).
_JOINERS = "\u200c\u200d"
_REFUSED_KINDS = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cn": "a character that Unicode does not know",
    "Co": "a private character",
    "Cs": "half a character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Zs": "a space outside ASCII",
}


def fault(text: str) -> str:
    """Why a text with characters beyond ASCII can't be in an address, or ``""``."""
    for character in text:
        if character.isascii() or character in _JOINERS:
            continue
        kind = _REFUSED_KINDS.get(unicodedata.category(character))
        if kind is None and _imitates_ascii(character):
            kind = "a character that imitates ASCII"
        if kind is not None:
            return f"holds {kind}, U+{ord(character):04X}"
    return ""


def _imitates_ascii(character: str) -> bool:
    """Whether it is, or holds, an ASCII character in another shape: fullwidth ``@``, Kelvin sign.

    Of letters and digits only those count that become ASCII altogether; of signs, which have a
    meaning in addresses, each.
    """
    plain = unicodedata.normalize("NFKC", character)
    return plain.isascii() or any(
        each == _IDEOGRAPHIC_STOP or (each.isascii() and not each.isalnum()) for each in plain
    )


def composed(text: str) -> str:
    """The text in normal form C, in which equal texts are equal octets."""
    return unicodedata.normalize("NFC", text)


def to_a_label(label: str) -> str:
    """The form of a label in DNS (RFC 5890 §2.3.2.1).

    :param label: with characters beyond ASCII, in any case
    :raises ValueError: IDNA 2008 doesn't allow it; the message says why, in printable ASCII
    """
    # Mapped before the look-up, as RFC 5895 §2 has it; but nothing is made ASCII that was not.
    reason = fault(label)
    if reason:
        raise ValueError(reason)
    try:
        return idna.alabel(composed(label.lower())).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise ValueError("holds a character that no domain name may have there") from None


def check_a_label(label: str) -> None:
    """Look whether a label that begins with ``xn--`` stands for something that may be a name.

    Names registered before IDNA 2008, with signs that it has no place for, exist and get mail: what
    is asked for is only that the label is the one way to write a text that could be in an address.

    :param label: lower case
    :raises ValueError: it isn't; the message says why, in printable ASCII
    """
    try:
        text = label[len(A_LABEL) :].encode("ascii").decode("punycode")
        again = text.encode("punycode").decode("ascii")
    except (UnicodeError, ValueError, OverflowError):
        raise ValueError("holds an A-label that can't be decoded") from None
    if text.isascii() or again != label[len(A_LABEL) :] or composed(text) != text:
        raise ValueError("holds an A-label that stands for nothing")
    reason = fault(text)
    if reason:
        raise ValueError(f"{reason}, in an A-label")
