from __future__ import annotations

import asyncio
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from runner.errors import SourceError
from runner.live.streamer.protocol.handoff import Handoff
from runner.live.trickle.frame import AudioFrame, RawFrame


def _picture(number: int) -> RawFrame:
    return RawFrame(np.zeros((2, 2, 3), np.uint8), number, Fraction(1, 30), seq=number)


def _sound(number: int) -> AudioFrame:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16), np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, number, Fraction(1, 48_000)
    return AudioFrame(frame)


async def _drain(handoff: Handoff) -> list[str]:
    seen = []
    while (item := await handoff.get()) is not None:
        seen.append(f"picture {item.seq}" if isinstance(item, RawFrame) else f"sound {item.timestamp}")
    return seen


async def test_newest_replaces_the_picture_that_waits_and_keeps_all_sound() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "newest")
    assert handoff.put(_picture(0)) is None
    assert handoff.put(_sound(0)) is None
    replaced = handoff.put(_picture(1))
    assert replaced is not None
    assert replaced.seq == 0
    handoff.put(_sound(1))
    handoff.end()
    assert await _drain(handoff) == ["sound 0", "picture 1", "sound 1"]


async def test_lossless_makes_the_thread_wait_and_loses_nothing() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "lossless")

    def produce() -> None:
        for number in range(200):
            assert handoff.put(_picture(number)) is None
        handoff.end()

    thread = threading.Thread(target=produce)
    thread.start()
    assert await _drain(handoff) == [f"picture {number}" for number in range(200)]
    thread.join()


async def test_lossless_holds_only_a_few_frames_at_a_time() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "lossless")

    def produce() -> None:
        for number in range(100):
            handoff.put(_picture(number))
        handoff.end()

    thread = threading.Thread(target=produce)
    thread.start()
    most = 0
    while await handoff.get() is not None:
        await asyncio.sleep(0.001)  # the thread may run ahead
        most = max(most, len(handoff._items))
    thread.join()
    assert 1 <= most <= 4


async def test_every_wake_up_arrives() -> None:
    """The consumer is always faster than the producer, so each single item has to wake it."""
    handoff = Handoff(asyncio.get_running_loop(), "newest")

    def produce() -> None:
        taken = threading.Event()
        for number in range(300):
            handoff.put(_picture(number))
            taken.wait(0.0002)
        handoff.end()

    thread = threading.Thread(target=produce)
    thread.start()
    seen = await asyncio.wait_for(_drain(handoff), 60)
    thread.join()
    assert seen[-1] == "picture 299"


async def test_an_error_comes_after_what_was_given_before_it() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "lossless")
    handoff.put(_picture(0))
    handoff.end(SourceError("unplugged"))
    assert isinstance(await handoff.get(), RawFrame)
    with pytest.raises(SourceError, match="unplugged"):
        await handoff.get()


async def test_closing_lets_both_sides_go() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "lossless")
    thread = threading.Thread(target=lambda: [handoff.put(_picture(number)) for number in range(100)])
    thread.start()
    waiting = asyncio.create_task(_drain(handoff))
    await asyncio.sleep(0)
    handoff.close()
    await asyncio.wait_for(waiting, 60)
    await asyncio.to_thread(thread.join, 60)
    assert not thread.is_alive()
    assert await handoff.get() is None


async def test_the_thread_can_wait_until_what_it_put_has_been_taken() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "newest")
    handoff.put(_picture(0))
    waiting = asyncio.create_task(asyncio.to_thread(handoff.wait_taken, 60.0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await handoff.get()
    await asyncio.wait_for(waiting, 60)


async def test_waiting_until_it_is_taken_ends_with_the_limit_and_with_closing() -> None:
    handoff = Handoff(asyncio.get_running_loop(), "newest")
    handoff.put(_picture(0))
    await asyncio.to_thread(handoff.wait_taken, 0.01)
    waiting = asyncio.create_task(asyncio.to_thread(handoff.wait_taken, 60.0))
    handoff.close()
    await asyncio.wait_for(waiting, 60)
    assert await handoff.get() is None
