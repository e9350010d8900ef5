"""BodyLimit: bodies that are too large or too slow, in front of an app that reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request

from runner.routes.answers import answer_errors
from runner.routes.body_limit import BodyLimit


def app(**limits: Any) -> FastAPI:
    read = FastAPI()
    answer_errors(read)

    @read.post("/")
    async def length(request: Request) -> int:
        return len(await request.body())

    read.add_middleware(BodyLimit, **limits)
    return read


async def ask(limited: FastAPI, chunks: AsyncIterator[bytes], declared: str = "") -> tuple[int, Any]:
    """Status and JSON of the answer to a POST whose body comes in these chunks."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", declared.encode())] if declared else []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b"", "app": limited}
    await limited(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


async def chunks(*sizes: int, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for size in sizes:
        await asyncio.sleep(pause_s)
        yield b"x" * size


async def test_up_to_the_limit_it_passes() -> None:
    assert await ask(app(limit_bytes=100), chunks(60, 40)) == (200, 100)
    assert await ask(app(limit_bytes=100), chunks(100), "100") == (200, 100)


@pytest.mark.parametrize("declared", ["101", "9" * 40, "-1", "many", ""])
async def test_above_it_does_not(declared: str) -> None:
    status, body = await ask(app(limit_bytes=100), chunks(60, 41), declared)
    assert (status, body) == (400, {"detail": {"msg": "The body is larger than 100 bytes."}})


async def test_a_body_that_trickles_in_is_given_up() -> None:
    status, body = await ask(app(limit_s=0.05), chunks(*[1] * 1000, pause_s=0.02))
    assert status == 400
    assert "did not come within" in body["detail"]["msg"]
