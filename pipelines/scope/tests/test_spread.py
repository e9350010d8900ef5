"""Timestamps of outputs that are more or fewer than their inputs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from scope_pipeline.spread import spread


class TestSpread:
    def test_as_many_outputs_as_inputs_get_the_inputs_times(self) -> None:
        assert spread([0, 10, 25], 12, 3) == [0, 10, 25]

    def test_more_outputs_are_even_up_to_one_interval_after_the_last_input(self) -> None:
        assert spread([0, 10, 20, 30], 10, 8) == [0, 5, 10, 15, 20, 25, 30, 35]

    def test_fewer_outputs_are_even_too(self) -> None:
        assert spread(list(range(0, 120, 10)), 10, 9) == [0, 13, 26, 40, 53, 66, 80, 93, 106]

    def test_no_outputs_need_no_times(self) -> None:
        assert spread([0, 10], 10, 0) == []

    def test_what_would_not_be_later_than_the_output_before_is_moved_behind_it(self) -> None:
        assert spread([100, 110], 10, 4, after=103) == [104, 108, 112, 116]

    def test_as_many_outputs_as_inputs_are_moved_as_well(self) -> None:
        assert spread([100, 110], 10, 2, after=100) == [101, 110]

    @pytest.mark.parametrize("count", [1, 4, 9, 12, 45])
    @pytest.mark.parametrize("interval", [0, 1, 3, 3750])
    def test_times_always_grow_even_in_a_coarse_unit(self, count: int, interval: int) -> None:
        after, times = None, []
        for start in range(0, 10 * max(interval, 1), max(interval, 1)):
            times += spread([start], interval, count, after)
            after = times[-1]
        assert all(later > earlier for earlier, later in pairwise(times))
