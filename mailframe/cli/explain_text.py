"""What ``mailframe explain`` shows a person, made of the same documents as ``--json``."""

from __future__ import annotations

from collections.abc import Iterator

from mailframe.cli.limits import limits_fields
from mailframe.cli.trace import why
from mailframe.documents import Document
from mailframe.units import duration_text

Field = tuple[str, object]


def verdict_fields(document: Document) -> Iterator[Field]:
    """Whether mail is taken.

    :param document: with ``authorised`` and ``authorisation``
    """
    verdict = document["authorisation"]
    yield "authorised", "yes" if document["authorised"] else "no"
    yield "because", why(verdict["reason"], verdict["plugin"], verdict["rule"])
    if verdict["provider"]:
        yield "customer of", verdict["provider"]
    if verdict.get("reply"):
        yield "told", verdict["reply"]


def way_fields(document: Document) -> Iterator[Field]:
    """Where mail goes.

    :param document: with ``aliases`` and ``destinations``
    """
    for step in document["aliases"]:
        to = ", ".join(step["addresses"])
        if step["rule"] == "alias":
            yield "alias", f"{step['address']} stands for {to}"
        else:
            yield "redirect", f"from {step['address']} to {to}"
        yield "because", why(step["reason"], step["plugin"], step["rule"])
        yield from _rules(step["rules"])
    for destination in document["destinations"]:
        route = destination["route"]
        yield "mail for", destination["address"]
        yield "goes", _where(route)
        yield "because", why(route["reason"], route["plugin"], route["rule"])
        yield from _rules(destination["rules"])
        if route["reverse_path"]:
            yield "sender told", route["reverse_path"]
        for hop in route["hops"]:
            yield from _hop(hop)
        # Of a message in the queue the times themselves are shown, and nothing else but a server
        # of another keeps mail waiting as a rule.
        if route["hops"] and "retry" in destination and not _bounces(route):
            yield from _retry_fields(route, destination["retry"])


def _bounces(route: Document) -> bool:
    """Whether mail is returned at the first attempt, as far as can be told without trying."""
    return all(hop["reply"] is not None and hop["reply"].startswith("5") for hop in route["hops"])


def _retry_fields(route: Document, retry: Document) -> Iterator[Field]:
    first, *later = retry["first_attempts"] or (None,)
    if route["not_before"]:
        yield (
            "tried",
            f"at {route['not_before']}" if first is not None else "never: it is given up before",
        )
    after = [duration_text(each - first) for each in later[:5]]
    if after:
        yield "retried", f"after {', '.join(after)} and so on, if each attempt fails"
    yield "" if after else "retried", retries(retry)


def _hop(hop: Document) -> Iterator[Field]:
    login = f", as {hop['login']}" if hop["login"] else ""
    yield "next hop", f"{hop['where']}, {hop['protocol']}, tls {hop['tls']}{login}"
    if hop["reply"]:
        yield "", hop["reply"]
    for server in hop["servers"]:
        if server["address"]:
            place = f"{server['host']} [{server['address']}]:{server['port']}"
            yield "", f"{place}{_source(server)}"
        demand = server["tls"]
        if demand is not None:
            policy = "TLS" if demand["policy"] == "dane" else f"tls {demand['policy']}"
            tried_out = ", which is only tried out" if demand["tried_out"] else ""
            yield "", f"    {policy}: {demand['reason']}{tried_out}"
            if demand["reply"]:
                yield "", f"    {demand['reply']}"
    if "limits" in hop:
        yield from limits_fields(hop["limits"])


def _source(server: Document) -> str:
    if not server["source"]:
        return ""
    helo = f" as {server['helo']}" if server["helo"] else ""
    return f", from {server['source']}{helo}"


def _rules(seen: list[Document]) -> Iterator[Field]:
    for number, rule in enumerate(seen):
        yield "" if number else "rules", f"{rule['rule']}: {rule['reason']}"


def _where(route: Document) -> str:
    if route["kind"] == "local":
        return f"into the mailbox {route['mailbox']}"
    if route["kind"] == "reject":
        return f"nowhere: {route['reply']}"
    if route["kind"] == "hold":
        return "nowhere, until an operator releases it from the queue"
    return "to another server"


def retries(retry: Document) -> str:
    """When a message that can't be delivered is tried again, in words."""
    warning = (
        f", a warning after {duration_text(retry['warn_after'])}" if retry["warn_after"] else ""
    )
    return (
        f"{waits(retry['waits'])}{warning}, given up after {duration_text(retry['give_up_after'])}"
    )


def waits(document: Document) -> str:
    """How long mail waits from one attempt to the next, in words."""
    first, longest = duration_text(document["first"]), duration_text(document["longest"])
    if document["factor"] == 1:
        words = f"every {first}"
    else:
        words = f"after {first}, each wait {document['factor']:g} times the last, up to {longest}"
    if document["jitter"]:
        words += f", up to {document['jitter']:.0%} earlier by chance"
    return words
