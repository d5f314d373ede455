"""Passwords, their Argon2 hashes (RFC 9106) and their keys for SCRAM (RFC 5802)."""

from __future__ import annotations

import base64
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from mailframe.scram import ITERATIONS, ScramKeys

MAX_PASSWORD = 1024  # octets in UTF-8; more would let a client choose how much work it costs us
_HASH = re.compile(r"\$argon2(?:id|i|d)\$v=\d+\$m=\d+,t=\d+,p=\d+\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_TYPE_NAMES = {0: "argon2d", 1: "argon2i", 2: "argon2id"}


class UnusablePassword(ValueError):
    """The text can't be a password; the message says why, without showing it."""


class Passwords:
    """Makes and verifies password hashes. Both take long on purpose: never in the reactor thread.

    :param hasher: with the parameters for hashes to be made; default: those argon2-cffi recommends
    :param iterations: of keys for SCRAM to be made
    """

    def __init__(self, hasher: PasswordHasher | None = None, iterations: int = ITERATIONS) -> None:
        self._hasher = hasher or PasswordHasher()
        self._iterations = iterations

    def hash(self, password: str) -> str:
        """Make the hash to be kept.

        :raises UnusablePassword: it is empty, too long or holds a control character
        """
        if any(unicodedata.category(character) == "Cc" for character in password):
            raise UnusablePassword("the password holds a control character")
        try:
            octets = password.encode()
        except UnicodeEncodeError:
            raise UnusablePassword("the password is not UTF-8") from None
        return self._hasher.hash(prepared(octets))

    def scram_keys(self, password: str) -> ScramKeys:
        """Make the keys to be kept for SCRAM of a password that `hash` has taken."""
        return ScramKeys.derive(password.encode(), iterations=self._iterations)

    def verify(self, kept: str, password: bytes) -> bool:
        """Whether this is the password of which ``kept`` is the hash.

        A password that can't be one is refused before any hashing, whoever it is meant for.

        :raises argon2.exceptions.VerificationError: it could not be found out, for want of memory
        """
        try:
            octets = prepared(password)
        except UnusablePassword:
            return False
        try:
            return self._hasher.verify(kept, octets)
        except VerifyMismatchError:
            return False

    def decoy(self, hashes: Iterable[str | None]) -> str:
        """A hash that no password fits and that takes as long to verify as most of those given.

        Verified in place of the hash that an unknown user does not have, so that the time of the
        answer doesn't tell who has an account. Its digest is random octets, so making it is quick.
        """
        common = Counter(kept.rsplit("$", 2)[0] for kept in hashes if kept).most_common(1)
        parameters = common[0][0] if common else self._parameters()
        return "$".join([parameters, _random(self._hasher.salt_len), _random(32)])

    def _parameters(self) -> str:
        own = self._hasher
        name = _TYPE_NAMES[own.type.value]
        return f"${name}$v=19$m={own.memory_cost},t={own.time_cost},p={own.parallelism}"


def prepared(password: bytes) -> bytes:
    """A password's octets as they are hashed: in normalisation form C, RFC 8265 §4.2.2.

    Octets that are not UTF-8 are left as they are; no password that was set here is like that.

    :raises UnusablePassword: it is empty or too long
    """
    if not password:
        raise UnusablePassword("the password is empty")
    if len(password) > MAX_PASSWORD:
        raise UnusablePassword(f"the password is longer than {MAX_PASSWORD} octets")
    if password.isascii():
        return password
    try:
        return unicodedata.normalize("NFC", password.decode()).encode()
    except UnicodeDecodeError:
        return password


def is_hash(text: str) -> bool:
    """Whether the text is an encoded Argon2 hash."""
    try:
        extract_parameters(text)
    except InvalidHashError:
        return False
    return _HASH.fullmatch(text) is not None


def _random(octets: int) -> str:
    return base64.b64encode(os.urandom(octets)).decode().rstrip("=")
