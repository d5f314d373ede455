"""What a trusted program says of the client it speaks for (XCLIENT), in the terms of `Client`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mailframe.envelope import Client


def client_of(attributes: Mapping[str, str | None], before: Client) -> Client:
    """The client that is spoken for.

    ``NAME``, ``DESTADDR`` and ``DESTPORT`` have no place in a `Client`.

    :param attributes: as `mailframe.wire.xclient.parse_xclient` gives them; what is not among them
        stays as it is, but for the greeting and the login, which begin anew
    :param before: what was known so far
    """
    protocol = attributes.get("PROTO")
    return attrs.evolve(
        before,
        address=attributes.get("ADDR") or before.address,
        port=int(attributes.get("PORT") or 0) if "PORT" in attributes else before.port,
        helo=attributes.get("HELO"),
        esmtp=protocol == "ESMTP",
        login=attributes.get("LOGIN"),
    )
