"""Header lines that are longer than a line may be (RFC 5322 §2.1.1), folded at their blanks.

Folding changes nothing of what a field says (§2.2.3), nor of the signatures of DKIM in their
relaxed form (RFC 6376 §3.4.2).
"""

from __future__ import annotations

MAX_LINE = 998  # octets of a line without its CRLF
_BLANKS = b" \t"


def is_too_long(header: bytes) -> bool:
    """Whether a header section has a line beyond `MAX_LINE`.

    :param header: whole lines with CRLF
    """
    return len(header) > MAX_LINE and any(len(line) > MAX_LINE for line in header.split(b"\r\n"))


def folded(header: bytes) -> bytes | None:
    """The header section with its long lines folded, the others as they are.

    :param header: whole lines with CRLF
    :returns: ``None`` when a line has no blank where it could be folded
    """
    lines: list[bytes] = []
    for line in header.split(b"\r\n"):
        start = 0
        while len(line) - start > MAX_LINE:
            last = start + MAX_LINE + 1  # the blank itself begins the next line
            place = max(line.rfind(b" ", start + 1, last), line.rfind(b"\t", start + 1, last))
            # A line of blanks alone would be taken for the end of the section (§3.2.2).
            if place < 0 or not line[start:place].strip(_BLANKS):
                return None
            lines.append(line[start:place])
            start = place
        if start and not line[start:].strip(_BLANKS):
            continue  # blanks at the end of a line mean nothing
        lines.append(line[start:])
    return b"\r\n".join(lines)
