"""Leftover: the trickle channels that a killed host could not close, kept in its run folder for the next one."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import AddressError
from ...trickle.address import shown

if TYPE_CHECKING:
    from .protocol import StreamRequest
    from .trickle import TrickleOptions

logger = logging.getLogger(__name__)

_FILE = "stream.json"
_CLOSE_LIMIT_S = 5.0


class Leftover:
    """Remembers the channels that the running stream writes to.

    The file is private to the user: the names of channels are what protects them.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self._running: set[str] = set()  # what the stream of this host writes to

    def remember(self, request: StreamRequest) -> None:
        """A stream begins."""
        urls = [url for url in (request.sink, request.events_url) if url]
        self._running = set(urls)
        part = self._file.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(urls, file)
        part.replace(self._file)

    def forget(self) -> None:
        """It is over, and has closed them itself."""
        self._running = set()
        self._file.unlink(missing_ok=True)

    async def close_channels(self, options: TrickleOptions) -> None:
        """Close what an earlier host has left: its readers wait for an end that nobody else tells them."""
        try:
            urls = json.loads(self._file.read_text())
        except (OSError, ValueError):
            urls = []
        urls = [url for url in urls if url not in self._running]
        if urls:
            await asyncio.gather(*(_delete(url, options) for url in urls))
        if not self._running:  # else a stream has begun meanwhile, and the file is about that one
            self.forget()


async def _delete(url: str, options: TrickleOptions) -> None:
    import aiohttp

    from ...trickle.session import trickle_session

    try:
        options.addresses.check(url)
        async with trickle_session(options.addresses, verify_tls=options.verify_tls) as session:
            limit = aiohttp.ClientTimeout(total=_CLOSE_LIMIT_S)
            async with session.delete(url, timeout=limit) as answer:
                logger.info("closed %s, left by a host that was killed (answer %d)", shown(url), answer.status)
    except (aiohttp.ClientError, asyncio.TimeoutError, AddressError, OSError) as error:
        logger.warning("%s, left by a host that was killed, cannot be closed: %s", shown(url), type(error).__name__)
