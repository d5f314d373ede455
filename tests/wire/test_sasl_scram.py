"""The messages of SCRAM: `mailframe.wire.sasl_scram`."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailframe.wire.sasl_exchange import SaslError
from mailframe.wire.sasl_scram import (
    make_nonce,
    read_client_final,
    read_client_first,
    read_gs2_header,
    read_server_final,
    read_server_first,
    write_name,
)

READERS: tuple[Callable[[bytes], object], ...] = (
    read_gs2_header,
    read_client_first,
    read_client_final,
    read_server_first,
    read_server_final,
)
# What messages consist of, so that random ones come near to being good.
PIECES = st.lists(
    st.sampled_from(
        [
            *(b"n", b"y", b"p=tls-exporter", b",", b",,", b"a=", b"n=", b"r=", b"s=", b"i=", b"c="),
            *(b"p=", b"v=", b"m=", b"e=", b"=2C", b"=3D", b"=", b"biws", b"YQ==", b"4096", b"user"),
            *(b"\0", b"\xff", b"\xc3\xa9", b"x=1"),
        ]
    ),
    max_size=14,
).map(b"".join)


class ReadTests(SynchronousTestCase):
    """A message is read as RFC 5802 §7 writes it, or refused."""

    def refused(self, reader: Callable[[bytes], object], *messages: bytes) -> None:
        """All of them are refused, in words that can be sent to anybody."""
        for message in messages:
            with self.assertRaises(SaslError, msg=repr(message)) as caught:
                reader(message)
            self.assertTrue(str(caught.exception).isascii())

    def test_client_first(self) -> None:
        """Names are unescaped, and what is signed later is kept to the octet."""
        first = read_client_first(b"p=tls-exporter,a=boss=2Cy,n=a=3Db=2Cc,r=abc,x=more")
        self.assertEqual(first.header.flag, "p")
        self.assertEqual(first.header.binding, "tls-exporter")
        self.assertEqual(first.header.octets, b"p=tls-exporter,a=boss=2Cy,")
        self.assertEqual(first.header.authzid, b"boss,y")
        self.assertEqual((first.user, first.nonce), (b"a=b,c", b"abc"))
        self.assertEqual(first.bare, b"n=a=3Db=2Cc,r=abc,x=more")
        self.assertEqual(read_client_first(b"n,a=,n=user,r=abc").header.authzid, b"")
        self.refused(
            read_client_first,
            *(b"", b"n,,", b"n=user,r=x", b"x,,n=user,r=x", b"n,n=user,r=x", b"n,,n=,r=x"),
            *(b"n,,n=user,r=", b"n,,n=user", b"n,,r=x,n=user", b"n,,n=us=er,r=x", b"n,,n=u=2c,r=x"),
            *(b"n,,m=must,n=user,r=x", b"n,,n=user,r=x,", b"n,,n=user,r=x,yz"),
            *(b"p=,,n=user,r=x", b"p=a b,,n=user,r=x", b"n,,n=us\0er,r=x", b"n,,n=\xff,r=x"),
            *(b"n,,n=user,r=x\r\n", b"n,,n=user,r=\xc3\xa9", b"n,b=x,n=user,r=x"),
            b"n,,n=user,r=" + b"x" * 1025,
        )

    def test_client_final(self) -> None:
        """The proof comes last, and all before it is signed."""
        final = read_client_final(b"c=biws,r=abc,x=more,p=YQ==")
        self.assertEqual(final.signed, b"c=biws,r=abc,x=more")
        self.assertEqual((final.binding, final.nonce, final.proof), (b"n,,", b"abc", b"a"))
        self.refused(
            read_client_final,
            *(b"", b"c=biws,r=abc", b"c=biws,p=YQ==", b"r=abc,c=biws,p=YQ==", b"c=biws,r=abc,p=Y"),
            *(b"c=b,r=abc,p=YQ==", b"c=biws,r=abc,p=YQ==,x=1", b"c=biws,r=a,b,p=YQ=="),
        )

    def test_server_first(self) -> None:
        """A server can ask neither for too little work nor for hours of it."""
        first = read_server_first(b"r=abc,s=YQ==,i=4096")
        self.assertEqual((first.nonce, first.salt, first.iterations), (b"abc", b"a", 4096))
        self.refused(
            read_server_first,
            *(b"", b"r=abc,s=YQ==", b"s=YQ==,r=abc,i=4096", b"r=abc,s=Y,i=4096", b"m=x,r=abc"),
            *(b"r=abc,s=YQ==,i=4095", b"r=abc,s=YQ==,i=1000001", b"r=abc,s=YQ==,i=04096"),
            *(b"r=abc,s=YQ==,i=-4096", b"e=other-error"),
        )

    def test_server_final(self) -> None:
        """An error of the server's is no signature."""
        self.assertEqual(read_server_final(b"v=YQ==,x=1"), b"a")
        self.refused(read_server_final, b"", b"v=", b"v=Y", b"e=invalid-proof", b"YQ==")

    @settings(deadline=None, max_examples=200)
    @given(st.one_of(PIECES, st.binary(max_size=60)))
    def test_any_octets(self, message: bytes) -> None:
        """Nothing that the other side sends becomes a fault of ours."""
        for reader in READERS:
            try:
                reader(message)
            except SaslError as error:
                self.assertTrue(str(error).isascii())

    @settings(deadline=None, max_examples=50)
    @given(st.from_regex(r"[ -~]{1,30}", fullmatch=True).map(str.encode))
    def test_names(self, name: bytes) -> None:
        """A login may hold commas and equals signs."""
        self.assertEqual(read_client_first(b"n,,n=" + write_name(name) + b",r=x").user, name)

    def test_nonce(self) -> None:
        """No exchange can be played again."""
        nonces = {make_nonce() for _ in range(100)}
        self.assertEqual(len(nonces), 100)
        for nonce in nonces:
            self.assertGreaterEqual(len(nonce), 24)
            self.assertEqual(read_client_first(b"n,,n=u,r=" + nonce).nonce, nonce)
