"""Which file system a path lies on, as Linux tells in ``/proc/self/mountinfo``. Pure.

See proc_pid_mountinfo(5) for the format. A line that does not fit it is passed over: what can't be
understood must not keep a server from starting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

_ESCAPED = re.compile(r"\\([0-7]{3})")


@attrs.frozen(kw_only=True)
class Mount:
    """One mounted file system.

    :ivar id: its number
    :ivar parent: the number of the one that it is mounted on
    :ivar point: the absolute path where it is mounted
    :ivar kind: the type: ``ext4``, ``tmpfs``, ``fuse.sshfs``
    :ivar source: what is mounted there: a device, a server's path or a word
    :ivar options: of the mount point and of the file system
    """

    id: int
    parent: int
    point: str
    kind: str
    source: str
    options: frozenset[str]


def parse_mounts(text: str) -> tuple[Mount, ...]:
    """Read what ``/proc/self/mountinfo`` holds."""
    mounts = (_mount(line.split(" ")) for line in text.split("\n"))
    return tuple(mount for mount in mounts if mount is not None)


def _mount(fields: Sequence[str]) -> Mount | None:
    try:
        end = fields.index("-", 6)  # of the fields of which there may be any number
        kind, source, options = fields[end + 1 : end + 4]
        number, parent = int(fields[0]), int(fields[1])
    except ValueError:
        return None
    point = _plain(fields[4])
    if not point.startswith("/"):
        return None
    return Mount(
        id=number,
        parent=parent,
        point=point,
        kind=_plain(kind),
        source=_plain(source),
        options=frozenset((*fields[5].split(","), *options.split(","))),
    )


def _plain(field: str) -> str:
    r"""Space, tab, line feed and backslash are written as ``\040`` and so on."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)


def mount_at(mounts: Iterable[Mount], path: str) -> Mount | None:
    """The file system that a path leads to; ``None`` when that can't be told.

    As the kernel walks: from the root on, at each mount point over to what is mounted there. So
    what lies hidden below a later mount is not found.

    :param path: absolute, without links in it
    """
    mounts = tuple(mounts)
    ids = {mount.id for mount in mounts}
    roots = [mount for mount in mounts if mount.point == "/" and mount.parent not in ids]
    if not roots:
        return None
    found, passed = roots[-1], {roots[-1].id}
    while True:
        on_it = [
            mount
            for mount in mounts
            if mount.parent == found.id and mount.id not in passed and is_below(path, mount.point)
        ]
        if not on_it:
            return found
        nearest = min(len(mount.point) for mount in on_it)
        found = [mount for mount in on_it if len(mount.point) == nearest][-1]
        passed.add(found.id)


def mounts_below(mounts: Iterable[Mount], path: str) -> tuple[Mount, ...]:
    """The file systems mounted somewhere below a path, not at the path itself."""
    return tuple(mount for mount in mounts if mount.point != path and is_below(mount.point, path))


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it, both absolute."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
