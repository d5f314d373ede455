"""Open relays are made by two parts that read one address in two ways; here one part reads it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.smtp_fakes import HERE
from tests.server.test_smtp_session import SessionCase

WORDS = [
    *("u", "far.example", "here.example", "@", "%", "!", '"', "\\", ":", ",", ".", "[127.0.0.1]"),
    *(
        "[192.0.2.1]",
        "@far.example:",
        "@here.example,@far.example:",
        "HERE.EXAMPLE",
        " ",
        "\t",
        "#",
    ),
    *("/", "+", "=", "xn--", "*", "(x)", "<", ">", "postmaster", "[IPv6:::1]", "here\u3002example"),
]


class OneReadingTests(SessionCase):
    """What was authorised is what is routed, and what is kept."""

    @settings(deadline=None, max_examples=400)
    @given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7))
    def test_strangers(self, words: list[str]) -> None:
        """A stranger finds an address that is ours for one part and somebody else's for another."""
        self.setUp()
        session, transport = self.connect()
        path = "".join(words)
        session.dataReceived(f"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<{path}>\r\n".encode())
        accepted = self.codes(transport)[-1] == b"250"
        session.dataReceived(b"DATA\r\n.\r\n")
        self.assertEqual(bool(self.storage.sinks), accepted)
        routed = [recipient for _, recipient, _, _ in self.router.asked]
        judged = [recipient for _, _, recipient in self.authorisation.asked]
        if not accepted:
            return
        self.assertEqual(judged, [], "a stranger's mail for a mailbox here needs no permission")
        kept = [recipient.address for recipient in self.storage.sinks[0].envelope.recipients]
        self.assertEqual(kept, routed)
        self.assertEqual([address.domain for address in kept], [HERE])

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7))
    def test_customers(self, words: list[str]) -> None:
        """What a customer was permitted is not what is carried."""
        self.setUp()
        session, transport = self.connect(address="127.0.0.1")
        session.dataReceived(b"EHLO x\r\nAUTH PLAIN AGFuZ2Vsb0BoZXJlLmV4YW1wbGUAc2VjcmV0\r\n")
        self.assertEqual(self.codes(transport)[-1], b"235")
        path = "".join(words)
        session.dataReceived(f"MAIL FROM:<>\r\nRCPT TO:<{path}>\r\nDATA\r\n.\r\n".encode())
        judged = [recipient for _, _, recipient in self.authorisation.asked]
        routed = [recipient for _, recipient, _, _ in self.router.asked]
        for sink in self.storage.sinks:
            kept = [recipient.address for recipient in sink.envelope.recipients]
            self.assertEqual(kept, routed)
            self.assertEqual([a for a in kept if a.domain != HERE], judged)
