"""Credentials for the tests of checkers."""

from __future__ import annotations

import attrs
from zope.interface import implementer

from mailframe.credentials import IScramCredentials
from mailframe.scram import ScramKeys


@implementer(IScramCredentials)
@attrs.define
class Proof:
    """A proof that fits, or doesn't; or one that was made with a password.

    :ivar fits: what it says to any keys, unless there is a password
    :ivar password: what the keys must be of, to fit
    :ivar shown: the keys it was held against
    """

    username: bytes
    fits: bool = True
    password: bytes | None = None
    shown: list[ScramKeys] = attrs.field(factory=list)

    def check_keys(self, keys: ScramKeys) -> bool:
        """See `IScramCredentials.check_keys`."""
        self.shown.append(keys)
        if self.password is None:
            return self.fits
        own = ScramKeys.derive(self.password, salt=keys.salt, iterations=keys.iterations)
        return own == keys
