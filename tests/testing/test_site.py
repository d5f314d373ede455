"""What the server lends to its parts, all virtual."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailframe.testing.network import VirtualReactor
from mailframe.testing.site import make_site


class SiteTests(SynchronousTestCase):
    def test_same_every_time(self) -> None:
        """A test that failed passes when it is run again."""
        one, two = (make_site(state_dir="x") for _ in range(2))
        self.assertEqual(one.random.random(), two.random.random())
        self.assertEqual(one.reactor.seconds(), two.reactor.seconds())
        self.assertEqual(one.local_domains, frozenset({"here.example"}))

    def test_given_reactor(self) -> None:
        """A plugin under test lives in another time than its test."""
        reactor = VirtualReactor(now=5.0)
        self.assertIs(make_site(state_dir="x", reactor=reactor).reactor, reactor)

    def test_in_thread(self) -> None:
        """A plugin's work is done after the test, or its errors are lost."""
        site = make_site(state_dir="x")
        self.assertEqual(self.successResultOf(site.in_thread(divmod, 7, 2)), (3, 1))
        self.failureResultOf(site.in_thread(divmod, 7, 0), ZeroDivisionError)
