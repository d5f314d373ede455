"""The wires between the hosts, in the hands of the test: they can be cut at any moment.

A thread carries each packet from the wire of one host to that of the host with the target's
address. What a cut drops is dropped silently: nobody is told, there is no ICMP and no RST, and the
programs at both ends wait until they lose patience.
"""

from __future__ import annotations

import os
import selectors
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress

from tests.interop.internet.packets import Packet, parse

_LARGEST = 65536  # octets of a packet
_Pair = tuple[str, str]  # addresses: of the one that sends, and of the one that should get it


class Moment:
    """A cut that waits for something to be said.

    :ivar happened: set when it was
    """

    def __init__(
        self, pairs: set[_Pair], found: Callable[[Packet], bool], *, forward: bool
    ) -> None:
        self.pairs = pairs
        self.found = found
        self.forward = forward
        self.happened = threading.Event()


class Wires:
    """Carries packets between wires until it is closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ways: dict[str, int] = {}
        self._cuts: set[_Pair] = set()
        self._moments: list[Moment] = []
        self._openings: Counter[tuple[str, str, int]] = Counter()
        self._selector = selectors.DefaultSelector()
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)
        self._selector.register(self._ended, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="wires", daemon=True)

    def join(self, wire: int, addresses: Iterable[str]) -> None:
        """Add a wire, before `start`, and the addresses at its other end."""
        os.set_blocking(wire, False)
        self._selector.register(wire, selectors.EVENT_READ)
        self._ways |= dict.fromkeys(addresses, wire)

    def start(self) -> None:
        """Begin to carry packets."""
        self._thread.start()

    def close(self) -> None:
        """Carry nothing any more."""
        os.write(self._end, b".")
        self._thread.join()
        self._selector.close()
        os.close(self._end)
        os.close(self._ended)

    # --- cutting ---------------------------------------------------------------------------------

    def cut(self, ones: Iterable[str], others: Iterable[str]) -> None:
        """Drop everything between some addresses and some others."""
        with self._lock:
            self._cuts |= both_ways(ones, others)

    def mend(self, ones: Iterable[str], others: Iterable[str]) -> None:
        """Carry what is between them again, and wait for no moment between them any more."""
        pairs = both_ways(ones, others)
        with self._lock:
            self._cuts -= pairs
            self._moments = [moment for moment in self._moments if not moment.pairs & pairs]

    def cut_when(
        self,
        senders: Iterable[str],
        others: Iterable[str],
        found: Callable[[Packet], bool],
        *,
        forward: bool,
    ) -> Moment:
        """Cut as soon as the senders say something.

        :param found: whether a packet from a sender says it
        :param forward: carry this very packet, and nothing after it
        """
        pairs = {(one, other) for one in senders for other in others}
        moment = Moment(pairs, found, forward=forward)
        with self._lock:
            self._moments.append(moment)
        return moment

    def openings(self, ones: Iterable[str], others: Iterable[str], port: int) -> int:
        """How often some addresses asked others for a connection, whether they got it or not."""
        with self._lock:
            return sum(self._openings[one, other, port] for one in ones for other in others)

    # --- carrying --------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._ended:
                    return
                with suppress(BlockingIOError):
                    self._carry(os.read(key.fd, _LARGEST))

    def _carry(self, octets: bytes) -> None:
        packet = parse(octets)
        if packet is None or not self._may_pass(packet):
            return
        if (wire := self._ways.get(packet.target)) is not None:
            with suppress(OSError):  # a full queue drops packets, as any does
                os.write(wire, octets)

    def _may_pass(self, packet: Packet) -> bool:
        pair = packet.source, packet.target
        with self._lock:
            if packet.is_opening:
                self._openings[packet.source, packet.target, packet.port] += 1
            if pair in self._cuts:
                return False
            for moment in self._moments:
                if pair in moment.pairs and moment.found(packet):
                    self._moments.remove(moment)
                    self._cuts |= moment.pairs | {(b, a) for a, b in moment.pairs}
                    moment.happened.set()
                    return moment.forward
        return True


def both_ways(ones: Iterable[str], others: Iterable[str]) -> set[_Pair]:
    """Every pair of one and another, in either direction."""
    pairs = {(one, other) for one in ones for other in others}
    return pairs | {(other, one) for one, other in pairs}


def saying(*texts: bytes) -> Callable[[Packet], bool]:
    """Whether a packet has one of these texts in it."""
    return lambda packet: any(text in packet.payload for text in texts)


def after_octets(count: int) -> Callable[[Packet], bool]:
    """Whether so many octets have been sent with this packet and those before it."""
    left = count

    def found(packet: Packet) -> bool:
        nonlocal left
        left -= len(packet.payload)
        return left <= 0

    return found
