"""Policies of MTA-STS on disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest import mock

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailframe.delivery import mta_sts_cache
from mailframe.delivery.mta_sts_cache import PolicyFiles, Stored
from mailframe.delivery.mta_sts_policy import StsPolicy
from mailframe.delivery.tls_fault import TlsFault

POLICY = StsPolicy(mode="enforce", mx=("mx.blu.example", "*.blu.example"), max_age=1000)
STORED = Stored(domain="blu.example", id="1", policy=POLICY, fetched=5000.0)


class FilesTests(SynchronousTestCase):
    """`PolicyFiles`, in a folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.files = PolicyFiles(str(self.folder))

    def test_round_trip(self) -> None:
        """After a restart the first mail would go out without TLS, if somebody wishes it so."""
        failed = Stored(
            domain="rosso.example",
            failed=17.5,
            fault=TlsFault("sts-webpki-invalid", "the certificate has expired"),
        )
        for stored in (STORED, failed):
            self.assertIsNone(self.files.read(stored.domain))
            self.files.write(stored)
            self.assertEqual(PolicyFiles(str(self.folder)).read(stored.domain), stored)
        self.assertEqual(len(list(self.folder.iterdir())), 2)
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_not_kept(self) -> None:
        """Who only asks, as root perhaps, would leave what the server can't read."""
        files = PolicyFiles(str(self.folder), keeps=False)
        self.assertEqual(files.write(STORED), STORED)
        self.assertFalse(self.folder.exists())

    def test_in_force(self) -> None:
        """A policy would hold longer or shorter than its domain says."""
        for now, policy in ((4000.0, POLICY), (5999.0, POLICY), (6000.0, None)):
            self.assertEqual(STORED.in_force(now), policy)
        self.assertIsNone(Stored(domain="x.example").in_force(0))

    def test_expiring(self) -> None:
        """Policies would run out, or be fetched for domains that nobody writes to any more."""
        now = 100 * 86_400.0
        self.assertEqual(self.files.expiring(now), [])
        week = attrs.evolve(POLICY, max_age=7 * 86_400)
        for domain, days, policy, wanted in (
            ("soon.example", 6, week, 6),
            ("later.example", 4, week, 4),
            ("over.example", 8, week, 8),
            ("none.example", 6, attrs.evolve(week, mode="none"), 6),
            ("unwanted.example", 6, week, 31),
            ("nothing.example", 6, None, 6),
        ):
            self.files.write(
                Stored(
                    domain=domain,
                    policy=policy,
                    fetched=now - days * 86_400,
                    wanted=now - wanted * 86_400,
                )
            )
        (self.folder / "broken.json").write_text("{")
        self.assertEqual(self.files.expiring(now), ["soon.example"])

    def test_long_domain(self) -> None:
        """A domain of the greatest length would be no name for a file."""
        stored = Stored(domain=".".join(["a" * 60] * 4), id="1", policy=POLICY)
        self.files.write(stored)
        self.assertEqual(self.files.read(stored.domain), stored)

    def test_unreadable(self) -> None:
        """A file that a full disk cut off would keep all mail for a domain back."""
        self.files.write(STORED)
        (path,) = self.folder.iterdir()
        good = path.read_text()
        for text in (
            "",
            good[:-5],
            "[]",
            "null",
            '{"domain": "blu.example"}',
            good.replace("enforce", "often"),
            good.replace("1000", "-1"),
            good.replace("1000", "Infinity"),
            "[" * 100_000,
            good.replace('"fault": null', '"fault": {"kind": "x", "text": "y"}'),
            good.replace("blu.example", "other.example"),
        ):
            path.write_text(text)
            self.assertIsNone(self.files.read("blu.example"), text)

    def test_not_now(self) -> None:
        """A process without free descriptors would take every domain for one without a policy."""
        self.files.write(STORED)
        for error in (OSError(errno.EMFILE, "x"), OSError(errno.EIO, "x"), PermissionError("x")):
            with mock.patch("builtins.open", side_effect=error):
                self.assertRaises(OSError, self.files.read, "blu.example")
                self.assertEqual(self.files.expiring(5500.0), [])

    def test_failing_write(self) -> None:
        """A full disk would destroy what is known."""
        self.files.write(STORED)
        for call in ("os.fsync", "os.rename"):
            with mock.patch(call, side_effect=OSError("no room")), self.assertRaises(OSError):
                self.files.write(Stored(domain="blu.example"))
            self.assertEqual(self.files.read("blu.example"), STORED)
            self.assertEqual(len(list(self.folder.iterdir())), 1)

    def test_bounded(self) -> None:
        """Mail to ever different domains would fill the disk."""
        self.patch(mta_sts_cache, "MAX_KEPT", 20)
        for number in range(50):
            domain = f"{number}.example"
            self.files.write(Stored(domain=domain, id="1", policy=POLICY))
            for path in self.folder.iterdir():
                os.utime(path, (path.stat().st_mtime - 10,) * 2)
            self.assertLessEqual(len(list(self.folder.iterdir())), 20)
            self.assertIsNotNone(self.files.read(domain))
        self.assertIsNone(self.files.read("0.example"))

    def test_what_stays(self) -> None:
        """Who has mail go to ever different domains could have us forget others' policies."""
        self.patch(mta_sts_cache, "MAX_KEPT", 20)
        tried = attrs.evolve(
            STORED, domain="tried.example", policy=attrs.evolve(POLICY, mode="none")
        )
        for number, stored in enumerate((STORED, tried)):
            self.files.write(stored)
            os.utime(self.folder / os.listdir(self.folder)[0], (1000 + number,) * 2)
        (self.folder / "tmpabc").write_text("")  # another process is about to write
        os.utime(self.folder / "tmpabc", (2000, 2000))
        fault = TlsFault("sts-policy-fetch-error", "no answer")
        for number in range(50):
            self.files.write(
                Stored(domain=f"{number}.example", failed=5100.0 + number, fault=fault)
            )
            self.assertLessEqual(len(list(self.folder.iterdir())), 20)
        self.assertEqual(self.files.read(STORED.domain), STORED)
        self.assertEqual(self.files.read("tried.example"), tried)
        self.assertTrue((self.folder / "tmpabc").exists())
        with mock.patch.object(mta_sts_cache, "_from_json", side_effect=OSError("too many files")):
            self.files.write(Stored(domain="last.example", id="1", policy=POLICY, fetched=5200.0))
        self.assertEqual(len(list(self.folder.iterdir())), 20)

    def test_fetched_meanwhile(self) -> None:
        """A process that could not fetch a policy would write that over the policy."""
        self.files.write(STORED)
        fault = TlsFault("sts-policy-fetch-error", "no answer")
        failed = Stored(domain=STORED.domain, failed=5010.0, fault=fault)
        expected = attrs.evolve(STORED, failed=5010.0, fault=fault)
        self.assertEqual(self.files.write(failed), expected)
        self.assertEqual(self.files.read(STORED.domain), expected)
        other = attrs.evolve(STORED, fetched=4000.0)  # the clock was put back
        self.assertEqual(self.files.write(other), other)
        self.assertEqual(self.files.read(STORED.domain), other)
