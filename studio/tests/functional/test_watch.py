"""The watcher on real files: which saves it reports, and which not."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ai_runner_studio.reload.watch import Watcher

PATIENCE_S = 10.0  # a busy machine
SILENCE_S = 0.4  # long enough for a report that should not come


class Reader:
    """Reads a watcher in the background, from before the test's first save."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.reports: asyncio.Queue[set[Path]] = asyncio.Queue()

    async def read(self) -> None:
        async for changed in self.watcher:
            await self.reports.put(changed)

    async def next(self) -> set[Path]:
        return await asyncio.wait_for(self.reports.get(), PATIENCE_S)

    async def all_of(self, files: set[Path]) -> int:
        """How many reports it took until all of `files` were reported."""
        seen: set[Path] = set()
        count = 0
        while not files <= seen:
            seen |= await self.next()
            count += 1
        return count

    async def is_silent(self) -> bool:
        await asyncio.sleep(SILENCE_S)
        return self.reports.empty()


@asynccontextmanager
async def reading(watcher: Watcher) -> AsyncIterator[Reader]:
    reader = Reader(watcher)
    task = asyncio.create_task(reader.read())
    await asyncio.sleep(0.1)
    try:
        yield reader
    finally:
        await watcher.close()
        await asyncio.wait_for(task, PATIENCE_S)


@pytest.fixture
def effect(tmp_path: Path) -> Path:
    path = tmp_path / "effect.py"
    path.write_text("a = 1\n")
    return path


def watch(*files: Path, **options: object) -> Watcher:
    watcher = Watcher(files[0].parent, **options)  # type: ignore[arg-type]
    watcher.watch_files(files)
    return watcher


