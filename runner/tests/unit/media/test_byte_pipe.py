from __future__ import annotations

import asyncio
import threading
import time

import pytest

from runner.live.trickle.byte_pipe import BytePipe


async def test_gives_what_there_is_in_order() -> None:
    pipe = BytePipe()
    await pipe.write(b"abc")
    await pipe.write(b"defg")
    assert (pipe.read(2), pipe.read(4), pipe.unread_bytes) == (b"ab", b"cdef", 1)
    pipe.end()
    assert (pipe.read(10), pipe.read(10), pipe.read(10)) == (b"g", b"", b"")


async def test_a_read_without_a_size_gives_all() -> None:
    pipe = BytePipe()
    for _ in range(3):
        await pipe.write(b"ab")
    assert pipe.read() == b"ababab"


async def test_reading_waits_for_the_first_byte_only() -> None:
    pipe = BytePipe()
    reading = asyncio.create_task(asyncio.to_thread(pipe.read, 100))
    await asyncio.sleep(0.02)
    assert not reading.done()
    await pipe.write(b"x")
    assert await asyncio.wait_for(reading, 60) == b"x"


async def test_a_writer_waits_while_too_much_is_unread_and_the_loop_goes_on() -> None:
    pipe = BytePipe(limit_bytes=10)
    await asyncio.wait_for(pipe.write(b"0123456789"), 60)
    writing = asyncio.create_task(pipe.write(b"x"))
    await asyncio.sleep(0.02)
    assert not writing.done()
    assert await asyncio.to_thread(pipe.read, 1) == b"0"
    await asyncio.wait_for(writing, 60)
    assert pipe.read() == b"123456789x"


async def test_a_cancelled_writer_has_written_and_later_ones_go_on() -> None:
    pipe = BytePipe(limit_bytes=1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(pipe.write(b"abc"), 0.02)
    later = asyncio.create_task(pipe.write(b"d"))
    await asyncio.sleep(0)
    assert pipe.read() == b"abcd"
    await asyncio.wait_for(later, 60)


@pytest.mark.parametrize("way", ["end", "close"])
async def test_ending_frees_a_waiting_reader(way: str) -> None:
    pipe = BytePipe()
    reading = asyncio.create_task(asyncio.to_thread(pipe.read, 100))
    await asyncio.sleep(0.02)
    getattr(pipe, way)()
    assert await asyncio.wait_for(reading, 60) == b""


async def test_closing_throws_away_and_frees_the_writer() -> None:
    pipe = BytePipe(limit_bytes=1)
    writing = asyncio.create_task(pipe.write(b"abc"))
    await asyncio.sleep(0)
    pipe.close()
    pipe.close()
    await asyncio.wait_for(writing, 60)
    await pipe.write(b"more")
    assert (pipe.read(), pipe.unread_bytes) == (b"", 0)


async def test_what_is_written_after_the_end_is_thrown_away() -> None:
    pipe = BytePipe()
    pipe.end()
    await pipe.write(b"late")
    assert pipe.read() == b""


async def test_much_goes_through_a_small_pipe_unchanged() -> None:
    pipe = BytePipe(limit_bytes=5000)
    data = bytes(range(256)) * 2000
    got: list[bytes] = []

    def read() -> None:
        while piece := pipe.read(777):
            got.append(piece)
            if len(got) % 50 == 0:
                time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    for begin in range(0, len(data), 4099):
        await asyncio.wait_for(pipe.write(data[begin : begin + 4099]), 60)
        assert pipe.unread_bytes <= 5000 + 4099
    pipe.end()
    await asyncio.to_thread(thread.join, 60)
    assert b"".join(got) == data
