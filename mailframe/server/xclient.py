"""What a trusted program says of the client it speaks for (XCLIENT), in the terms of `Client`."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mailframe.envelope import Client

NOBODY = "0.0.0.0"  # noqa: S104  # nothing is bound to it: a client whose address is not known


def in_force(
    before: Mapping[str, str | None], attributes: Mapping[str, str | None]
) -> Mapping[str, str | None]:
    """What counts of all that was said of a client, in several commands when it is long.

    A command that names an address is about another client: nothing of before counts for that one.

    :param before: what was in force so far
    :param attributes: as `mailframe.wire.xclient.parse_xclient` gives them
    """
    return attributes if "ADDR" in attributes else {**before, **attributes}


def greeted(client: Client, name: str, esmtp: bool, attributes: Mapping[str, str | None]) -> Client:
    """The client after EHLO or HELO, which the program that speaks for it sends as well.

    What was said of the client's own greeting with XCLIENT, and is known, stays
    (Postfix's XCLIENT_README).

    :param name: the argument
    :param attributes: those in force
    """
    protocol = attributes.get("PROTO")
    return attrs.evolve(
        client,
        helo=attributes.get("HELO") or name,
        esmtp=esmtp if protocol is None else protocol == "ESMTP",
    )


def client_of(attributes: Mapping[str, str | None], before: Client) -> Client:
    """The client that is spoken for.

    ``NAME``, ``REVERSE_NAME``, ``DESTADDR`` and ``DESTPORT`` have no place in a `Client`. One whose
    address the other side does not know is `NOBODY`, and not the one who speaks for it, who may do
    more.

    :param attributes: as `in_force` gives them; what is not among them stays as it is, but for the
        greeting and the login, which begin anew
    :param before: what was known so far
    """
    protocol = attributes.get("PROTO")
    return attrs.evolve(
        before,
        address=attributes.get("ADDR", before.address) or NOBODY,
        port=int(attributes.get("PORT") or 0) if "PORT" in attributes else before.port,
        helo=attributes.get("HELO"),
        esmtp=protocol == "ESMTP",
        login=attributes.get("LOGIN"),
    )
