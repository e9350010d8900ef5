"""SnapshotStore: each content once, whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runner.live.code.store import SnapshotMissing, SnapshotStore, digest_of

CONTENT = b"def f(frame):\n    return frame\n"


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Have the kernel refuse writes beyond this size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestContents:
    def test_a_content_comes_back_by_its_digest(self, store: SnapshotStore) -> None:
        assert store.get(store.put(CONTENT)) == CONTENT
        assert store.get(store.put(b"")) == b""

    def test_an_unknown_digest_is_missing(self, store: SnapshotStore) -> None:
        with pytest.raises(SnapshotMissing, match="no snapshot"):
            store.get(digest_of(CONTENT))

    @pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT.replace(b"return", b"yield "), b""])
    def test_a_damaged_content_is_never_returned(self, store: SnapshotStore, tmp_path: Path, damage: bytes) -> None:
        digest = store.put(CONTENT)
        (tmp_path / "store" / digest).write_bytes(damage)
        with pytest.raises(SnapshotMissing, match="damaged"):
            store.get(digest)

    def test_a_damaged_content_is_written_again(self, store: SnapshotStore, tmp_path: Path) -> None:
        digest = store.put(CONTENT)
        (tmp_path / "store" / digest).write_bytes(b"damaged")
        assert store.put(CONTENT) == digest
        assert store.get(digest) == CONTENT


class TestWrites:
    def test_a_write_that_fails_leaves_nothing(self, store: SnapshotStore, tmp_path: Path) -> None:
        store.put(CONTENT)
        with largest_file(1000), pytest.raises(OSError, match="File too large"):
            store.put(b"#" * 5000)
        assert [path.name for path in (tmp_path / "store").iterdir()] == [digest_of(CONTENT)]

    def test_a_replace_that_fails_keeps_the_old_content(
        self, store: SnapshotStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A content gets its name only once all of it is written."""
        digest = digest_of(CONTENT)
        seen: list[bytes] = []

        def look_and_fail(part: str, place: Path) -> None:
            seen.append(Path(part).read_bytes())
            assert not place.exists()
            raise OSError("disk gone")

        monkeypatch.setattr(os, "replace", look_and_fail)
        with pytest.raises(OSError, match="disk gone"):
            store.put(CONTENT)
        assert seen == [CONTENT]
        assert list((tmp_path / "store").iterdir()) == []
        with pytest.raises(SnapshotMissing):
            store.get(digest)


class TestRemoval:
    def test_prune_keeps_what_is_wanted_and_what_is_not_a_snapshot(self, store: SnapshotStore, tmp_path: Path) -> None:
        wanted, unwanted = store.put(b"wanted"), store.put(b"unwanted")
        (tmp_path / "store/notes.txt").touch()
        (tmp_path / "store" / wanted[:-1]).touch()
        assert store.prune([wanted]) == 1
        assert {path.name for path in (tmp_path / "store").iterdir()} == {wanted, wanted[:-1], "notes.txt"}
        with pytest.raises(SnapshotMissing):
            store.get(unwanted)

    def test_sweep_removes_only_the_parts_of_writers_that_exited(self, store: SnapshotStore, tmp_path: Path) -> None:
        exited = subprocess.Popen([sys.executable, "-c", ""])
        exited.wait()
        kept = {store.put(CONTENT), f".part-{os.getpid()}-a", ".part-x"}
        for name in (*kept, f".part-{exited.pid}-b"):
            (tmp_path / "store" / name).touch()
        (tmp_path / "store/.part-x").unlink()
        assert store.sweep() == 1
        assert {path.name for path in (tmp_path / "store").iterdir()} == kept - {".part-x"}

    def test_a_folder_that_does_not_exist_is_empty(self, store: SnapshotStore) -> None:
        assert (store.sweep(), store.prune([])) == (0, 0)
