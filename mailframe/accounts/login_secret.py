"""The secret from which the salts of logins are made that have none (RFC 5802 §5.1, s=).

The answer to an unknown login must be the same tomorrow as today, or it would tell that there is no
such login. So the secret is kept, in a file that all processes of the server share.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

from twisted.logger import Logger

log = Logger()

SIZE = 32  # octets
NAME = "login-secret"


def load_secret(folder: str) -> bytes:
    """Read the secret; the first time, make it.

    :param folder: the server's ``state_dir``
    :returns: ``SIZE`` octets; new ones for this process alone, with a word in the log, when the
        file can be neither read nor made
    """
    path = os.path.join(folder, NAME)
    try:
        secret = _read(path)
        if secret is None:
            _make(path)
            secret = _read(path)
        if secret is not None and len(secret) == SIZE:
            return secret
        reason = f"it does not hold {SIZE} octets"
    except OSError as error:
        reason = error.strerror or str(error)
    log.warn(
        "the secret in {path!r} can't be used: {reason}; until the server ends another is used",
        path=path,
        reason=reason,
    )
    return os.urandom(SIZE)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            secret = file.read(SIZE + 1)
    except FileNotFoundError:
        return None
    return secret or None


def _make(path: str) -> None:
    """Put a whole file there, unless another process has done so; it is the folder's owner's."""
    # A name that nobody has used before: in a container the server's process id is always the same.
    descriptor, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{NAME}-")
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(SIZE))
            if os.geteuid() == 0:
                # A command run by root must not lock out the user that the server runs as.
                owner = os.stat(os.path.dirname(path))
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_size == 0:
                # A power cut left it so: nothing is synced here, in the reactor thread.
                os.unlink(path)
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.unlink(beside)
