"""``ai-runner-studio relay``: a trickle server on this machine, in the place of an orchestrator's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runner.live.trickle.relay import TrickleRelay

    from .relay_board import RelayBoard

SESSION = ("stream", "stream-out", "stream-control", "stream-events")  # what an orchestrator makes for one stream
PORT = 8935  # an orchestrator's
LOOKS_PER_S = 2
MADE_AGAIN_S = 10.0  # after a channel was closed: until then its readers learn that it is at its end

EPILOG = (
    "Without --channel and --autocreate there are the four channels that an orchestrator makes for one stream: "
    f"{', '.join(SESSION)}. A channel is closed by its publisher, or after 5 minutes in which nothing is published, as "
    "at an orchestrator; those that were named are made again after 10 s."
    "\n\n"
    "Exit codes: 2 it cannot listen there, 130 ended by Ctrl-C, 143 by SIGTERM."
)


def command(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on. There is no password.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes a free one.")] = PORT,
    autocreate: Annotated[
        bool, typer.Option("--autocreate", help="Make a channel when somebody posts to it; an orchestrator does not.")
    ] = False,
    channel: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Make this channel. Repeatable.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Tell everything as JSON, one object a line, statistics when they change.")
    ] = False,
) -> None:
    """Run a local trickle server: publishers post segments to it, any number of readers get them as they come.

    For example: ai-runner-studio relay --channel demo --channel demo-out
    """
    import os

    from .relay_board import JsonBoard, LiveBoard, PlainBoard
    from .signals import run_until_signal

    names = _checked(channel or ([] if autocreate else list(SESSION)))
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    board: RelayBoard = JsonBoard() if json else LiveBoard() if live else PlainBoard()
    run_until_signal(_serve(host, port, autocreate, names, board))


def _checked(names: list[str]) -> list[str]:
    """The names, each once.

    Raises:
        UsageError: one of them can be no part of a URL's path.
    """
    import re

    from ..errors import UsageError

    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_.~-]+", name) or set(name) == {"."}:
            raise UsageError(
                f"--channel {name!r} is no name for a channel", "letters, digits, '-', '_', '.' and '~' make one"
            )
    return list(dict.fromkeys(names))


async def _serve(host: str, port: int, autocreate: bool, names: list[str], board: RelayBoard) -> None:
    """Until it is cancelled.

    Raises:
        UsageError: it cannot listen there.
    """
    from runner.errors import TrickleError
    from runner.live.trickle.relay import TrickleRelay

    from ..errors import UsageError

    relay = TrickleRelay(autocreate=autocreate)
    try:
        await relay.start(host, port)
    except TrickleError as error:
        raise UsageError(
            f"the relay cannot listen on {host}:{port}: {_reason(error)}",
            "name another place with --host or --port; --port 0 takes a free one",
        ) from error
    try:
        board.began(relay.url, names, autocreate)
        await _watch(relay, names, board)
    finally:
        board.ended()
        await relay.close()


def _reason(error: Exception) -> str:
    """The system's words, without what asyncio has put around them."""
    import os

    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return str(cause or error)


async def _watch(relay: TrickleRelay, names: list[str], board: RelayBoard) -> None:
    """Make the channels, now and whenever they have gone, and show what happens on all of them."""
    import asyncio

    gone_at = dict.fromkeys(names, float("-inf"))
    clock = asyncio.get_running_loop().time
    while True:
        there = {channel.name for channel in relay.channels()}
        for name in names:
            if name in there:
                gone_at.pop(name, None)
            elif clock() - gone_at.setdefault(name, clock()) >= MADE_AGAIN_S:
                relay.create(name, mime_type(name))
        board.show(relay.channels())
        await asyncio.sleep(1 / LOOKS_PER_S)


def mime_type(name: str) -> str:
    """What is in a channel of this name: those of control and events have JSON, the others MPEG-TS."""
    return "application/json" if name.endswith(("-control", "-events")) else "video/mp2t"
