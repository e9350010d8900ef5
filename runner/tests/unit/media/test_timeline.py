from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from runner.live.trickle.frame_rate import FrameRateCap
from runner.live.trickle.timeline import Timeline

WRAP = 1 << 33
SECOND = 90_000


def _placed(timeline: Timeline, track: str, stamps: list[int], length: int = 3000) -> list[int | None]:
    return [timeline.place(track, stamp, length) for stamp in stamps]


def _given(cap: FrameRateCap, pts: list[int]) -> list[int]:
    return [at for at in pts if cap.takes(at)]


class TestTimeline:
    def test_times_that_grow_are_kept(self) -> None:
        stamps = [5, 3005, 3006, 90_000, 40 * 90_000]
        assert _placed(Timeline(), "video", stamps) == stamps

    def test_a_wrap_is_undone_on_every_track(self) -> None:
        timeline = Timeline()
        for track in ("video", "audio"):
            stamps = [(WRAP - 6000 + step) % WRAP for step in range(0, 15_000, 3000)]
            assert _placed(timeline, track, stamps) == list(range(WRAP - 6000, WRAP + 9000, 3000))

    def test_many_wraps_go_on_growing(self) -> None:
        timeline = Timeline()
        hour = 50 * 90_000
        placed = [timeline.place("video", number * hour % WRAP, 3000) for number in range(5 * WRAP // hour)]
        assert placed == [number * hour for number in range(len(placed))]

    @pytest.mark.parametrize("first", [0, 90_000, 70 * 90_000 + 3_000_000, WRAP - 100])
    def test_another_clock_goes_on_where_the_longest_track_ended(self, first: int) -> None:
        timeline = Timeline()
        _placed(timeline, "video", [3_000_000, 3_003_000])
        _placed(timeline, "audio", [3_000_000, 3_004_000], 1800)
        assert timeline.place("video", first, 3000) == 3_006_000
        assert timeline.place("audio", (first + 500) % WRAP, 1800) == 3_006_500
        assert timeline.place("video", (first + 3000) % WRAP, 3000) == 3_009_000

    def test_what_is_late_of_the_earlier_clock_keeps_its_place(self) -> None:
        """A decoder may hold back the last pictures of the old clock until sound of the new one has come."""
        timeline = Timeline()
        _placed(timeline, "video", [9_000_000, 9_003_000])
        _placed(timeline, "audio", [9_000_000, 9_002_000], 2000)
        assert timeline.place("audio", 77, 2000) == 9_006_000
        assert timeline.place("video", 9_006_000, 3000) == 9_006_000
        assert timeline.place("video", 80, 3000) == 9_006_003

    def test_small_steps_back_are_left_out(self) -> None:
        assert _placed(Timeline(), "video", [9000, 12_000, 12_000, 10_500, 15_000]) == [
            9000,
            12_000,
            None,
            None,
            15_000,
        ]

    @pytest.mark.parametrize("segments", [1, 2, 4])
    def test_segments_that_are_given_again_have_no_place(self, segments: int) -> None:
        timeline = Timeline()
        for track, step in (("video", 3000), ("audio", 1920)):
            before, after = list(range(0, 12 * SECOND, step)), list(range(12 * SECOND, 16 * SECOND, step))
            again = [at for at in before if at >= (12 - 2 * segments) * SECOND]
            after = [at for at in after if at > before[-1]]
            assert _placed(timeline, track, before, step) == before
            assert _placed(timeline, track, again + after, step) == [None] * len(again) + after

    def test_one_segment_after_the_other_may_be_given_again(self) -> None:
        timeline = Timeline()
        for begin in range(0, 20 * SECOND, 2 * SECOND):
            segment = list(range(begin, begin + 2 * SECOND, 3000))
            assert _placed(timeline, "video", segment) == segment
            assert set(_placed(timeline, "video", segment)) == {None}

    def test_a_repeat_across_a_wrap_has_no_place(self) -> None:
        timeline = Timeline()
        stamps = [(WRAP - SECOND + step) % WRAP for step in range(0, 2 * SECOND, 3000)]
        placed = _placed(timeline, "video", stamps)
        assert set(_placed(timeline, "video", stamps)) == {None}
        assert timeline.place("video", SECOND, 3000) == placed[-1] + 3000

    def test_a_short_clip_that_is_played_again_and_again_goes_on(self) -> None:
        timeline = Timeline()
        clip = list(range(SECOND, 6 * SECOND, 3000))
        placed = [_placed(timeline, "video", clip) for _ in range(5)]
        assert placed[0] == clip
        assert set(placed[1]) == {None}  # it might be a repeat
        assert placed[2] + placed[3] + placed[4] == [6 * SECOND + 3000 * number for number in range(3 * len(clip))]

    def test_a_pause_stays_a_pause(self) -> None:
        assert _placed(Timeline(), "video", [0, 30 * 90_000]) == [0, 30 * 90_000]

    def test_whatever_comes_the_times_grow(self) -> None:
        timeline = Timeline()
        stamps = [(number * number * 7_919_000_017) % WRAP for number in range(500)]
        placed = [at for at in _placed(timeline, "video", stamps) if at is not None]
        assert len(placed) > 400
        assert all(later > earlier for earlier, later in itertools.pairwise(placed))


class TestFrameRateCap:
    def test_24_of_30_evenly(self) -> None:
        given = _given(FrameRateCap(24.0), [number * 3000 for number in range(300)])
        assert len(given) == pytest.approx(240, abs=1)
        left_out = [one for one, other in itertools.pairwise(given) if other - one > 3000]
        assert {later - earlier for earlier, later in itertools.pairwise(left_out)} == {15_000}
        assert max(later - earlier for earlier, later in itertools.pairwise(given)) == 6000

    @pytest.mark.parametrize("fps", [Fraction(24), Fraction(24000, 1001), Fraction(15), Fraction(1, 2)])
    def test_slower_sources_lose_nothing(self, fps: Fraction) -> None:
        pts = [round(number * 90_000 / fps) for number in range(500)]
        assert _given(FrameRateCap(24.0), pts) == pts

    def test_nor_does_one_of_just_that_rate_with_jitter(self) -> None:
        pts = [number * 3750 + (number * 7919) % 1500 for number in range(1000)]
        assert _given(FrameRateCap(24.0), pts) == pts

    @pytest.mark.parametrize("fps", [25, 29.97, 50, 60, 144])
    def test_faster_ones_come_down_to_it(self, fps: float) -> None:
        pts = [round(number * 90_000 / fps) for number in range(round(fps * 20))]
        assert len(_given(FrameRateCap(24.0), pts)) == pytest.approx(480, abs=1)

    def test_a_pause_gives_no_credit(self) -> None:
        pts = [number * 1500 for number in range(60)]
        later = [at + 900_000 for at in pts]
        cap = FrameRateCap(24.0)
        first, second = _given(cap, pts), _given(cap, later)
        assert len(first) == pytest.approx(24, abs=1)
        assert len(second) == pytest.approx(24, abs=1)

    def test_without_a_cap_all_are_given(self) -> None:
        pts = list(range(0, 9000, 10))
        assert _given(FrameRateCap(None), pts) == pts

    def test_a_rate_must_be_above_zero(self) -> None:
        with pytest.raises(ValueError, match="above 0"):
            FrameRateCap(0.0)
