"""SessionCallbacks: what a runner asks its orchestrator for, for one session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .client import OrchestratorClient, OrchestratorError

logger = logging.getLogger(__name__)

_TRIES = 3
_ALIVE_LIMIT_S = 2.0
_GONE = (401, 403, 404)


@dataclass(frozen=True, slots=True)
class Channel:
    """A trickle channel of a session. Its URLs are secrets.

    Attributes:
        url: what the client uses.
        internal_url: what the runner uses.
    """

    name: str
    url: str = field(repr=False)
    internal_url: str = field(repr=False)

    @classmethod
    def from_json(cls, item: object) -> Channel:
        """One descriptor of an orchestrator's answer.

        Raises:
            OrchestratorError: it has another form.
        """
        name, url = (item.get("name"), item.get("url")) if isinstance(item, Mapping) else (None, None)
        if not isinstance(item, Mapping) or not isinstance(name, str) or not isinstance(url, str) or not url:
            raise OrchestratorError("open channels: the orchestrator described a channel without name or url")
        internal = item.get("internal_url")
        return cls(name, url, internal if isinstance(internal, str) and internal else url)


class SessionCallbacks:
    """The session's callbacks of the live-runner contract, with its token."""

    def __init__(self, client: OrchestratorClient, control_url: str, token: str) -> None:
        self._client = client
        self._base = control_url.rstrip("/")
        self._headers = {"Livepeer-Session-Token": token}

    async def open_channels(self, kinds: Mapping[str, str]) -> dict[str, Channel]:
        """Channels by name; `kinds`: name -> MIME type. Those that exist already are given again.

        Raises:
            OrchestratorError: it cannot be reached, refuses, or leaves one out.
        """
        answer = await self._call("open channels", "POST", "/channels", _described(kinds), tries=_TRIES)
        items = answer.get("channels") if isinstance(answer, Mapping) else answer
        if not isinstance(items, list):
            raise OrchestratorError("open channels: the orchestrator's answer lists no channels")
        channels = {channel.name: channel for channel in map(Channel.from_json, items)}
        missing = [name for name in kinds if name not in channels]
        if missing:
            raise OrchestratorError(f"open channels: the orchestrator left out {', '.join(missing)}")
        return channels

    async def delete_channels(self, names: list[str]) -> None:
        """Close channels; one that is gone already is none of our business. Never raises."""
        # One call each: the first that is gone would keep the orchestrator from closing the others.
        await asyncio.gather(*(self._delete(name) for name in names))

    async def stop(self) -> bool:
        """Release the session; whether the orchestrator has done so. Never raises."""
        try:
            await self._call("stop the session", "POST", "/stop", None, tries=_TRIES)
        except OrchestratorError as error:
            if error.status not in _GONE:
                logger.warning("%s", error)
            return False
        return True

    async def alive(self, kinds: Mapping[str, str]) -> bool:
        """Whether the orchestrator still has the session: asking for channels that are there changes nothing."""
        try:
            await self._call("look for the session", "POST", "/channels", _described(kinds), limit_s=_ALIVE_LIMIT_S)
        except OrchestratorError as error:
            return error.status not in _GONE
        return True

    async def _delete(self, name: str) -> None:
        try:
            await self._call(f"close channel {name}", "DELETE", "/channels", {"channels": [name]}, tries=2)
        except OrchestratorError as error:
            logger.debug("%s", error)

    async def _call(self, what: str, method: str, path: str, body: dict[str, Any] | None, **limits: Any) -> Any:
        return await self._client.call(what, method, self._base + path, headers=self._headers, body=body, **limits)


def _described(kinds: Mapping[str, str]) -> dict[str, Any]:
    return {"channels": [{"name": name, "mime_type": kind} for name, kind in kinds.items()]}
