"""Do dead destinations hold up the others?  ``python -m benchmarks.many_destinations``

10,000 messages of 4 KB lie in a queue, for 1,000 domains, each with an exchanger of its own: a
loopback address of its own, found through the DNS (dnsmasq), where an ``smtp-sink`` of its own
takes messages. In one of twenty something is dead, in five ways that take turns:

* its port is closed
* the first packet to it is never answered, as behind a firewall
* it accepts connections, and never says a word
* it greets, and never answers to EHLO
* it answers 421 to whoever comes

All messages become due at once, in an order that was drawn. Measured is the time from then until
the last message for a healthy destination has been taken; once with the messages for the dead ones
and once without them, of mailframe with one process and with several, and of Postfix for
comparison. (Postfix has the exchangers in a table, and its time begins with its start.) Time
limits, bounds on connections and all else are as they are by default.

Ends what it started, by process id. Needs Postfix, dnsmasq, and root for Postfix.
"""
