"""The Twisted side of the servers: listeners, time limits, TLS, admission, login."""
