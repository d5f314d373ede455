"""Fuzzing targets of what looks into messages, and of what may stand before a session."""

from __future__ import annotations

import re

from mailframe.scram import ScramKeys
from mailframe.server.forged_results import without_forged_results
from mailframe.server.header_scan import end_of_header
from mailframe.wire.chunks import ChunkDecoder
from mailframe.wire.conversion import Unconvertible
from mailframe.wire.grammar import GrammarError
from mailframe.wire.pop3_surrogate import Surrogate
from mailframe.wire.proxy_header import ProxyHeader, ProxyHeaderError
from mailframe.wire.sasl_bearer import OAuthBearerServer, TokenClaim, XOAuth2Server
from mailframe.wire.sasl_exchange import SaslError
from mailframe.wire.sasl_scram import read_server_final, read_server_first
from mailframe.wire.sasl_scram_server import ScramLookup, ScramProof, ScramServer
from mailframe.wire.xclient import parse_xclient
from tests.fuzz.target import Target, all_same, cuts, says_why, text_of, words
from tests.wire.test_conversion import convert, plan

NAME = b"mx.here.example"
_CLAIM = re.compile(rb"(?im)^authentication-results[ \t]*:[ \t]*mx\.here\.example[ \t\r]*(?:;|$)")
KEYS = ScramKeys.derive(b"pencil", salt=b"salt", iterations=4096)


def chunks(octets: bytes) -> None:
    """Chunks give the same content however they arrive, and no bare line end in it."""
    sizes = [octet % 7 for octet in octets[:4]]
    all_same((_chunks(pieces, sizes) for pieces in cuts(octets[4:])), octets)


def _chunks(pieces: list[bytes], sizes: list[int]) -> tuple[object, ...]:
    decoder = ChunkDecoder(text=True, line_limit=20)
    sizes = list(sizes)
    content, left = b"", b""
    waiting = list(pieces)
    while sizes:
        decoder.begin(sizes.pop(0))
        while not decoder.finished:
            if not left:
                if not waiting:
                    return ("more",)
                left = waiting.pop(0)
            content += decoder.decode(left)
            left = decoder.rest if decoder.finished else b""
    decoder.finish()
    if decoder.fault:
        return ("refused", left + b"".join(waiting))
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n"), content
    assert not content.startswith(b"\0"), content
    assert b"\n\0" not in content, content
    return content, left + b"".join(waiting)


def conversion(octets: bytes) -> None:
    """A message goes in 7 bits or is refused; what was converted needs no conversion."""
    for eight_bit in (False, True):
        try:
            converted = convert(octets, eight_bit=eight_bit)
        except Unconvertible as error:
            says_why(error)
            continue
        assert convert(octets, 3, eight_bit=eight_bit) == converted, octets
        if not eight_bit:
            assert converted.isascii(), converted
        assert not plan(converted, eight_bit=eight_bit).is_needed, converted


def surrogate(octets: bytes) -> None:
    """What POP3 shows without UTF8 doesn't depend on how the file is read."""
    all_same((_surrogate(pieces) for pieces in cuts(octets)), octets)


def _surrogate(pieces: list[bytes]) -> bytes:
    making = Surrogate()
    return b"".join(map(making.take, pieces)) + making.finish()


def forged_results(octets: bytes) -> None:
    """Nothing that claims our name is left, and nothing else is taken."""
    kept = without_forged_results(octets, NAME)
    assert without_forged_results(kept, NAME) == kept, (octets, kept)
    assert kept.endswith(octets[end_of_header(octets) :]), (octets, kept)
    assert len(kept) <= len(octets)
    if b"authentication-results" not in octets.lower():
        assert kept == octets, kept
    unfolded = re.sub(rb"\r?\n[ \t]", b" ", kept[: end_of_header(kept)])
    assert not _CLAIM.search(unfolded), kept


def proxy(octets: bytes) -> None:
    """The header of a proxy is read or refused, however it arrives."""
    all_same((_proxy(pieces) for pieces in cuts(octets)), octets)


def _proxy(pieces: list[bytes]) -> tuple[object, ...]:
    header = ProxyHeader()
    for place, piece in enumerate(pieces):
        try:
            found = header.feed(piece)
        except ProxyHeaderError as error:
            says_why(error)
            return ("refused",)
        if found is not None:
            return found.source, found.destination, found.rest + b"".join(pieces[place + 1 :])
    return ()


def xclient(octets: bytes) -> None:
    """XCLIENT is read or refused, and holds nothing that breaks a line."""
    try:
        found = parse_xclient(octets.decode("latin-1"))
    except GrammarError as error:
        says_why(error)
        return
    for value in found.values():
        assert value is None or value.isprintable(), found


def scram(octets: bytes) -> None:
    """What the other side of SCRAM says is read or refused."""
    first, _, final = octets.partition(b"\n")
    for plus in (False, True):
        server = ScramServer(plus=plus, plus_offered=True, nonce=lambda: b"nonce")
        try:
            lookup = server.respond(first)
            if isinstance(lookup, ScramLookup):
                assert not set(lookup.user + lookup.authzid) & set(b"\r\n\0"), lookup
                challenge = lookup.challenge(KEYS, b"binding")
                assert challenge.isascii(), challenge
                proof = server.respond(final.replace(b"NONCE", challenge[2 : challenge.find(b",")]))
                if isinstance(proof, ScramProof):
                    assert not proof.fits(KEYS), "a proof without the password"
        except SaslError as error:
            says_why(error)
    for read in (read_server_first, read_server_final):
        try:
            read(octets)
        except SaslError as error:
            says_why(error)
    try:
        keys = ScramKeys.parse(text_of(octets))
    except ValueError as error:
        says_why(error)
    else:
        assert ScramKeys.parse(str(keys)) == keys


