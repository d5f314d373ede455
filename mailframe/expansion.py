"""How far redirects may lead, in the queue and in an explanation alike (RFC 5321 §6.3)."""

from __future__ import annotations

from mailframe.reply import Reply

MAX_DEPTH = 100  # redirects in a row
MAX_ADDRESSES = 10_000  # recipients of one message, redirects included
LOOP = Reply(554, "5.4.6", "the address leads back to itself through redirects")
TOO_MANY = Reply(554, "5.4.6", "redirects lead to too many recipients")
