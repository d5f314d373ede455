"""An internet of our own: hosts with public addresses, real name servers, real mail servers.

Each host is a network namespace, in which mail servers listen on port 25 as they do elsewhere, and
programs are started as usual, unchanged. What makes it an internet is that the wires between the
hosts end in this process (`wires.Wires`): every IP packet passes through it. So a link can be cut
without anybody being told, as a pulled plug does it, at a moment chosen by what was
last said over it, and the test knows who spoke with whom.

BIND answers for the names (`names`): one server for the root and what is below, and one that
resolves, as a provider has it. Nothing of this reaches the machine's own network, and nothing of it
outlives the test: the namespaces have no names, and a caretaker ends what still runs in them, even
if the test was killed (`caretaker`).

It needs root, ``/dev/net/tun`` and the programs that ``.ci/run`` installs; what is missing is a
reason to skip. A longer run of messages through cuts and kills, with the counts printed::

    python -m tests.interop.internet --rounds 10 --seed story
"""
