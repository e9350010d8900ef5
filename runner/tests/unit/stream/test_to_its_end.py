"""What is begun is finished."""

from __future__ import annotations

import asyncio

import pytest

from runner.live.plain_json import plain_json
from runner.live.streamer.to_its_end import to_its_end


async def test_whoever_is_cancelled_finishes_all_the_same() -> None:
    done: list[int] = []
    going = asyncio.Event()

    async def work() -> None:
        for number in range(3):
            await going.wait()
            done.append(number)

    task = asyncio.create_task(to_its_end(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    going.set()
    await task
    assert done == [0, 1, 2]


async def test_what_goes_wrong_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("spoilt")

    await to_its_end(work())
    assert "spoilt" in caplog.text


def test_json_of_what_json_has_no_name_for() -> None:
    value = {"a": float("nan"), "b": [float("inf"), 1.5], "c": "caf\udce9", "d": object}
    assert plain_json(value) == b'{"a": null, "b": [null, 1.5], "c": "caf\\\\udce9", "d": "<class \'object\'>"}'
