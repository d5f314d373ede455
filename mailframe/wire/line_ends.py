"""What is asked of the line ends of content, by searches in C over whole chunks.

Every octet that is received, delivered, relayed or fetched goes through here. To replace what is
looked for takes a fraction of the time that counting single octets does.
"""

from __future__ import annotations


def has_bare(octets: bytes) -> bool:
    """Whether there is a CR or LF that is not part of a CRLF.

    :param octets: content that does not end between the two octets of a CRLF
    """
    # Two for two: were CRLF taken out, the octets around it might become another.
    rest = octets.replace(b"\r\n", b"  ")
    return b"\n" in rest or b"\r" in rest


def whole(octets: bytes) -> bytes:
    """The octets with CRLF for each bare CR and LF.

    :param octets: content that does not end between the two octets of a CRLF
    """
    if not has_bare(octets):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def count_lf(octets: bytes) -> int:
    """How many LFs there are."""
    return len(octets) - len(octets.replace(b"\n", b""))
