"""Differences between revisions, and between them and the disk; with real files and the real store."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from ai_runner_studio.errors import StudioError
from ai_runner_studio.reload import data_files
from ai_runner_studio.reload.revisions import FileDifference, Revisions
from ai_runner_studio.snapshot import Load
from runner.live.code.store import SnapshotStore

EARLIER_S = 1000.0


class Run:
    """A project, the store of its host, and its revisions."""

    def __init__(self, folder: Path, *watch: str) -> None:
        self.project, self.folder = folder / "project", folder / "snapshots"
        self.project.mkdir()
        self.revisions = Revisions(self.project, watch)
        self.revisions.begin(self.folder)
        self._store = SnapshotStore(self.folder)

    def save(self, **files: str | None) -> None:
        """Write files, by name without suffix; None removes one."""
        for name, text in files.items():
            path = self.path(name)
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)
                os.utime(path, (time.time() - EARLIER_S,) * 2)

    def path(self, name: str) -> Path:
        return self.project / f"{name}.py"

    def load(self, revision: int, *names: str, started_at: float | None = None) -> Load:
        """A good revision of what these files hold now."""
        sources = {str(self.path(name)): self._store.put(self.path(name).read_bytes()) for name in names}
        return Load(revision, "saved", time.time() if started_at is None else started_at, sources=sources)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def shown(differences: list[FileDifference]) -> list[tuple[str, str, list[str]]]:
    """Path, change and the changed lines of each."""
    return [
        (
            str(difference.path),
            difference.change,
            [line.strip() for line in difference.lines if line[0] in "+-" and line[:3] not in ("+++", "---")],
        )
        for difference in differences
    ]


class TestBetween:
    def test_changed_added_and_removed_files_are_sorted_by_path_and_shown_from_the_project(self, run: Run) -> None:
        run.save(b="one\n", c="gone\n", same="same\n")
        old = run.load(1, "b", "c", "same")
        run.save(b="two\n", a="new\n", same="same\n")
        new = run.load(2, "a", "b", "same")
        assert shown(run.revisions.between(old, new)) == [
            ("a.py", "added", ["+new"]),
            ("b.py", "changed", ["-one", "+two"]),
            ("c.py", "removed", ["-gone"]),
        ]
        assert shown(run.revisions.between(new, old))[0] == ("a.py", "removed", ["-new"])
        assert run.revisions.between(old, old) == []

    def test_a_file_outside_the_project_keeps_its_whole_path(self, run: Run, tmp_path: Path) -> None:
        outside = tmp_path / "library.py"
        store = SnapshotStore(run.folder)
        loads = [
            Load(number, "saved", 0.0, sources={str(outside): store.put(f"{number}\n".encode())}) for number in (1, 2)
        ]
        assert shown(run.revisions.between(*loads)) == [(str(outside), "changed", ["-1", "+2"])]

    def test_it_does_not_matter_what_is_on_disk(self, run: Run) -> None:
        run.save(a="one\n")
        old = run.load(1, "a")
        run.save(a="two\n")
        new = run.load(2, "a")
        run.save(a=None)
        assert shown(run.revisions.between(old, new)) == [("a.py", "changed", ["-one", "+two"])]

    def test_what_is_no_longer_kept_is_named(self, run: Run) -> None:
        run.save(a="one\n")
        old = run.load(1, "a")
        run.save(a="two\n")
        new = run.load(2, "a")
        SnapshotStore(run.folder).prune(new.sources.values())
        with pytest.raises(StudioError, match="the code of revision 1 is no longer kept"):
            run.revisions.between(old, new)

    def test_a_revision_that_was_not_good_cannot_be_compared(self, run: Run) -> None:
        run.save(a="one\n")
        with pytest.raises(StudioError, match="revision 2 is not kept"):
            run.revisions.between(run.load(1, "a"), Load(2, "saved", 0.0))


class TestAgainstTheDisk:
    def test_it_is_read_anew_each_time_and_never_written(self, run: Run) -> None:
        run.save(a="one\n", b="same\n")
        old = run.load(1, "a", "b")
        assert run.revisions.against_disk(old, old, old.sources) == []
        run.save(a="two\n")
        before = run.path("a").stat()
        assert shown(run.revisions.against_disk(old, old, old.sources)) == [("a.py", "changed", ["-one", "+two"])]
        run.save(b=None)
        assert [item[:2] for item in shown(run.revisions.against_disk(old, old, ()))] == [
            ("a.py", "changed"),
            ("b.py", "removed"),
        ]
        after = run.path("a").stat()
        assert (after.st_mtime_ns, after.st_ctime_ns, after.st_ino) == (
            before.st_mtime_ns, before.st_ctime_ns, before.st_ino,
        )  # fmt: skip

    def test_a_file_that_a_failed_load_imports_was_added(self, run: Run) -> None:
        run.save(a="import b\n")
        old = run.load(1, "a", started_at=time.time() - EARLIER_S)
        run.save(b="new\n")
        imported = [str(run.path("a")), str(run.path("b"))]
        assert shown(run.revisions.against_disk(old, old, imported)) == [("b.py", "added", ["+new"])]

    def test_a_file_that_was_imported_late_was_not(self, run: Run) -> None:
        run.save(a="def f(): import b\n", b="old\n")
        old = run.load(1, "a")
        assert run.revisions.against_disk(old, old, [str(run.path("a")), str(run.path("b"))]) == []

    def test_a_file_of_the_newest_code_was_added_since_the_code_gone_back_to(self, run: Run) -> None:
        run.save(a="one\n")
        first = run.load(1, "a")
        run.save(b="old\n")
        newest = run.load(2, "a", "b")
        back = Load(3, "back", time.time(), sources=first.sources, restores=1)
        assert shown(run.revisions.against_disk(back, newest, back.sources)) == [("b.py", "added", ["+old"])]


class TestDataFiles:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Run:
        return Run(tmp_path, "*.json", "*.py")

    async def test_those_that_changed_are_among_the_differences(self, run: Run) -> None:
        prompt, table = run.project / "prompt.json", run.project / "table.json"
        run.save(a="one\n")
        prompt.write_text("rain\n")
        first = run.load(1, "a")
        assert await run.revisions.remember_data(1, None) == []
        prompt.write_text("snow\n")
        table.write_text("[]\n")
        assert shown(run.revisions.against_disk(first, first, first.sources)) == [
            ("prompt.json", "changed", ["-rain", "+snow"]),
            ("table.json", "added", ["+[]"]),
        ]
        run.save(a="two\n")
        second = run.load(2, "a")
        await run.revisions.remember_data(2, None)
        prompt.unlink()
        assert [item[:2] for item in shown(run.revisions.between(first, second))] == [
            ("a.py", "changed"),
            ("prompt.json", "changed"),
            ("table.json", "added"),
        ]
        assert shown(run.revisions.against_disk(second, second, ())) == [("prompt.json", "removed", ["-snow"])]

    async def test_those_that_are_not_as_they_were_are_named_when_code_is_gone_back_to(self, run: Run) -> None:
        run.save(a="one\n")
        (run.project / "same.json").write_text("1")
        (run.project / "x.json").write_text("1")
        first = run.load(1, "a")
        await run.revisions.remember_data(1, None)
        run.save(a="two\n")  # matches a pattern too, but is code: the old one runs again
        (run.project / "x.json").write_text("2")
        assert await run.revisions.remember_data(2, first) == ["x.json"]
        assert await run.revisions.remember_data(3, Load(9, "saved", 0.0)) == []  # not known how they were

    async def test_a_new_host_begins_with_nothing_remembered(self, run: Run) -> None:
        run.save(a="one\n")
        (run.project / "x.json").write_text("1\n")
        old = run.load(1, "a")
        await run.revisions.remember_data(1, None)
        (run.project / "x.json").write_text("2\n")
        assert [item[0] for item in shown(run.revisions.against_disk(old, old, ()))] == ["x.json"]
        run.revisions.begin(run.folder)
        assert run.revisions.against_disk(old, old, ()) == []

    async def test_a_look_that_a_new_host_overtakes_is_of_no_revision(self, run: Run) -> None:
        (run.project / "x.json").write_text("1\n")
        run.save(a="one\n")
        old = run.load(1, "a")
        looking = asyncio.create_task(run.revisions.remember_data(1, old))
        await asyncio.sleep(0)  # it looks at the disk, in a thread
        run.revisions.begin(run.folder)
        assert await looking == []
        (run.project / "x.json").write_text("2\n")
        assert run.revisions.against_disk(old, old, ()) == []

    async def test_they_are_remembered_for_as_many_revisions_as_the_code_is(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(data_files, "REVISIONS_KEPT", 2)
        run.save(a="one\n")
        loads = []
        for number in (1, 2, 3):
            (run.project / "x.json").write_text(f"{number}\n")
            loads.append(run.load(number, "a"))
            await run.revisions.remember_data(number, None)
        assert run.revisions.between(loads[0], loads[2]) == []
        assert len(run.revisions.between(loads[1], loads[2])) == 1

    async def test_large_ones_are_left_out_and_texts_beyond_the_bound_are_not_shown(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(data_files, "LARGEST_HASHED_BYTES", 100)
        monkeypatch.setattr(data_files, "MOST_KEPT_BYTES", 50)
        run.save(a="one\n")
        for name, size in (("a", 40), ("b", 40), ("large", 101)):
            (run.project / f"{name}.json").write_text("x" * size)
        old = run.load(1, "a")
        await run.revisions.remember_data(1, None)
        for name, size in (("a", 41), ("b", 41), ("large", 102)):
            (run.project / f"{name}.json").write_text("y" * size)
        found = {str(item.path): item.lines for item in run.revisions.against_disk(old, old, ())}
        assert sorted(found) == ["a.json", "b.json"]
        assert found["a.json"][-2:] == ("+" + "y" * 41 + "\n", "\\ No newline at end of file\n")
        assert found["b.json"] == ("no longer kept, 40 → 41 bytes\n",)

    async def test_the_oldest_are_forgotten_when_it_gets_too_much(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(data_files, "MOST_KEPT_BYTES", 50)
        run.save(a="one\n")
        loads = []
        for number in (1, 2, 3):
            (run.project / "x.json").write_text(str(number) * 20)
            loads.append(run.load(number, "a"))
            await run.revisions.remember_data(number, None)
        assert run.revisions.between(loads[0], loads[2]) == []
        assert len(run.revisions.between(loads[1], loads[2])) == 1
