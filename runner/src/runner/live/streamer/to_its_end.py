"""to_its_end: what is begun is finished, also when whoever does it is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger(__name__)


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do it, whatever happens: half closed, a stream would leave channels, threads and connections behind.

    Cancellations in the meantime are passed over, so this is for the last thing that a task does, and for work
    that has a time limit of its own. What goes wrong is logged.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("the end of a stream went wrong: %r", error, exc_info=error)
