"""Room: overlap or hand-over, decided by measured memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from runner.live.process import room
from runner.live.process.memory import GpuUse
from runner.live.process.room import GPU_MARGIN_BYTES, RAM_MARGIN_BYTES, Room, measure_room, wait_returned

GIB = 1 << 30


@dataclass
class Figures:
    """A gauge whose figures are given; `later` are those of the GPUs at the following looks, one by one."""

    ram_free: int = 16 * GIB
    ram_private: int = GIB
    gpu: list[GpuUse] = field(default_factory=list)
    later: list[list[GpuUse]] = field(default_factory=list)

    def free_ram(self) -> int:
        return self.ram_free

    def resident(self, _pid: int) -> int:
        return self.ram_private

    def proportional(self, _pid: int) -> int:
        return self.ram_private

    def private(self, _pid: int) -> int:
        return self.ram_private

    def gpus(self, _pid: int, _reserved_bytes: int) -> list[GpuUse]:
        return self.later.pop(0) if self.later else self.gpu


def gpu(used_gib: float, free_gib: float) -> GpuUse:
    return GpuUse(int(used_gib * GIB), int(free_gib * GIB), 24 * GIB)


class TestDecision:
    def test_on_the_cpu_is_by_ram(self) -> None:
        found = measure_room(Figures(ram_private=10 * GIB, ram_free=12 * GIB), 1, 0)
        assert found == Room("RAM", 11 * GIB + RAM_MARGIN_BYTES, 12 * GIB)
        assert found.enough

    def test_asks_for_a_tenth_more_than_the_old_process_uses_and_a_margin(self) -> None:
        needed = 11 * GIB + RAM_MARGIN_BYTES
        assert measure_room(Figures(ram_private=10 * GIB, ram_free=needed), 1, 0).enough
        assert not measure_room(Figures(ram_private=10 * GIB, ram_free=needed - 1), 1, 0).enough

    def test_on_a_gpu_with_room_is_overlap(self) -> None:
        assert measure_room(Figures(gpu=[gpu(8, 15)]), 1, 0).enough

    def test_on_a_gpu_without_room_is_hand_over_with_both_numbers(self) -> None:
        found = measure_room(Figures(gpu=[gpu(10, 9)]), 1, 0)
        assert found == Room("GPU", 11 * GIB + GPU_MARGIN_BYTES, 9 * GIB)
        assert not found.enough

    def test_looks_at_the_tightest_gpu_that_the_process_uses(self) -> None:
        found = measure_room(Figures(gpu=[gpu(2, 20), gpu(10, 9), gpu(0, 1)]), 1, 0)
        assert found.free_bytes == 9 * GIB

    def test_is_by_ram_where_that_is_tighter_than_the_gpu(self) -> None:
        assert measure_room(Figures(ram_free=GIB // 2, gpu=[gpu(1, 20)]), 1, 0).memory == "RAM"


class TestReturn:
    async def test_is_seen_when_the_gpu_memory_is_free_again(self) -> None:
        figures = Figures(later=[[gpu(0, 9)], [gpu(0, 12)], [gpu(0, 18.9)]], gpu=[gpu(0, 0)])
        assert await wait_returned(figures, [gpu(10, 9)])
        assert figures.later == []

    async def test_that_does_not_come_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(room, "RETURN_LIMIT_S", 0.05)
        assert not await wait_returned(Figures(gpu=[gpu(0, 10)]), [gpu(10, 9)])

    async def test_needs_no_wait_without_a_gpu(self) -> None:
        assert await wait_returned(Figures(), [])
