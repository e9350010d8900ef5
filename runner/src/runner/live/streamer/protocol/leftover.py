"""Leftover: the trickle channels that a killed host could not close, kept in its run folder for its supervisor."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import AddressError
from ...trickle.address import StreamAddresses, shown

if TYPE_CHECKING:
    from .protocol import StreamRequest

logger = logging.getLogger(__name__)

_FILE = "stream.json"
_CLOSE_LIMIT_S = 5.0
_NEXT_SEGMENT = -1  # whatever its number is


class Leftover:
    """Remembers the channels that the running stream writes to. The host writes it; its supervisor reads it.

    The file is private to the user: the names of channels are what protects them.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE

    def remember(self, request: StreamRequest) -> None:
        """A stream begins."""
        urls = [request.sink or "", request.events_url]
        part = self._file.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(urls, file)
        part.replace(self._file)

    def forget(self) -> None:
        """It is over, and has closed them itself."""
        self._file.unlink(missing_ok=True)

    def take(self) -> OpenChannels | None:
        """The channels that a host which has ended left open, if there are any; they are given once."""
        try:
            sink, events = map(str, json.loads(self._file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        finally:
            self.forget()
        return OpenChannels(sink, events)


@dataclass(frozen=True, slots=True)
class OpenChannels:
    """URLs of the channels that a stream writes to; empty where it has none."""

    sink: str
    events: str

    async def close(self, last_event: dict[str, Any], addresses: StreamAddresses, *, verify_tls: bool) -> None:
        """Close them in place of a host that was killed: their readers wait for an end. Never raises.

        `last_event`: goes into the channel of events before that.
        """
        work = [_close(self.sink, None, addresses, verify_tls), _close(self.events, last_event, addresses, verify_tls)]
        await asyncio.gather(*work)


async def _close(url: str, last: dict[str, Any] | None, addresses: StreamAddresses, verify_tls: bool) -> None:
    import aiohttp

    from ...trickle.session import segment_url, trickle_session

    if not url:
        return
    try:
        addresses.check(url)
        async with trickle_session(addresses, verify_tls=verify_tls) as session:
            limit = aiohttp.ClientTimeout(total=_CLOSE_LIMIT_S)
            if last is not None:
                async with session.post(segment_url(url, _NEXT_SEGMENT), json=last, timeout=limit):
                    pass
            async with session.delete(url, timeout=limit) as answer:
                logger.info("closed %s, left by a host that was killed (answer %d)", shown(url), answer.status)
    except (aiohttp.ClientError, asyncio.TimeoutError, AddressError, OSError) as error:
        logger.warning("%s, left by a host that was killed, cannot be closed: %s", shown(url), type(error).__name__)
