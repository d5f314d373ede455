"""Tests of mailframe.accounts.login_secret."""

from __future__ import annotations

import os
import stat
from unittest import mock

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mailframe.accounts.login_secret import NAME, SIZE, load_secret


class SecretTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, NAME)
        self.said: list[str] = []

        def observe(event: dict[str, object]) -> None:
            self.said.append(str(event["log_format"]).format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def test_kept(self) -> None:
        """After a restart the answers would tell which logins do not exist."""
        secret = load_secret(self.folder)
        self.assertEqual(len(secret), SIZE)
        self.assertEqual(load_secret(self.folder), secret)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(os.listdir(self.folder), [NAME])
        self.assertEqual(self.said, [])

    def test_made_by_two(self) -> None:
        """Two processes would give different answers about the same login."""
        first = b"1" * SIZE
        link = os.link

        def too_late(source: str, target: str) -> None:
            with open(self.path, "wb") as file:
                file.write(first)
            link(source, target)

        with mock.patch("os.link", too_late):
            self.assertEqual(load_secret(self.folder), first)
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_by_root(self) -> None:
        """A command that root runs would leave a file which the server can't read."""
        owners = []
        with (
            mock.patch("os.geteuid", return_value=0),
            mock.patch("os.fchown", lambda _, *owner: owners.append(owner)),
        ):
            load_secret(self.folder)
        status = os.stat(self.folder)
        self.assertEqual(owners, [(status.st_uid, status.st_gid)])

    def test_not_root(self) -> None:
        """A server that is not root must not try to give files away."""
        with (
            mock.patch("os.geteuid", return_value=1000),
            mock.patch("os.fchown", side_effect=PermissionError),
        ):
            load_secret(self.folder)
        self.assertEqual(self.said, [])

    def test_cut_off(self) -> None:
        """After a crash at the wrong moment the answers would be others with each start."""
        for name in (NAME, f"{NAME}.{os.getpid()}"):
            with open(os.path.join(self.folder, name), "wb"):
                pass
        secret = load_secret(self.folder)
        self.assertEqual(load_secret(self.folder), secret)
        self.assertEqual(self.said, [])

    def test_unusable(self) -> None:
        """Nobody could log in because of a file that hardly matters."""
        with open(self.path, "wb") as file:
            file.write(b"short")
        secrets = {load_secret(self.folder), load_secret(self.folder)}
        missing = load_secret(os.path.join(self.folder, "missing"))
        self.assertEqual({len(each) for each in (*secrets, missing)}, {SIZE})
        self.assertEqual(len(secrets), 2)
        self.assertIn("it does not hold 32 octets", self.said[0])
        self.assertIn("No such file or directory", self.said[2])
