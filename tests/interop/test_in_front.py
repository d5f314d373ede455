"""What stands before us: proxies, programs that use XCLIENT, and servers that speak LMTP to us."""

from __future__ import annotations

from pathlib import Path

from tests.interop.opensmtpd import OpenSmtpdCase
from tests.interop.programs import free_ports, maildir
from tests.interop.relaying import TEXT
from tests.interop.swaks import SwaksCase

CLIENT = "192.0.2.77"
NO_RECIPIENT, XCLIENT = 24, 33  # what swaks ends with, by what was refused


class InFrontCase(SwaksCase):
    """A server more, for those in front."""

    def setUp(self) -> None:
        super().setUp()
        (self.port,) = free_ports(1)

    def serve_in_front(self, keys: str, kind: str = "smtp", before: str = "", **more: str) -> None:
        """Start, with a server that has other keys."""
        self.serve_mail(
            f'[[server]]\nname = "front"\nprotocol = "{kind}"\n'
            f'listen = "{before}tcp:{self.port}:interface=127.0.0.1"\n{keys}\n',
            **more,
        )


class ProxyTests(InFrontCase):
    """``haproxy:`` endpoints, with swaks in the place of the proxy."""

    OPTIONS = ("--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25", "--proxy-source-port", "999")

    def test_both_versions(self) -> None:
        """The client behind the proxy is whom the trace names, also over TLS."""
        self.serve_in_front('proxies = ["127.0.0.1"]', before="haproxy:", tls="starttls")
        for n, version in enumerate(("1", "2"), 1):
            family = "TCP4" if version == "1" else "AF_INET"
            self.swaks(
                *("--proxy-version", version, "--proxy-family", family, *self.OPTIONS),
                *("--proxy-source", CLIENT, *(self.verifying() if n == 2 else ())),
                port=self.port,
            )
            messages = self.arrived(n)
        for message in messages:
            self.assertIn(f"from client.example ([{CLIENT}])".encode(), message)

    def test_every_form(self) -> None:
        """IPv6, and what stands for the proxy itself; all before TLS on connect.

        What swaks sends for LOCAL of version 2 is an octet short, and no such header.
        """
        keys = 'proxies = ["127.0.0.1"]\ntls = "implicit"'
        self.serve_in_front(keys, before="haproxy:", tls="starttls")
        addresses = ("--proxy-source-port", "999", "--proxy-dest-port", "25")
        for n, (client, options) in enumerate(
            (
                ("IPv6:2001:db8::7", ("--proxy-version", "1", "--proxy-family", "TCP6")),
                ("IPv6:2001:db8::7", ("--proxy-version", "2", "--proxy-family", "AF_INET6")),
                (CLIENT, ("--proxy", f"TCP4 {CLIENT} 192.0.2.1 999 25")),
                ("127.0.0.1", ("--proxy", "UNKNOWN")),
            ),
            1,
        ):
            six = ("--proxy-source", "2001:db8::7", "--proxy-dest", "2001:db8::1", *addresses)
            four = ("--proxy-source", CLIENT, *self.OPTIONS)
            version = ("--proxy-version", "1") if "--proxy" in options else ()
            named = () if version else six if "IPv6" in client else four
            tls = self.verifying("--tls-on-connect")
            self.swaks(*options, *version, *named, *tls, port=self.port)
            trace = f"from client.example ([{client}])".encode()
            self.assertEqual(sum(trace in each for each in self.arrived(n)), 1 + (n == 2))

    def test_without_a_header(self) -> None:
        """Who doesn't come through the proxy isn't even greeted."""
        self.serve_in_front('proxies = ["127.0.0.1"]', before="haproxy:")
        done = self.swaks("--timeout", "3", port=self.port, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn(b"<-  220", done.stdout)
        self.assertEqual(self.inbox("jsmith"), [])

    def test_who_is_no_proxy(self) -> None:
        """A header from anyone else is worth nothing."""
        self.serve_in_front('proxies = ["192.0.2.7"]', before="haproxy:")
        options = ("--proxy-version", "1", "--proxy-family", "TCP4", *self.OPTIONS)
        done = self.swaks(*options, "--proxy-source", CLIENT, port=self.port, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertNotIn(b"<-  220", done.stdout)


class XclientTests(InFrontCase):
    """XCLIENT."""

    def test_trusted(self) -> None:
        """A filter's client is judged and traced as if it had come itself."""
        self.serve_in_front('xclient = ["127.0.0.1"]')
        self.swaks(
            *("--xclient-addr", CLIENT, "--xclient-name", "[UNAVAILABLE]"),
            *("--xclient-helo", "true.example", "--xclient-proto", "ESMTP", "--xclient-port", "7"),
            *("--xclient-delim", "--xclient-login", "[UNAVAILABLE]"),
            port=self.port,
        )
        trace = f"Received: from true.example ([{CLIENT}])\n\tby mx.demo.example with ESMTP id"
        self.assertIn(trace.encode(), self.arrived()[0])
        self.swaks("--xclient-addr", CLIENT, "--xclient-proto", "SMTP", port=self.port)
        trace = f"Received: from client.example ([{CLIENT}])\n\tby mx.demo.example with SMTP id"
        self.assertIn(trace.encode(), b"".join(self.arrived(2)))

    def test_a_login_by_xclient(self) -> None:
        """Whom the filter has proved may send elsewhere; over TLS as well."""
        (port,) = free_ports(1)
        _, dump = self.start_sink(port)
        self.serve_in_front(
            'xclient = ["127.0.0.1"]',
            tls="starttls",
            rules=self.rule(f"tcp:127.0.0.1:{port}"),
        )
        elsewhere = ("--to", "jsmith@mindspring.example")
        address = ("--xclient-addr", CLIENT)
        done = self.swaks(*address, *elsewhere, port=self.port, check=False)
        self.assertEqual(done.returncode, NO_RECIPIENT)
        self.swaks(
            *(*self.verifying(), *address, *elsewhere),
            *("--xclient-login", "angelo@demo.example"),
            port=self.port,
        )
        self.wait_for("the sink to have it", lambda: any(dump.iterdir()))

    def test_before_tls(self) -> None:
        """Said in the clear it counts for the session that begins with TLS."""
        self.serve_in_front('xclient = ["127.0.0.1"]', tls="starttls")
        self.swaks(
            *("--xclient-before-starttls", "--xclient-addr", f"IPV6:{'2001:db8::7'}"),
            *("--xclient-name", "a.example", "--xclient-reverse-name", "b.example"),
            *("--xclient-destaddr", "192.0.2.1", "--xclient-destport", "25", *self.verifying()),
            port=self.port,
        )
        self.assertIn(b"from client.example ([IPv6:2001:db8::7])", self.arrived()[0])

    def test_not_trusted(self) -> None:
        """It isn't offered, and refused when tried."""
        self.serve_in_front('xclient = ["192.0.2.0/24"]')
        for more in ((), ("--xclient-no-verify",)):
            done = self.swaks("--xclient-addr", CLIENT, *more, port=self.port, check=False)
            self.assertEqual(done.returncode, XCLIENT)


class LmtpTests(InFrontCase, OpenSmtpdCase):
    """``protocol = "lmtp"``."""

    def test_swaks(self) -> None:
        """Each recipient is answered for, over TCP and a socket file."""
        path = self.folder / "lmtp"
        self.serve_in_front(
            f'[[server]]\nname = "file"\nprotocol = "lmtp"\nlisten = "unix:{path}"', "lmtp"
        )
        everyone = "jsmith@demo.example,nobody@demo.example,mary@demo.example"
        done = self.swaks("--protocol", "LMTP", "--to", everyone, port=self.port)
        self.assertIn(b"550 5.1.1", done.stdout)
        self.assertEqual(done.stdout.count(b"250 2.0.0 queued as"), 2)
        self.wait_for("both to have it", lambda: self.inbox("jsmith") and self.inbox("mary"))
        self.assertRegex(self.inbox("jsmith")[0], rb"with LMTP\s")
        self.run_program(
            *(self.program("swaks", "swaks"), "--socket", path, "--protocol", "LMTP"),
            *("--from", "a@far.example", "--to", "jsmith@demo.example", "--pipeline"),
        )
        self.arrived(2)

    def check_hand_over(self, port: int, box: Path) -> None:
        """What a server hands over arrives; what we refuse, its sender learns."""
        data = self.folder / "data"
        data.write_bytes(TEXT)
        self.swaks(
            *("--from", "kim@mindspring.example", "--data", f"@{data}"),
            *("--to", "jsmith@demo.example,nobody@demo.example,mary@demo.example"),
            port=port,
        )
        self.wait_for("both to have it", lambda: self.inbox("jsmith") and self.inbox("mary"))
        self.assertRegex(self.inbox("mary")[0], rb"by mx.demo.example with LMTP\s")
        self.assert_same(self.inbox("jsmith")[0].rstrip(b"\n"), TEXT.rstrip(b"\r\n"))
        self.wait_for("the bounce", lambda: maildir(box))
        self.assertIn(b"5.1.1", maildir(box)[0])

    def test_opensmtpd(self) -> None:
        """OpenSMTPD hands its mail to us over LMTP."""
        (port,) = free_ports(1)
        self.serve_in_front("", "lmtp")
        box = self.start_opensmtpd(port, "mindspring.example", hop=self.port, lmtp=True)
        self.check_hand_over(port, box)

    def test_postfix(self) -> None:
        """Postfix, in a transaction for all recipients."""
        (port,) = free_ports(1)
        self.serve_in_front("", "lmtp")
        box = self.start_postfix(port, "mindspring.example", hop=self.port, lmtp=True)
        self.check_hand_over(port, box)