def bearer(octets: bytes) -> None:
    """A token is read or refused."""
    for mechanism in (OAuthBearerServer(), XOAuth2Server()):
        try:
            claim = mechanism.respond(octets)
        except SaslError as error:
            says_why(error)
            continue
        assert isinstance(claim, TokenClaim), claim
        assert not set(claim.user + claim.token) & set(b"\r\n\0\x01"), claim


RESULTS = "Authentication-Results: "
TARGETS = (
    Target(
        name="chunks",
        check=chunks,
        words=words(
            "\r", "\n", "\r\n", "a", "\0", "\1\2\3\4", "\6\6\6\6", ".", "\r\n.\r\n", "x" * 20
        ),
    ),
    Target(
        name="conversion",
        check=conversion,
        words=words(
            *("MIME-Version: 1.0\r\n", "Content-Type: multipart/mixed; boundary=b\r\n", "\r\n"),
            *("Content-Type: multipart/signed; boundary=c\r\n", "\r\n--b\r\n", "\r\n--b--\r\n"),
            *("\r\n--c\r\n", "\r\n--c--\r\n", "Content-Transfer-Encoding: 8bit\r\n", "\xc3\xbc"),
            *(
                "Content-Type: message/rfc822\r\n",
                "Content-Type: text/plain\r\n",
                "\xff",
                "\0",
                " ",
            ),
            *("Content-Transfer-Encoding: quoted-printable\r\n", '; boundary="', "(x)", "\t", "="),
            *("Content-Transfer-Encoding: binary\r\n", "text", "--b", "x" * 80, "\n", "\r", "-"),
            *("Content-Type: multipart/digest; boundary=b\r\n", "Subject: \xc3\xbc\r\n", "--"),
        ),
    ),
    Target(
        name="surrogate",
        check=surrogate,
        words=words(
            *("Subject: ", "To: ", "From: \xc3\xbc <a@x>", "\r\n", "\n", " ", "\t", "\xc3\xbc"),
            *(
                "\xe2\x80\xa8",
                "\xff",
                ":",
                "<",
                ">",
                ",",
                '"',
                "a@\xc3\xbc.x",
                "\r",
                "\0",
                "X" * 80,
            ),
        ),
    ),
    Target(
        name="forged_results",
        check=forged_results,
        words=words(
            *(RESULTS, RESULTS.lower(), "mx.here.example", "MX.here.example.", "other.example"),
            *(
                "; spf=pass",
                "\r\n",
                "\n",
                " ",
                "\t",
                "(",
                ")",
                '"',
                "\\",
                ";",
                "1",
                "Subject: x\r\n",
            ),
            *("Authentication-Results :", "\r\n ", "\r\n\t(x)", "\0", "\xff", "x"),
        ),
    ),
    Target(
        name="proxy",
        check=proxy,
        words=words(
            *(
                "PROXY ",
                "TCP4 ",
                "TCP6 ",
                "UNKNOWN",
                "192.0.2.1 ",
                "2001:db8::1 ",
                "25",
                " ",
                "\r\n",
            ),
            *("\r\n\r\n\0\r\nQUIT\n", "\x21", "\x20", "\x11", "\x21", "\0\x0c", "\0\x24", "\0\0"),
            *("\xc0\0\2\1\xc0\0\2\2\0\x19\x10\0", "\xff\xff", "99999", "::ffff:192.0.2.1", "%eth0"),
        ),
    ),
    Target(
        name="xclient",
        check=xclient,
        words=words(
            *(
                "ADDR=",
                "NAME=",
                "PORT=",
                "PROTO=",
                "HELO=",
                "LOGIN=",
                "DESTADDR=",
                "DESTPORT=",
                " ",
            ),
            *(
                "192.0.2.1",
                "IPV6:2001:db8::1",
                "[UNAVAILABLE]",
                "ESMTP",
                "a+40x.example",
                "+0A",
                "25",
            ),
            *("x.example", "=", "+", "\xc3\xbc", "99999", "IPV6:::ffff:1.2.3.4"),
        ),
    ),
    Target(
        name="scram",
        check=scram,
        words=words(
            *(
                "n,,",
                "y,,",
                "p=tls-exporter,,",
                "p=tls-server-end-point,,",
                "n,a=b,",
                "n=user,",
                "\n",
            ),
            *(
                "r=abc",
                "r=NONCE",
                ",",
                "c=biws,",
                "c=",
                "p=" + "A" * 43 + "=",
                "s=c2FsdA==,",
                "i=4096",
            ),
            *(
                "v=",
                "e=",
                "m=x,",
                "=2C",
                "=3D",
                "=",
                "\0",
                "\xff",
                "\xc3\xbc",
                "SCRAM-SHA-256$",
                "$",
            ),
            *("i=99999999999", "4096:c2FsdA==$", ":"),
        ),
    ),
    Target(
        name="bearer",
        check=bearer,
        words=words(
            *(
                "n,a=u@x.example,\x01",
                "n,,\x01",
                "auth=Bearer ",
                "token",
                "\x01",
                "\x01\x01",
                "user=u",
            ),
            *(
                "host=x\x01",
                "port=25\x01",
                "auth=",
                "Bearer",
                " ",
                "=",
                ",",
                "\0",
                "\xff",
                "y,,",
                "\n",
            ),
        ),
    ),
)
