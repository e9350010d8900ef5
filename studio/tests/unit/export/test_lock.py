"""``uv.lock``: what it pins, for which target, and what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.errors import ExportError
from ai_runner_studio.export.lock import Lock, find_lock
from ai_runner_studio.export.target import Target

LOCK = """
version = 1
requires-python = ">=3.10"
resolution-markers = ["python_full_version >= '3.11'", "python_full_version < '3.11'"]

[[package]]
name = "tint"
version = "0.1.0"
source = { editable = "." }
dependencies = [{ name = "numpy" }, { name = "fast", extra = ["gpu"], marker = "sys_platform == 'linux'" }]

[[package]]
name = "numpy"
version = "2.2.6"
source = { registry = "https://packages.example.com/simple" }
resolution-markers = ["python_full_version < '3.11'"]
wheels = [{ url = "https://packages.example.com/numpy-2.2.6-cp310-cp310-manylinux_2_17_x86_64.whl", hash = "sha256:OLD", size = 1 }]

[[package]]
name = "numpy"
version = "2.4.0"
source = { registry = "https://packages.example.com/simple" }
resolution-markers = ["python_full_version >= '3.11'"]
sdist = { url = "https://packages.example.com/numpy-2.4.0.tar.gz", hash = "sha256:SOURCE", size = 1 }
wheels = [
    { url = "https://packages.example.com/numpy-2.4.0-cp311-cp311-manylinux_2_28_x86_64.whl", hash = "sha256:AMD", size = 1 },
    { url = "https://packages.example.com/numpy-2.4.0-cp311-cp311-manylinux_2_28_aarch64.whl", hash = "sha256:ARM", size = 1 },
    { url = "https://packages.example.com/numpy-2.4.0-cp311-cp311-win_amd64.whl", hash = "sha256:WIN", size = 1 },
]

[[package]]
name = "Fast_Thing"
version = "1.0+cpu"
source = { registry = "https://packages.example.com/simple" }
dependencies = [{ name = "numpy", marker = "python_full_version >= '3.11'" }]
wheels = [{ url = "https://packages.example.com/fast_thing-1.0%2Bcpu-py3-none-any.whl", hash = "sha256:FAST" }]

[package.optional-dependencies]
gpu = [{ name = "driver", marker = "platform_machine == 'x86_64'" }]

[[package]]
name = "forked"
version = "3.0"
source = { git = "https://github.com/someone/forked?rev=1#abc" }

[[package]]
name = "source-only"
version = "3.0"
source = { registry = "https://packages.example.com/simple" }
sdist = { url = "https://packages.example.com/source-only-3.0.tar.gz", hash = "sha256:SOURCE" }
"""
LOCK = LOCK.replace("OLD", "0" * 64).replace("SOURCE", "1" * 64).replace("AMD", "a" * 64).replace("ARM", "b" * 64)
LOCK = LOCK.replace("WIN", "c" * 64).replace("FAST", "d" * 64)
AMD64 = Target("3.11", "linux/amd64")


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    (tmp_path / "uv.lock").write_text(LOCK)
    found = find_lock(tmp_path, AMD64)
    assert found is not None
    return found


class TestPins:
    def test_a_package_has_the_hashes_of_those_files_that_fit(self, lock: Lock) -> None:
        pin = lock.pin("numpy", AMD64)
        assert (pin.version, pin.hashes, pin.origin) == ("2.4.0", (f"sha256:{'a' * 64}",), "uv.lock")
        assert lock.pin("numpy", Target("3.11", "linux/arm64")).hashes == (f"sha256:{'b' * 64}",)

    def test_of_several_versions_that_of_the_target_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "uv.lock").write_text(LOCK)
        older = find_lock(tmp_path, Target("3.10", "linux/amd64"))
        assert older is not None
        assert older.packages["numpy"].version == "2.2.6"

    def test_names_and_files_are_read_in_every_spelling(self, lock: Lock) -> None:
        assert lock.pin("fast-thing", AMD64).version == "1.0+cpu"

    def test_needs_keep_their_markers_and_extras(self, lock: Lock) -> None:
        assert lock.packages["fast-thing"].requires == (
            "numpy ; python_full_version >= '3.11'",
            "driver ; (platform_machine == 'x86_64') and extra == 'gpu'",
        )

    def test_folders_are_left_to_be_built(self, lock: Lock) -> None:
        assert "tint" not in lock.packages


class TestWhatCannotBePinned:
    def test_a_repository(self, lock: Lock) -> None:
        with pytest.raises(ExportError, match=r"uv\.lock takes forked from a git") as caught:
            lock.pin("forked", AMD64)
        assert "release" in caught.value.hint

    def test_a_package_without_a_wheel_for_the_target(self, lock: Lock) -> None:
        with pytest.raises(ExportError, match=r"no wheel of source-only 3\.0 for Python 3\.11 on linux/amd64"):
            lock.pin("source-only", AMD64)

    @pytest.mark.parametrize("text", ["[[package]\n", "[[package]]\nversion = '1'\n", "package = 3\n"])
    def test_a_broken_lock(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "uv.lock").write_text(text)
        with pytest.raises(ExportError, match=r"uv\.lock cannot be read") as caught:
            find_lock(tmp_path, AMD64)
        assert caught.value.hint == "make it again: uv lock"


class TestFinding:
    def test_a_workspace_has_one_further_up_but_not_beyond_its_repository(self, tmp_path: Path) -> None:
        member = tmp_path / "repository" / "packages" / "tint"
        member.mkdir(parents=True)
        (tmp_path / "uv.lock").write_text(LOCK)
        (tmp_path / "repository" / ".git").mkdir()
        assert find_lock(member, AMD64) is None
        (tmp_path / "repository" / "uv.lock").write_text(LOCK)
        found = find_lock(member, AMD64)
        assert found is not None
        assert found.path == tmp_path / "repository" / "uv.lock"
