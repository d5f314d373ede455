"""What claims to be our own judgement: `mailframe.server.forged_results`."""

from __future__ import annotations

from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.server.forged_results import without_forged_results

US = b"mx.here.example"
FORGED = (
    b"Authentication-Results: mx.here.example; spf=pass\r\n",
    b"authentication-results:mx.here.example;spf=pass\r\n",
    b"Authentication-Results : mx.here.example; spf=pass\r\n",
    b"Authentication-Results:\r\n\tMX.Here.Example;\r\n\tspf=pass\r\n",
    b"Authentication-Results: mx.here.example 1; spf=pass\r\n",
    b"Authentication-Results: mx.here.example\r\n",
    b"Authentication-Results: mx.here.example.; spf=pass\r\n",
    b'Authentication-Results: "mx.here.example"; spf=pass\r\n',
    b'Authentication-Results: "mx.here\\.example"; spf=pass\r\n',
    b"Authentication-Results: (by; (us)) mx.here.example; spf=pass\r\n",
    b"Authentication-Results: (\\)) mx.here.example; spf=pass\r\n",
    b"Authentication-Results: (open mx.here.example; spf=pass\r\n",
    b'Authentication-Results: "mx.here.example; spf=pass\r\n',
    b"Authentication-Results: mx.here.example(version)1; spf=pass\r\n",
    b'Authentication-Results: "mx.here.example"1; spf=pass\r\n',
    b"Authentication-Results: mx(our).here (name). example 1; spf=pass\r\n",
    b"Authentication-Results: mx.here.example/1; spf=pass\r\n",
    b"Authentication-Results: mx.here.example\x0b1; spf=pass\r\n",
    b"Authentication-Results: mx.here.example\xc2\xa01; spf=pass\r\n",
    b"Authentication-Results: =?utf-8?q?mx.here.example=3B_spf=3Dpass?=\r\n",
)
OTHERS = (
    b"Authentication-Results: mx.there.example; spf=pass smtp.helo=mx.here.example\r\n",
    b"Authentication-Results: mx.here.example.there.example; spf=pass\r\n",
    b"Authentication-Results: not-mx.here.example; spf=pass\r\n",
    b"Authentication-Results: mx.here.example1; spf=pass\r\n",
    b"Authentication-Results: mx.here.example-1; spf=pass\r\n",
    b"Authentication-Results: m\xc3\xbc.mx.here.example; spf=pass\r\n",
    b"Authentication-Results: \xff; spf=pass\r\n",
    b"Authentication-Results: (mx.here.example) mx.there.example; spf=pass\r\n",
    b"X-Authentication-Results: mx.here.example; spf=pass\r\n",
    b"ARC-Authentication-Results: i=1; mx.here.example; spf=pass\r\n",
    b"Authentication-Results:\r\n",
    b"Authentication-Results: ;\r\n",
    b"Subject: Authentication-Results: mx.here.example; spf=pass\r\n",
    b"Subject: x\r\n Authentication-Results: mx.here.example; spf=pass\r\n",
)


class ForgedTests(SynchronousTestCase):
    def test_taken_out(self) -> None:
        """A stranger vouches for himself in our name, and our users' programs believe it."""
        for field in FORGED:
            for before in (b"", b"Subject: x\r\n"):
                kept = before + b"To: a@here.example\r\n\r\n" + field
                message = before + field + b"To: a@here.example\r\n\r\n" + field
                self.assertEqual(without_forged_results(message, US), kept, field)
            self.assertEqual(without_forged_results(field, US), b"", field)
            self.assertEqual(without_forged_results(field * 3 + b"\r\nx", US), b"\r\nx", field)
            self.assertEqual(without_forged_results(field.removesuffix(b"\r\n"), US), b"", field)

    def test_our_name_in_unicode(self) -> None:
        """Who writes our name as people do (RFC 8616) is believed by who compares it so."""
        for name, kept in (
            ("mx.dév.example", b""),
            ("MX.DÉV.example.", b""),
            ("mx.dèv.example", None),
        ):
            field = f"Authentication-Results: {name}; spf=pass\r\n".encode()
            self.assertEqual(
                without_forged_results(field, b"mx.xn--dv-bja.example"),
                field if kept is None else kept,
            )

    def test_others_stay(self) -> None:
        """What another server found out is lost, or a message is changed."""
        for field in OTHERS:
            message = b"Subject: x\r\n" + field + b"To: a@here.example\r\n\r\nbody\r\n"
            self.assertEqual(without_forged_results(message, US), message, field)

    def test_body_stays(self) -> None:
        """A message that quotes such a field loses it, and with it its signature's truth."""
        for message in (b"\r\n" + FORGED[0], b"no header\r\n" + FORGED[0], b"Subject: x\r\n\r\n"):
            self.assertEqual(without_forged_results(message, US), message)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from([*FORGED, *OTHERS, b"A: b\r\n", b" c\r\n", b"\r\n", b"body\r\n", b"x"]),
            max_size=6,
        )
    )
    def test_only_takes(self, pieces: list[bytes]) -> None:
        """Something else of a message is touched."""
        left = without_forged_results(b"".join(pieces), US)
        rest = iter(b"".join(pieces).splitlines(keepends=True))
        for line in left.splitlines(keepends=True):
            self.assertIn(line, rest)
        self.assertEqual(without_forged_results(left, US), left)

    def test_linear(self) -> None:
        """A message made for it keeps the server busy."""

        def seconds(size: int) -> float:
            header = b"Authentication-Results: " + b'(\\)"' * size + b"\r\n"
            header += b"Authentication-Results: x" + b"\r\n (" * size + b"\r\n\r\n"
            began = process_time()
            without_forged_results(header, US)
            return process_time() - began

        seconds(100)
        small = min(seconds(5_000) for _ in range(3))
        large = min(seconds(20_000) for _ in range(3))
        self.assertLess(large, 4 * small * 4)
