"""HostClient: the control API of a runner host, asked over its Unix socket (contract part 4)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ParamsError, ProcessError, StreamError

if TYPE_CHECKING:
    import aiohttp

_ANSWER_LIMIT_BYTES = 4 << 20


class HostClient:
    """One session to the host that listens on `socket`, whichever process that is by now."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)
        self._session: aiohttp.ClientSession | None = None

    async def status(self, limit_s: float) -> dict[str, Any]:
        """The status object of contract 5.2.

        Raises:
            ProcessError: the host does not answer.
        """
        return _object(await self._ask("GET", "/api/status", limit_s))

    async def metrics(self, limit_s: float) -> bytes:
        """The host's own metrics in Prometheus' text format. Raises as `status`."""
        return await self._ask("GET", "/metrics", limit_s)

    async def start(self, body: dict[str, Any], limit_s: float) -> None:
        """Begin a stream.

        Raises:
            ParamsError, StreamError: refused, with the host's reason. ProcessError: the host does not answer.
        """
        await self._ask("POST", "/api/live-video-to-video", limit_s, body)

    async def params(self, params: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Apply params; all that are in force now.

        Raises:
            ParamsError: refused; the old ones stay. ProcessError: the host does not answer.
        """
        return dict(_object(await self._ask("POST", "/api/params", limit_s, params))["params"])

    async def stop(self, limit_s: float) -> None:
        """End the stream, if there is one. Raises as `status`."""
        await self._ask("DELETE", "/api/stream", limit_s)

    async def close(self) -> None:
        """Safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, method: str, path: str, limit_s: float, body: dict[str, Any] | None = None) -> bytes:
        import aiohttp

        if self._session is None:
            # A new connection for each request: the host that kept one open may have died since.
            connector = aiohttp.UnixConnector(self._socket, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers={"Accept": "application/json"}
            )
        limit = aiohttp.ClientTimeout(total=limit_s)
        try:
            async with self._session.request(method, f"http://host{path}", json=body, timeout=limit) as answer:
                content = await answer.content.read(_ANSWER_LIMIT_BYTES)
                while len(content) < _ANSWER_LIMIT_BYTES and (more := await answer.content.read(_ANSWER_LIMIT_BYTES)):
                    content += more
                status = answer.status
        except asyncio.TimeoutError as error:
            raise ProcessError(f"the runner host has not answered within {limit_s:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ProcessError(f"the runner host does not answer ({type(error).__name__})") from error
        if status == 200:
            return content
        raise _refusal(status, content.decode("utf-8", "replace"))


def _object(answer: bytes) -> dict[str, Any]:
    found = json.loads(answer)
    if not isinstance(found, dict):
        raise ProcessError("runner host: its answer is not a JSON object")
    return found


def _refusal(status: int, text: str) -> ParamsError | StreamError | ProcessError:
    """The error that an answer of the host stands for."""
    try:
        detail = json.loads(text)["detail"]
        message, kind, refused = detail["msg"], detail.get("kind"), detail.get("refused") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return ProcessError(f"the runner host answered {status}")
    if kind == "ParamsError":
        return ParamsError(message, refused)
    if status in (400, 422):
        return StreamError(message)
    return ProcessError(f"the runner host answered {status}: {message}")
