"""The watcher on real files: which saves it reports, and which not."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from watch_reader import Clock, python, reading, watch

from ai_runner_studio.reload import watch as watch_module
from ai_runner_studio.reload.watch import Watcher

SETTLE_S = watch_module.SETTLE_S

pytestmark = pytest.mark.usefixtures("no_hurry")


@pytest.fixture
def settles(monkeypatch: pytest.MonkeyPatch, no_hurry: None) -> None:  # noqa: ARG001 - after it
    """Report files that stay missing, after the time that users see."""
    monkeypatch.setattr(watch_module, "SETTLE_S", SETTLE_S)


@pytest.fixture
def effect(tmp_path: Path) -> Path:
    path = tmp_path / "effect.py"
    path.write_text("a = 1\n")
    return path


async def truncate_then_write(file: Path, text: str) -> None:
    with file.open("w") as stream:
        await asyncio.sleep(0.03)
        stream.write(text)


async def rename_over_it(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


async def keep_a_backup(file: Path, text: str) -> None:
    """How vim saves by default."""
    file.rename(file.with_name("effect.py~"))
    await asyncio.sleep(0.03)
    file.write_text(text)


async def delete_then_create(file: Path, text: str) -> None:
    file.unlink()
    await asyncio.sleep(0.05)
    file.write_text(text)


async def write_in_pieces(file: Path, text: str) -> None:
    with file.open("w") as stream:
        for piece in text:
            stream.write(piece)
            stream.flush()


SAVES = (truncate_then_write, rename_over_it, keep_a_backup, delete_then_create, write_in_pieces)


class TestSaves:
    @pytest.mark.quick
    async def test_a_save_is_reported_with_its_file(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}

    @pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
    async def test_every_way_of_saving_is_one_report_each_time(
        self, effect: Path, save: Callable[[Path, str], Awaitable[None]]
    ) -> None:
        async with reading(watch(effect)) as reader:
            for value in (2, 3):
                await save(effect, f"a = {value}\n")
                assert await reader.next() == {effect}
                assert effect.read_text() == f"a = {value}\n"
                assert await reader.is_silent()

    async def test_a_touch_and_a_save_without_a_change_are_not_reported(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.touch()
            effect.write_text("a = 1\n")
            assert await reader.is_silent()
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}

    async def test_other_files_beside_it_are_not_reported(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        async with reading(watch(effect)) as reader:
            other.write_text("b = 2\n")
            (effect.parent / "new.py").write_text("c = 1\n")
            (effect.parent / "output.mp4").write_bytes(bytes(1000))
            assert await reader.is_silent()
            assert reader.watcher.watching == 1

    async def test_a_burst_of_writes_ends_in_the_last_content_and_few_reports(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            for value in range(2, 30):
                effect.write_text(f"a = {value}\n")
            assert await reader.next() == {effect}
            assert await reader.is_silent()

    async def test_two_writes_of_the_same_size_and_time_are_told_apart(self, effect: Path) -> None:
        stamp = effect.stat().st_mtime_ns
        async with reading(watch(effect)) as reader:
            effect.write_text("a = 7\n")
            os.utime(effect, ns=(stamp, stamp))
            assert await reader.next() == {effect}

    async def test_a_formatters_second_write_is_not_lost(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            for value, pause_s in enumerate((0.005, 0.02, 0.06, 0.15)):
                effect.write_text(f"a  =  {value}\n")
                await asyncio.sleep(pause_s)
                effect.write_text(f"a = {value}\n")
                reports = await reader.all_so_far()
                assert reports in ([{effect}], [{effect}, {effect}])

    async def test_files_saved_together_are_one_report(self, effect: Path) -> None:
        files = [effect, effect.with_name("b.py"), effect.with_name("c.py")]
        async with reading(watch(*files)) as reader:
            for file in files:
                file.write_text("a = 2\n")
            assert await reader.next() == set(files)

    async def test_many_files_at_once_come_in_one_or_two_reports(self, tmp_path: Path, clock: Clock) -> None:
        files = [tmp_path / f"part{i}" / f"module{j}.py" for i in range(4) for j in range(25)]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            file.write_text("a = 1\n")
        async with reading(watch(*files)) as reader:
            await python("import sys\nfor name in sys.argv[1:]:\n    open(name, 'w').write('a = 2\\n')", *files)
            clock.run()
            assert await reader.all_of(set(files)) <= 2
            assert await reader.is_silent()

    async def test_a_storm_of_saves_is_thinned_out_and_ends_in_the_last_content(
        self, effect: Path, clock: Clock
    ) -> None:
        async with reading(watch(effect)) as reader:
            seen = []

            async def follow() -> None:
                while True:
                    await reader.next()
                    seen.append(effect.read_text())

            following = asyncio.create_task(follow())
            for value in range(100):
                effect.write_text(f"a = {value}\n")
                await reader.sees(effect)
                for _ in range(2):
                    clock.move(0.01)
                    await reader.looks()
            clock.run()
            await reader.catches_up()
            while not reader.reports.empty():
                await asyncio.sleep(0)
            following.cancel()
            assert seen[-1] == "a = 99\n"
            assert len(seen) < 40

    async def test_a_save_is_reported_while_the_pipeline_is_being_loaded(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            reader.watcher.load_began()
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            effect.write_text("a = 3\n")
            assert await reader.next() == {effect}


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
class TestCheckout:
    @pytest.mark.usefixtures("settles")
    async def test_another_branch_of_hundreds_of_files_is_one_or_two_reports(
        self, tmp_path: Path, clock: Clock
    ) -> None:
        files = [tmp_path / f"part{i % 7}" / f"module{i}.py" for i in range(300)]
        _git(tmp_path, "init", "-q", "-b", "first")
        for branch in ("first", "second"):
            for file in files:
                file.parent.mkdir(exist_ok=True)
                file.write_text(f"branch = '{branch}'\n" * 20)
            _git(tmp_path, "add", ".")
            if branch == "second":
                files[0].unlink()
                _git(tmp_path, "checkout", "-q", "-b", branch)
            _git(tmp_path, "commit", "-q", "-a", "-m", branch)
        async with reading(watch(*files)) as reader:
            for branch in ("first", "second", "first"):
                clock.stop()
                await asyncio.to_thread(_git, tmp_path, "checkout", "-q", branch)
                clock.run()
                assert await reader.all_of(set(files)) <= 2
                assert await reader.is_silent()
            assert not reader.watcher.polling


def _git(folder: Path, *words: str) -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


class TestDeletion:
    async def test_deleted_and_made_again_is_one_save(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.unlink()
            await reader.sees(effect)
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            assert await reader.is_silent()

    async def test_deleted_and_made_again_as_it_was_is_nothing(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.unlink()
            await reader.sees(effect)
            effect.write_text("a = 1\n")
            assert await reader.is_silent()

    @pytest.mark.usefixtures("settles")
    async def test_a_file_that_stays_away_is_reported_and_so_is_its_return(self, effect: Path) -> None:
        async with reading(watch(effect)) as reader:
            effect.unlink()
            assert await reader.next() == {effect}
            effect.write_text("a = 1\n")
            assert await reader.next() == {effect}

    @pytest.mark.usefixtures("settles")
    @pytest.mark.quick
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

    @pytest.mark.usefixtures("settles")
    async def test_a_renamed_module_is_reported_once_and_again_when_it_comes_back(self, effect: Path) -> None:
        elsewhere = effect.with_name("renamed.py")
        async with reading(watch(effect)) as reader:
            effect.rename(elsewhere)
            assert await reader.next() == {effect}
            assert await reader.is_silent()
            elsewhere.rename(effect)
            assert await reader.next() == {effect}

    async def test_a_folder_renamed_and_back_is_nothing_or_two_reports(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        effect = tmp_path / "package" / "effect.py"
        effect.parent.mkdir()
        effect.write_text("a = 1\n")
        async with reading(watch(effect)) as reader:
            effect.parent.rename(tmp_path / "away")
            await reader.sees(effect)
            (tmp_path / "away").rename(effect.parent)
            assert await reader.is_silent()
            monkeypatch.setattr(watch_module, "SETTLE_S", SETTLE_S)
            effect.parent.rename(tmp_path / "away")
            assert await reader.next() == {effect}
            (tmp_path / "away").rename(effect.parent)
            assert await reader.next() == {effect}
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}


class TestChangingSet:
    async def test_a_file_added_later_in_another_folder_is_watched(self, effect: Path, tmp_path: Path) -> None:
        late = tmp_path / "late" / "late.py"
        late.parent.mkdir()
        late.write_text("b = 1\n")
        async with reading(watch(effect)) as reader:
            reader.watcher.watch_files([effect, late])
            await reader.watches(2)
            late.write_text("b = 2\n")
            assert await reader.next() == {late}

    async def test_a_file_taken_away_is_no_longer_reported(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        async with reading(watch(effect, other)) as reader:
            reader.watcher.watch_files([effect])
            other.write_text("b = 2\n")
            assert await reader.is_silent()

    async def test_saves_while_the_folders_change_are_not_lost(self, effect: Path, tmp_path: Path) -> None:
        async with reading(watch(effect)) as reader:
            for value in range(2, 8):
                folder = tmp_path / f"folder{value}"
                folder.mkdir()
                reader.watcher.watch_files([effect, folder / "not_yet.py"])
                await asyncio.sleep(0.003 * value)
                effect.write_text(f"a = {value}\n")
                assert effect in await reader.next()

    async def test_a_save_between_import_and_watch_is_reported(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        async with reading(watch(effect)) as reader:
            reader.watcher.watch_files([effect, other], loaded_at=other.stat().st_mtime - 0.5)
            assert await reader.next() == {other}

    async def test_a_file_with_a_time_in_the_future_is_not_reported_for_that(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        os.utime(other, (time.time() + 3600, time.time() + 3600))
        async with reading(watch(effect)) as reader:
            reader.watcher.watch_files([effect, other], loaded_at=time.time() - 60)
            assert await reader.is_silent()


class TestNewFiles:
    """After a load that failed: it may have missed a file that is yet to come."""

    async def test_a_new_module_is_reported_while_the_last_load_has_failed(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        async with reading(watch(effect)) as reader:
            reader.watcher.load_began()
            reader.watcher.load_ended(failed=True)
            assert await reader.is_silent()
            new = effect.parent / "package" / "new.py"
            new.parent.mkdir()
            other.write_text("b = 2\n")
            new.write_text("c = 1\n")
            assert await reader.next() == {new}
            reader.watcher.load_began()
            reader.watcher.watch_files([effect, new])
            reader.watcher.load_ended()
            await reader.watches(2)
            (effect.parent / "newer.py").write_text("d = 1\n")
            assert await reader.is_silent()
            new.write_text("c = 2\n")
            assert await reader.next() == {new}

    async def test_a_module_that_came_while_the_load_was_failing_is_reported(self, effect: Path) -> None:
        other = effect.with_name("other.py")
        other.write_text("b = 1\n")
        await asyncio.sleep(0.05)  # several ticks of the clock that stamps files
        async with reading(watch(effect)) as reader:
            reader.watcher.load_began()
            await asyncio.sleep(0.05)
            other.rename(effect.with_name("renamed.py"))
            effect.with_name("new.py").write_text("c = 1\n")
            assert await reader.is_silent()
            reader.watcher.load_ended(failed=True)
            assert await reader.next() == {effect.with_name("renamed.py"), effect.with_name("new.py")}
            assert await reader.is_silent()


class TestPatterns:
    async def test_a_new_file_in_a_new_folder_is_reported(self, tmp_path: Path) -> None:
        async with reading(Watcher(tmp_path, ["shaders/**/*.glsl"])) as reader:
            shader = tmp_path / "shaders" / "deep" / "wave.glsl"
            shader.parent.mkdir(parents=True)
            shader.write_text("void main() {}\n")
            assert await reader.next() == {shader}
            shader.write_text("void main() { }\n")
            assert await reader.next() == {shader}

    async def test_data_files_are_reported_and_so_are_new_ones(self, tmp_path: Path) -> None:
        (tmp_path / "styles.json").write_text("{}")
        async with reading(Watcher(tmp_path, ["*.json"])) as reader:
            (tmp_path / "styles.json").write_text('{"a": 1}')
            assert await reader.next() == {tmp_path / "styles.json"}
            (tmp_path / "notes.txt").write_text("nothing")
            (tmp_path / "more.json").write_text("{}")
            assert await reader.next() == {tmp_path / "more.json"}
            (tmp_path / "more.json").write_text('{"a": 1}')
            assert await reader.next() == {tmp_path / "more.json"}

    @pytest.mark.quick
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
            await reader.watches(0)


async def test_close_ends_a_waiting_reader(effect: Path) -> None:
    async with reading(watch(effect)) as reader:
        await reader.catches_up()
        await reader.watcher.close()
        await reader.watcher.close()
