"""Leftover: the trickle channels that a killed host could not close, kept in its run folder for its supervisor."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import AddressError
from ...trickle.address import StreamAddresses, shown

if TYPE_CHECKING:
    from .protocol import StreamRequest

logger = logging.getLogger(__name__)

_FILE = "stream.json"
_CLOSE_LIMIT_S = 5.0


class Leftover:
    """Remembers the channels that the running stream writes to. The host writes it; its supervisor reads it.

    The file is private to the user: the names of channels are what protects them.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE

    def remember(self, request: StreamRequest) -> None:
        """A stream begins."""
        urls = [url for url in (request.sink, request.events_url) if url]
        part = self._file.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(urls, file)
        part.replace(self._file)

    def forget(self) -> None:
        """It is over, and has closed them itself."""
        self._file.unlink(missing_ok=True)

    def take(self) -> list[str]:
        """URLs of the channels that a host which has ended left open; they are given once."""
        try:
            urls = json.loads(self._file.read_text())
        except (OSError, ValueError):
            urls = []
        self.forget()
        return [str(url) for url in urls]


async def close_channels(urls: Sequence[str], addresses: StreamAddresses, *, verify_tls: bool) -> None:
    """Close channels in place of a host that was killed: their readers wait for an end. Never raises."""
    await asyncio.gather(*(_delete(url, addresses, verify_tls) for url in urls))


async def _delete(url: str, addresses: StreamAddresses, verify_tls: bool) -> None:
    import aiohttp

    from ...trickle.session import trickle_session

    try:
        addresses.check(url)
        async with trickle_session(addresses, verify_tls=verify_tls) as session:
            limit = aiohttp.ClientTimeout(total=_CLOSE_LIMIT_S)
            async with session.delete(url, timeout=limit) as answer:
                logger.info("closed %s, left by a host that was killed (answer %d)", shown(url), answer.status)
    except (aiohttp.ClientError, asyncio.TimeoutError, AddressError, OSError) as error:
        logger.warning("%s, left by a host that was killed, cannot be closed: %s", shown(url), type(error).__name__)