class TestSaves:
    @pytest.mark.asyncio
    async def test_a_save_is_reported_with_its_file(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}

    @pytest.mark.asyncio
    async def test_an_atomic_rename_over_the_file_is_a_save_each_time(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            for value in (2, 3):
                fresh = effect.with_suffix(".new")
                fresh.write_text(f"a = {value}\n")
                fresh.replace(effect)
                assert await reader.next() == {effect}

    @pytest.mark.asyncio
    async def test_a_backup_then_a_new_file_is_a_save(self, effect: Path) -> None:
        """How vim saves by default."""
        async with reading(watch(effect)) as reader:
            effect.rename(effect.with_name("effect.py~"))
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            assert await reader.is_silent()

    @pytest.mark.asyncio
    async def test_a_touch_and_a_save_without_a_change_are_not_reported(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.touch()
            effect.write_text("a = 1\n")
            assert await reader.is_silent()
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}

    @pytest.mark.asyncio
    async def test_other_files_beside_it_are_not_reported(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            (effect.parent / "other.py").write_text("b = 1\n")
            (effect.parent / "output.mp4").write_bytes(bytes(1000))
            assert await reader.is_silent()

    @pytest.mark.asyncio
    async def test_a_burst_of_writes_ends_in_the_last_content_and_few_reports(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            for value in range(2, 30):
                effect.write_text(f"a = {value}\n")
            assert await reader.next() == {effect}
            assert await reader.is_silent()

    @pytest.mark.asyncio
    async def test_two_writes_of_the_same_size_and_time_are_told_apart(self, effect: Path) -> None:
        stamp = effect.stat().st_mtime_ns
        async with reading(watch(effect)) as reader:
            effect.write_text("a = 7\n")
            os.utime(effect, ns=(stamp, stamp))
            assert await reader.next() == {effect}

    @pytest.mark.asyncio
    async def test_many_files_at_once_come_in_one_or_two_reports(self, tmp_path: Path) -> None:
        files = [tmp_path / f"part{i}" / f"module{j}.py" for i in range(4) for j in range(25)]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            file.write_text("a = 1\n")
        async with reading(watch(*files)) as reader:
            script = "import sys\nfor name in sys.argv[1:]:\n    open(name, 'w').write('a = 2\\n')"
            done = await asyncio.create_subprocess_exec(sys.executable, "-c", script, *map(str, files))
            await done.wait()
            assert await reader.all_of(set(files)) <= 2
            assert await reader.is_silent()

    @pytest.mark.asyncio
    @pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
    async def test_a_checkout_of_another_branch_is_reported(self, tmp_path: Path) -> None:
        def git(*words: str) -> None:
            settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
            subprocess.run(["git", *settings, *words], cwd=tmp_path, check=True, capture_output=True)

        files = [tmp_path / f"module{i}.py" for i in range(20)]
        git("init", "-q", "-b", "first")
        for branch in ("first", "second"):
            for file in files:
                file.write_text(f"branch = '{branch}'\n")
            git("add", ".")
            if branch == "second":
                git("checkout", "-q", "-b", branch)
            git("commit", "-q", "-m", branch)
        async with reading(watch(*files)) as reader:
            await asyncio.to_thread(git, "checkout", "-q", "first")
            await reader.all_of(set(files))
            assert files[0].read_text() == "branch = 'first'\n"


class TestDeletion:
    @pytest.mark.asyncio
    async def test_deleted_and_made_again_is_one_save(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.unlink()
            await asyncio.sleep(0.05)
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            assert await reader.is_silent()

    @pytest.mark.asyncio
    async def test_deleted_and_made_again_as_it_was_is_nothing(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.unlink()
            await asyncio.sleep(0.05)
            effect.write_text("a = 1\n")
            assert await reader.is_silent()

    @pytest.mark.asyncio
    async def test_a_file_that_stays_away_is_reported_and_so_is_its_return(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.unlink()
            assert await reader.next() == {effect}
            effect.write_text("a = 1\n")
            assert await reader.next() == {effect}

    @pytest.mark.asyncio
    async def test_a_folder_that_vanishes_and_returns_goes_on_being_watched(self, tmp_path: Path) -> None:
        effect = tmp_path / "package" / "effect.py"
        effect.parent.mkdir()
        effect.write_text("a = 1\n")
        async with reading(watch(effect)) as reader:
            shutil.rmtree(effect.parent)
            assert await reader.next() == {effect}
            effect.parent.mkdir()
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            effect.write_text("a = 3\n")
            assert await reader.next() == {effect}
            assert not reader.watcher.polling


class TestChangingSet:
    @pytest.mark.asyncio
    async def test_a_file_added_later_in_another_folder_is_watched(self, effect: Path, tmp_path: Path) -> None:
        late = tmp_path / "late" / "late.py"
        late.parent.mkdir()
        late.write_text("b = 1\n")
        async with reading(watch(effect)) as reader:
            reader.watcher.watch_files([effect, late])
            late.write_text("b = 2\n")
            assert await reader.next() == {late}
            assert reader.watcher.watching == 2

    @pytest.mark.asyncio
    async def test_a_file_taken_away_is_no_longer_reported(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        async with reading(watch(effect, other)) as reader:
            reader.watcher.watch_files([effect])
            other.write_text("b = 2\n")
            assert await reader.is_silent()

    @pytest.mark.asyncio
    async def test_saves_while_the_folders_change_are_not_lost(self, effect: Path, tmp_path: Path) -> None:
        async with reading(watch(effect)) as reader:
            for value in range(2, 8):
                folder = tmp_path / f"folder{value}"
                folder.mkdir()
                reader.watcher.watch_files([effect, folder / "not_yet.py"])
                await asyncio.sleep(0.003 * value)
                effect.write_text(f"a = {value}\n")
                assert effect in await reader.next()

    @pytest.mark.asyncio
    async def test_a_save_between_import_and_watch_is_reported(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        async with reading(watch(effect)) as reader:
            reader.watcher.watch_files([effect, other], loaded_at=other.stat().st_mtime - 0.5)
            assert await reader.next() == {other}

    @pytest.mark.asyncio
    async def test_a_file_with_a_time_in_the_future_is_not_reported_for_that(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        os.utime(other, (time.time() + 3600, time.time() + 3600))
        async with reading(watch(effect)) as reader:
            reader.watcher.watch_files([effect, other], loaded_at=time.time() - 60)
            assert await reader.is_silent()


class TestLinks:
    @pytest.mark.asyncio
    async def test_a_save_of_what_a_link_points_to_is_reported_as_the_link(self, tmp_path: Path) -> None:
        target = tmp_path / "elsewhere" / "effect.py"
        target.parent.mkdir()
        target.write_text("a = 1\n")
        link = tmp_path / "project" / "effect.py"
        link.parent.mkdir()
        link.symlink_to(target)
        async with reading(watch(link)) as reader:
            target.write_text("a = 2\n")
            assert await reader.next() == {link}


class TestPatterns:
    @pytest.mark.asyncio
    async def test_a_new_file_in_a_new_folder_is_reported(self, tmp_path: Path) -> None:
        async with reading(Watcher(tmp_path, ["shaders/**/*.glsl"])) as reader:
            shader = tmp_path / "shaders" / "deep" / "wave.glsl"
            shader.parent.mkdir(parents=True)
            shader.write_text("void main() {}\n")
            assert await reader.next() == {shader}
            shader.write_text("void main() { }\n")
            assert await reader.next() == {shader}

    @pytest.mark.asyncio
    async def test_the_whole_project_can_be_watched_without_what_is_not_the_users(self, tmp_path: Path) -> None:
        mine = tmp_path / "package" / "effect.py"
        venv = tmp_path / "env" / "lib" / "module.py"
        cache = tmp_path / "__pycache__" / "effect.py"
        for file in (mine, venv, cache):
            file.parent.mkdir(parents=True)
            file.write_text("a = 1\n")
        (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr\n")
        watcher = Watcher(tmp_path)
        watcher.watch_project(True)
        async with reading(watcher) as reader:
            for file in (venv, cache, mine):
                file.write_text("a = 2\n")
            assert await reader.next() == {mine}
            assert await reader.is_silent()
            watcher.watch_project(False)
            assert watcher.watching == 0


class TestWithoutEvents:
    @pytest.mark.asyncio
    async def test_a_file_system_that_reports_nothing_is_polled_and_that_is_said(
        self, effect: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another folder is listened to, as if the file system of this one gave no events."""
        from ai_runner_studio.reload import watch as module

        deaf = effect.parent / "deaf"
        deaf.mkdir()
        real = module.FolderEvents
        monkeypatch.setattr(module, "FolderEvents", lambda _folders, look: real([deaf], look))
        said: list[str] = []
        async with reading(watch(effect, notice=said.append)) as reader:
            for value in (2, 3, 4):
                effect.write_text(f"a = {value}\n")
                assert await reader.next() == {effect}
            assert reader.watcher.polling
            assert said == ["files are looked at every 0.3 s, because this file system reports no changes"]

    @pytest.mark.asyncio
    async def test_a_watch_that_cannot_be_set_turns_into_polling(
        self, effect: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import watchfiles

        def refuse(*_paths: str, **_options: object) -> None:
            raise OSError(28, "OS file watch limit reached")

        monkeypatch.setattr(watchfiles, "awatch", refuse)
        said: list[str] = []
        async with reading(watch(effect, notice=said.append)) as reader:
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            assert len(said) == 1
            assert "OS file watch limit reached" in said[0]


@pytest.mark.asyncio
async def test_close_ends_a_waiting_reader(effect: Path) -> None:
    watcher = watch(effect)
    task = asyncio.create_task(anext(aiter(watcher), None))  # type: ignore[arg-type]
    await asyncio.sleep(0.2)
    await watcher.close()
    await watcher.close()
    assert await asyncio.wait_for(task, 2.0) is None
