"""BodyLimit: how large a request's body may be, and how long it may take to come."""

from __future__ import annotations

import asyncio
import time

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..time_limit import time_limit
from .answers import problem

BODY_LIMIT_BYTES = 1 << 20
BODY_LIMIT_S = 10.0


class BodyLimit:
    """ASGI middleware: larger and slower bodies are answered with 400.

    Not with 413 and 408: the network's worker understands 200, 400, 401, 422 and 500 (contract 3.1).
    """

    def __init__(self, app: ASGIApp, limit_bytes: int = BODY_LIMIT_BYTES, limit_s: float = BODY_LIMIT_S) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > self._limit_bytes:
            await problem(400, self._too_large)(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    @property
    def _too_large(self) -> str:
        return f"The body is larger than {self._limit_bytes} bytes."

    def _limited(self, receive: Receive) -> Receive:
        taken, complete = 0, False
        begun_s = time.monotonic()

        async def limited() -> Message:
            nonlocal taken, complete
            if complete:  # what is waited for now is the end of the connection
                return await receive()
            left_s = begun_s + self._limit_s - time.monotonic()
            try:
                async with time_limit(max(0.0, left_s)):
                    message = await receive()
            except asyncio.TimeoutError:
                raise HTTPException(400, f"The body did not come within {self._limit_s:.0f} s.") from None
            taken += len(message.get("body", b""))
            if taken > self._limit_bytes:
                raise HTTPException(400, self._too_large)
            complete = not message.get("more_body", False)
            return message

        return limited
