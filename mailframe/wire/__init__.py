"""Protocol state machines without input or output: octets in, events out. No Twisted import."""
