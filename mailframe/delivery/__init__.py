"""Handing messages over: into a mailbox here, or to the next server."""
