"""Policies of MTA-STS on disk, so that they hold over a restart and for all processes of a server.

A policy protects only as long as it is remembered: who can keep us from asking for it again must
not get by with that (RFC 8461 §10.2). One file holds what is known of one domain, and is replaced
as a whole. A file that holds nothing of ours counts as none; one that can't be read now does not.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from typing import Any, cast

import attrs

from mailframe.delivery.mta_sts_policy import LONGEST_AGE, Mode, StsPolicy
from mailframe.delivery.tls_fault import Kind, TlsFault

MAX_KEPT = 10_000  # domains
MAX_FILE = 1024 * 1024  # octets that one file may have
SOON = 2 * 86_400.0  # seconds before its end from which on a policy runs out soon
UNWANTED = 30 * 86_400.0  # seconds without mail after which a domain's policy may run out
_KINDS = ("sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid")


@attrs.frozen(kw_only=True)
class Stored:
    """What is known of the policy of a domain.

    :ivar domain: in normal form
    :ivar id: what the TXT record called the policy
    :ivar policy: the last one that was fetched, or ``None``
    :ivar fetched: when, in POSIX seconds
    :ivar failed: when fetching it failed, later than that; 0 when it did not
    :ivar fault: why, or ``None``
    :ivar wanted: when mail that went there had the policy fetched last, in POSIX seconds
    """

    domain: str
    id: str = ""
    policy: StsPolicy | None = None
    fetched: float = 0.0
    failed: float = 0.0
    fault: TlsFault | None = None
    wanted: float = 0.0

    @property
    def latest(self) -> float:
        """When its domain was asked last, in POSIX seconds."""
        return max(self.fetched, self.failed)

    def in_force(self, now: float) -> StsPolicy | None:
        """The policy, as long as it holds."""
        policy = self.policy
        return policy if policy and now < self.fetched + policy.max_age else None


class PolicyFiles:
    """The policies, each in a file. Its methods wait for the disk: call them in a thread.

    :param folder: theirs alone; made when the first one is written
    :param keeps: whether anything is written at all
    """

    def __init__(self, folder: str, keeps: bool = True) -> None:
        self._folder = folder
        self._keeps = keeps

    def read(self, domain: str) -> Stored | None:
        """What is known of a domain's policy.

        :param domain: in normal form
        :raises OSError: it can't be read now, which does not say that there is none
        """
        stored = _read(self._path(domain))
        return stored if stored is not None and stored.domain == domain else None

    def write(self, stored: Stored) -> Stored:
        """Put it in the place of what was known.

        A policy that another process fetched stays while we tell that we could not.

        :returns: what is known now
        :raises OSError: it can't be written
        """
        if not self._keeps:
            return stored
        path = self._path(stored.domain)
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        there = _read(path) if stored.failed else None
        if there is not None and there.domain == stored.domain and there.fetched > stored.fetched:
            stored = attrs.evolve(there, failed=stored.failed, fault=stored.fault)
        if not os.path.exists(path):
            self._make_room(stored.latest)
        descriptor, temporary = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(_to_json(stored)).encode())
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return stored

    def expiring(self, now: float) -> list[str]:
        """The domains whose policies run out soon, unless no mail went there for long.

        :param now: POSIX seconds
        """
        found = []
        for path in self._paths():
            try:
                stored = _read(path)
            except OSError:
                continue  # it is looked for again
            policy = None if stored is None else stored.in_force(now)
            if stored is None or policy is None or policy.mode == "none":
                continue
            is_wanted = now - stored.wanted < UNWANTED
            if is_wanted and stored.fetched + policy.max_age - now < SOON:
                found.append(stored.domain)
        return found

    def _paths(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                return [entry.path for entry in entries]
        except FileNotFoundError:
            return []

    def _path(self, domain: str) -> str:
        # A domain may be longer than the name of a file.
        return os.path.join(self._folder, hashlib.sha256(domain.encode()).hexdigest() + ".json")

    def _make_room(self, now: float) -> None:
        """Let go of what is needed least, and of that what was written longest ago.

        Anybody can have us note that ever different domains give no policy: that must not make us
        forget those that gave one.
        """
        paths = self._paths()
        if len(paths) < MAX_KEPT:
            return
        found: list[tuple[int, float, str]] = []
        for path in paths:
            with suppress(OSError):  # another process may have been here
                found.append((_need(path, now), os.stat(path).st_mtime, path))
        found.sort()
        for _, _, path in found[: len(found) - MAX_KEPT + MAX_KEPT // 20]:
            with suppress(OSError):
                os.unlink(path)


def _need(path: str, now: float) -> int:
    """How much a file is needed: 2 when mail could go out in clear without it, 0 when it says that
    there is no policy.
    """
    try:
        stored = _read(path)
    except OSError:
        return 2
    if stored is None:
        return 0 if path.endswith(".json") else 2  # one that is being written just now
    policy = stored.in_force(now)
    if policy is None:
        return 0
    return 2 if policy.mode == "enforce" else 1


def _read(path: str) -> Stored | None:
    """:raises OSError: whether there is something can't be told."""
    try:
        with open(path, "rb") as file:
            return _from_json(json.loads(file.read(MAX_FILE)))
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _to_json(stored: Stored) -> dict[str, Any]:
    return attrs.asdict(stored)


def _from_json(value: Any) -> Stored:
    """:raises ValueError, KeyError or TypeError: it is nothing that we wrote."""
    policy, fault = value["policy"], value["fault"]
    if policy is not None:
        mode, mx, age = str(policy["mode"]), policy["mx"], int(policy["max_age"])
        if mode not in ("enforce", "testing", "none") or not 0 <= age <= LONGEST_AGE:
            raise ValueError
        policy = StsPolicy(mode=cast(Mode, mode), mx=tuple(map(str, mx)), max_age=age)
    if fault is not None:
        if fault["kind"] not in _KINDS:
            raise ValueError
        fault = TlsFault(cast(Kind, fault["kind"]), str(fault["text"]))
    return Stored(
        domain=str(value["domain"]),
        id=str(value["id"]),
        policy=policy,
        fetched=float(value["fetched"]),
        failed=float(value["failed"]),
        wanted=float(value["wanted"]),
        fault=fault,
    )
