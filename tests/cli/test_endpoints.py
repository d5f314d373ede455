"""Where an endpoint string listens."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.cli.endpoints import Place, listening_place, socket_file


class Endpoints(SynchronousTestCase):
    """Twisted's server endpoint strings."""

    def test_forms(self) -> None:
        """``check`` would examine another port than the one that is served."""
        for listen, place in (
            ("tcp:25", Place("0.0.0.0", 25)),
            ("tcp6:25", Place("::", 25)),
            ("tcp:2525:interface=127.0.0.1", Place("127.0.0.1", 2525)),
            ("tcp:port=25:interface=\\:\\:1", Place("::1", 25)),
            ("tcp:interface=127.0.0.1:port=25", Place("127.0.0.1", 25)),
            ("tcp6:25:interface=\\:\\:1", Place("::1", 25)),
            ("ssl:465:privateKey=k.pem", Place("0.0.0.0", 465)),
            ("unix:/run/mail", None),
            ("systemd:domain=INET:index=0", None),
            ("tcp:smtp", None),
            ("tcp:", None),
            ("haproxy:tcp:25", Place("0.0.0.0", 25)),
            ("haproxy:unix:/run/mail", None),
        ):
            self.assertEqual(listening_place(listen), place, listen)

    def test_socket_files(self) -> None:
        """``check`` would look at another file than the one that is served."""
        for listen, path in (
            ("unix:/run/mail", "/run/mail"),
            ("unix:/run/mail:mode=660", "/run/mail"),
            ("unix:mode=660:address=/run/a\\:b", "/run/a:b"),
            ("haproxy:unix:/run/mail", "/run/mail"),
            ("tcp:25", None),
        ):
            self.assertEqual(socket_file(listen), path, listen)
