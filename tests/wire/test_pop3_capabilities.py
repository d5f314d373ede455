"""Languages that clients may ask for; what CAPA shows is tested with the session."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.pop3_capabilities import language


class LanguageTests(SynchronousTestCase):
    """Looking up a language range (RFC 4647 §3.4)."""

    def test_lookup(self) -> None:
        """A client is told of a language that it did not ask for, or refused one that is there."""
        for wanted, tag in (
            *(("en", "en"), ("EN", "en"), ("en-GB-x-y", "en"), ("*", "en")),
            *(("i-default", "i-default"), ("I-DEFAULT-x", "i-default")),
            *(("de", None), ("i", None), ("eng", None), ("", None), ("x-en", None)),
        ):
            self.assertEqual(language(wanted), tag, wanted)
