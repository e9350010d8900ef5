"""SystemGauge: free memory within the limit of a container, from files like those of the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.live.process import memory
from runner.live.process.memory import SystemGauge

MIB = 1 << 20
UNLIMITED_V1 = 9_223_372_036_854_771_712  # what cgroup v1 shows where there is no limit


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for `v2` and one for `v1`, in place of the kernel's."""
    found = memory._CGROUPS
    monkeypatch.setattr(
        memory, "_CGROUPS", tuple((tmp_path / f"v{2 - n}", *names) for n, (_, *names) in enumerate(found))
    )
    return tmp_path


def write_v2(cgroups: Path, limit: str, used: int, inactive_file: int = 0) -> None:
    folder = cgroups / "v2"
    folder.mkdir()
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 4096\ninactive_file {inactive_file}\nactive_file 8192\n")


def write_v1(cgroups: Path, limit: int, used: int, inactive_file: int = 0) -> None:
    folder = cgroups / "v1"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    # The line without `total_` leaves out the groups below this one.
    (folder / "memory.stat").write_text(f"inactive_file 0\ntotal_inactive_file {inactive_file}\n")


class TestContainerLimit:
    def test_free_is_what_the_limit_leaves(self, cgroups: Path) -> None:
        write_v2(cgroups, str(8 * MIB), 5 * MIB)
        assert SystemGauge().free_ram() == 3 * MIB

    def test_cached_files_count_as_free(self, cgroups: Path) -> None:
        write_v2(cgroups, str(8 * MIB), 5 * MIB, inactive_file=2 * MIB)
        assert SystemGauge().free_ram() == 5 * MIB

    def test_version_1_of_cgroups(self, cgroups: Path) -> None:
        write_v1(cgroups, 8 * MIB, 5 * MIB, inactive_file=MIB)
        assert SystemGauge().free_ram() == 4 * MIB

    def test_use_above_the_limit_leaves_nothing(self, cgroups: Path) -> None:
        write_v2(cgroups, str(8 * MIB), 9 * MIB)
        assert SystemGauge().free_ram() == 0

    def test_a_limit_above_the_machine_does_not_add_memory(self, cgroups: Path) -> None:
        write_v1(cgroups, UNLIMITED_V1, 5 * MIB)
        assert 0 < SystemGauge().free_ram() < UNLIMITED_V1 // 2

    @pytest.mark.parametrize("limit", ["max", ""])
    def test_without_a_limit_free_is_that_of_the_machine(self, cgroups: Path, limit: str) -> None:
        write_v2(cgroups, limit, 5 * MIB)
        assert memory._container_free() is None
        assert SystemGauge().free_ram() > 8 * MIB

    def test_without_a_container_there_is_no_limit(self, cgroups: Path) -> None:
        assert not list(cgroups.iterdir())
        assert memory._container_free() is None
