"""What a drop-in module offers, and how the parts of the server are found by seam and name."""

from __future__ import annotations

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from mailframe.interfaces import IPart


@implementer(IPlugin, IPart)
@attrs.frozen(kw_only=True)
class Part:
    """One replaceable part, by names only; see `mailframe.interfaces.IPart`."""

    seam: str
    name: str
    help: str
    settings: str
    builds: str
