"""The configuration and the server's parts, as commands use them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from random import SystemRandom
from typing import Any, TypeVar

import click

from mailframe.assembly import PartError, Parts, open_parts
from mailframe.cli.options import Misuse, Refusal
from mailframe.cli.running import run
from mailframe.config_errors import SettingsError
from mailframe.guard import as_deferred
from mailframe.interfaces import IQueueStorage, StorageFault
from mailframe.queue.memory import MemoryStorage
from mailframe.settings import Settings, load

T = TypeVar("T")


def read_settings(config: str) -> Settings:
    """Read the configuration file.

    :raises Misuse: it can't be used; with the message that says what to mend
    """
    try:
        return load(config)
    except SettingsError as error:
        raise Misuse(str(error)) from None


def with_parts(
    settings: Settings,
    seams: Sequence[str],
    act: Callable[[Parts], Awaitable[T]],
    *,
    makes: bool = False,
) -> T:
    """Build parts, start those that are services, act, and let go of them again.

    :param seams: which parts are needed
    :param act: what to do with them; what it gives is given back
    :param makes: it brings mail into the queue; whoever only looks makes neither the queue nor the
        folder of the server's state, which might not be the server's then
    :raises Misuse: a part can't be built, or the queue can be seen from the server alone
    :raises Refusal: the queue's storage has a fault
    """
    queue = settings.chosen["queue"].part.name
    if "queue" in seams and queue == "memory":
        raise Misuse(
            'a queue with plugin = "memory" exists in the running server only; '
            "look at it over the console"
        )

    place = None if makes or "queue" not in seams else missing_queue(settings)
    if place is not None:
        click.echo(f"there is no queue in {place} yet; the server makes it as it starts", err=True)

    async def main(reactor: Any) -> T:
        given = {} if place is None else {"queue": _none(reactor)}
        parts = open_parts(settings, reactor, seams=seams, given=given, makes=makes)
        try:
            for service in parts.services:
                service.startService()
            try:
                return await as_deferred(act(parts))
            finally:
                for service in parts.services:
                    await as_deferred_or_none(service.stopService())
        finally:
            await parts.close()

    try:
        return run(main)
    except PartError as error:
        raise unbuilt(settings, error) from None
    except StorageFault as error:
        raise Refusal(f"the queue's storage: {error}") from None


def missing_queue(settings: Settings) -> str | None:
    """The folder where the queue would be that is not there yet.

    :returns: ``None`` when it is there, or when nobody can tell but its plugin
    """
    queue = settings.chosen["queue"]
    if queue.part.name != "sqlite":
        return None
    folder = str(queue.settings.path or os.path.join(settings.state_dir, "queue"))
    try:
        os.stat(os.path.join(folder, "queue.db"))
    except FileNotFoundError:
        return folder
    except OSError:
        pass  # opening it tells what is wrong
    return None


def _none(reactor: Any) -> MemoryStorage:
    """A queue without messages."""
    return MemoryStorage(clock=reactor, random=SystemRandom())


def unbuilt(settings: Settings, error: PartError) -> Misuse:
    """What a user is told when a part of a configuration can't be built."""
    return Misuse(f"{settings.path}: {error}")


async def as_deferred_or_none(answer: Awaitable[object] | None) -> None:
    """Wait for what ``stopService`` gave, which may be nothing."""
    if answer is not None:
        await as_deferred(answer)


def with_storage(
    settings: Settings, act: Callable[[IQueueStorage], Awaitable[T]], *, makes: bool = False
) -> T:
    """Open the queue's storage, act on it, and close it again; see `with_parts`."""
    return with_parts(settings, ("queue",), lambda parts: act(parts.queue.part), makes=makes)
