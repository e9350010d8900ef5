"""Where the time goes on a route, and what counts as its beginning."""

from __future__ import annotations

from fractions import Fraction

from runner.live.streamer.protocol.burst import LENGTH_S, Burst
from runner.live.streamer.protocol.hops import HOPS, Hops

from ...conftest import raw_frame

MS = 1_000_000


def test_each_hop_is_what_lies_between_its_two_stations() -> None:
    hops = Hops()
    for number in range(5):
        frame = raw_frame(number)
        for at, station in enumerate(("source", "sent", "arrived", "done", "answered", "returned")):
            hops.note(station, frame, (1000 + number + at * (at + 1) // 2) * MS)
    medians = hops.medians_ms()
    assert list(medians) == list(HOPS)
    assert [medians[hop] for hop in HOPS] == [1, 2, 3, 4, 5, 15]
    assert hops.percentiles_ms() == {"p50": 15, "p95": 15}


def test_a_picture_keeps_its_identity_in_another_time_base() -> None:
    hops = Hops()
    frame = raw_frame(7)
    hops.note("source", frame, 10 * MS)
    frame.pts, frame.time_base = 21_000, Fraction(1, 90_000)
    hops.note("returned", frame, 12 * MS)
    assert hops.medians_ms() == {"total": 2}


def test_pictures_that_get_lost_are_forgotten() -> None:
    hops = Hops()
    for number in range(5000):
        hops.note("source", raw_frame(number, 2, 2))
    assert len(hops._under_way) <= 1001
    hops.note("returned", raw_frame(0, 2, 2))  # long forgotten
    assert hops.medians_ms() == {}


def test_a_burst_ends_with_its_length_and_does_not_begin_again() -> None:
    burst = Burst()
    frames = [raw_frame(number) for number in range(int(LENGTH_S * 30) + 2)]
    assert [burst.lasts(frame) for frame in frames] == [True] * int(LENGTH_S * 30) + [False, False]
    assert not burst.lasts(frames[0])
