"""Content on the wire as RFC 5321 §4.5.2 and our rules define it: slow, short and plainly right.

The rules beside the RFC's: only CRLF ends a line, and content with a bare CR, a bare LF, or a line
that begins with NUL or with a dot and NUL, is refused once its true end has come. These are what
other servers have taken for the end.

`mailframe.wire.data` must agree with this for every string, however it is cut into chunks.
"""

from __future__ import annotations

import re

import attrs


@attrs.frozen
class Reading:
    """What stands in a stream after DATA.

    :ivar content: without stuffed dots; ``None`` when it is refused
    :ivar rest: what follows the end, and is commands again unless the content was refused
    """

    content: bytes | None
    rest: bytes


def read_data(stream: bytes) -> Reading | None:
    """Read content up to its end.

    :returns: ``None`` when the end has not come
    """
    content = b""
    refused = False
    while b"\r\n" in stream:
        line, _, stream = stream.partition(b"\r\n")
        if line == b".":
            return Reading(None if refused else content, stream)
        if b"\r" in line or b"\n" in line or line.startswith((b"\0", b".\0")):
            refused = True
        content += line.removeprefix(b".") + b"\r\n"
    return None


def whole_lines(content: bytes) -> bytes:
    """What a receiver must get of content that is to be sent: each line end as CRLF, the last too.

    A CRLF, a bare CR and a bare LF are one line end each.
    """
    lines = re.split(rb"\r\n|\r|\n", content)
    if not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
