"""New code in the running process: what stays, what is refused, what is taken back; with real processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runner.live.events import (
    LoadFailed,
    LoadPlanned,
    LoadSucceeded,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
)
from runner.live.process import loads as loads_module
from runner.live.process.policy import ReloadOptions
from runner.live.process.revision import LoadRequest

from ..conftest import WriteModule, children
from .guarded import QUICK, Guarded, guarded

pytestmark = pytest.mark.usefixtures("nothing_left")

TRANSFORM = """
import os, time
import torch

class f:
    def __init__(self):
        {init}
        self.weights = torch.full((1,), float(os.getpid() % 7))
        self.frames = 0
        print("initialized", flush=True)
    def transform(self, frame):
        self.frames += 1
        {body}
        return torch.full_like(frame, {value} / 255)
"""

PIPELINE = """
import asyncio
import torch
from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoOutput

class f(Pipeline):
    async def initialize(self, **params):
        self.inputs, self.outputs = asyncio.Queue(), asyncio.Queue()
        self.worker = asyncio.create_task(self.work())
    async def work(self):
        while True:
            frame, request_id = await self.inputs.get()
            await self.outputs.put(VideoOutput(frame.replace_tensor(self.render(frame.tensor)), request_id))
            {work}
    def render(self, tensor):
        return torch.full_like(tensor, {value} / 255)
    async def put_video_frame(self, frame, request_id):
        await self.inputs.put((frame, request_id))
    async def get_processed_video_frame(self):
        return await self.outputs.get()
    async def update_params(self, **params):
        pass
    async def stop(self):
        self.worker.cancel()
    @classmethod
    def prepare_models(cls):
        pass
"""


def transform(value: int | str, body: str = "pass", init: str = "pass") -> str:
    return TRANSFORM.format(value=value, body=body, init=init)


def pipeline(value: int | str, work: str = "pass") -> str:
    return PIPELINE.format(value=value, work=work)


class Edited:
    """A guardian whose pipeline is saved again and again."""

    def __init__(self, run: Guarded, write: WriteModule) -> None:
        self.run = run
        self._write = write

    def save(self, source: str) -> None:
        path = self._write("patched", source)
        self.run.guardian.replace(LoadRequest("saved", (str(path),)))

    async def gives(self, value: int) -> None:
        known = len(self.run.values)
        await self.run.until(lambda: value in self.run.values[known:])

    async def loaded(self, revision: int) -> LoadSucceeded:
        await self.run.until(lambda: self.loads and self.loads[-1].revision == revision)
        return self.loads[-1]

    @property
    def loads(self) -> list[LoadSucceeded]:
        return [event for event in self.run.events if isinstance(event, LoadSucceeded)]

    @property
    def pid(self) -> int:
        process = self.run.guardian.process
        return process.pid if process else 0


@asynccontextmanager
async def edited(
    write: WriteModule, tmp_path: Path, source: str, trusted: tuple[str, ...] = ()
) -> AsyncIterator[Edited]:
    write("patched", source)
    options = ReloadOptions(keep_weights=True, trusted=trusted, snapshots=tmp_path / "snapshots")
    async with guarded("patched:f", QUICK, options) as run:
        run.stream()
        edit = Edited(run, write)
        await edit.gives(10)
        yield edit


class TestKept:
    @pytest.mark.parametrize("source", [transform, pipeline], ids=["transform", "pipeline"])
    async def test_are_process_and_instance_and_every_lost_frame_is_reported(
        self, write: WriteModule, tmp_path: Path, source: type
    ) -> None:
        async with edited(write, tmp_path, source(10)) as edit:
            pid = edit.pid
            for number, value in enumerate((20, 30, 40, 50, 60), 2):
                edit.save(source(value))
                load = await edit.loaded(number)
                await edit.gives(value)
                assert (load.plan.level, load.plan.way) == ("code", "in place")
                assert load.pid == pid == edit.pid
            run = edit.run
            assert len(children()) == 1
            pts = [frame.pts for frame in run.outputs]
            assert pts == sorted(set(pts))
            assert run.gaps() <= sum(run.guardian.board.drops().values())
            assert sum(load.frames_lost for load in edit.loads) <= run.gaps()

    async def test_are_params_and_a_reload_by_hand_without_a_change_is_a_fresh_start(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            await edit.run.guardian.update_params({"show_reloading_frame": False})
            edit.save(transform(20))
            load = await edit.loaded(2)
            assert load.params["show_reloading_frame"] is False
            pid = edit.pid
            edit.run.guardian.replace(LoadRequest("requested"))
            load = await edit.loaded(3)
            assert load.plan.level == "process"
            assert load.plan.why == "not in place: no file has changed"
            assert load.params["show_reloading_frame"] is False
            assert edit.pid != pid
            edit.run.guardian.replace(LoadRequest("fresh process requested", whole=True))
            assert (await edit.loaded(4)).plan.why == ""  # the reason says it

    @pytest.mark.parametrize("source", [transform, pipeline], ids=["transform", "pipeline"])
    async def test_warnings_about_outputs_are_those_of_the_new_code(
        self, write: WriteModule, tmp_path: Path, source: Callable[[int | str], str]
    ) -> None:
        async with edited(write, tmp_path, source(10)) as edit:
            for number, (value, words) in enumerate((("300", "go from"), ("20", ""), ("float('nan')", "NaN")), 2):
                edit.save(source(value))
                load = await edit.loaded(number)
                assert load.plan.way == "in place"
                told = [event for event in edit.run.events if isinstance(event, PipelineWarned)]
                about = [event.message for event in told if event.revision == number]
                assert len(about) == bool(words), told
                assert all(words in message for message in about)
            assert len(told) == 2


class TestRefused:
    @pytest.mark.parametrize(
        ("source", "why"),
        [
            (transform(20, init="self.more = 1"), "__init__"),
            (transform(20) + "\nSTATE = {}\nSTATE['x'] = 1\n", "STATE['x'] = 1"),
            (transform(20).replace("class f:", "class f(dict):"), "bases"),
        ],
    )
    async def test_is_what_is_not_sound_and_a_fresh_process_does_it(
        self, write: WriteModule, tmp_path: Path, source: str, why: str
    ) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            pid = edit.pid
            edit.save(source)
            load = await edit.loaded(2)
            await edit.gives(20)
            assert load.plan.level == "process"
            assert load.plan.why.startswith("not in place: ")
            assert why in load.plan.why
            assert edit.pid != pid
            plans = [event.plan.level for event in edit.run.events if isinstance(event, LoadPlanned)]
            assert plans == ["process", "code", "process"]

    async def test_is_a_loop_that_would_go_on_as_it_was(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, pipeline(10)) as edit:
            edit.save(pipeline(20, work="await asyncio.sleep(0)"))
            load = await edit.loaded(2)
            assert load.plan.level == "process"
            assert "work" in load.plan.why

    async def test_is_everything_that_is_no_python_source(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.run.guardian.replace(LoadRequest("saved", ("/somewhere/prompt.json",)))
            load = await edit.loaded(2)
            assert load.plan.why == "not in place: prompt.json is no Python source"


KEPT = """
import torch
from runner.live.pipelines import BaseParams

class Look(BaseParams):
    level: int = 10
    kind: str = "flat"

def build(n):
    return {build}

class f:
    def __init__(self):
        self.kept, self.level = None, 0
    def on_ready(self, params):
        self.level = params.level
    def on_update(self, params):
        self.level = params.level + {add}
    def transform(self, frame, params: Look):
        if self.kept is None:
            self.kept = build(1)
        {body}
        return torch.full_like(frame, (self.level + self.kept + {value}) / 255)
"""


def kept(value: int = 0, build: str = "n - 1", add: object = 0, body: str = "pass", level: int = 10) -> str:
    text = KEPT.format(value=value, build=build, add=add, body=body)
    return text.replace("level: int = 10", f"level: int = {level}")


class TestObserved:
    """Code stays in place where each changed part is seen to run on the first frames."""

    @pytest.mark.quick
    async def test_a_result_that_is_kept_needs_a_fresh_process(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, kept()) as edit:
            pid = edit.pid
            edit.save(kept(build="n + 9"))
            load = await edit.loaded(2)
            await edit.gives(20)
            assert load.plan.why.startswith("not in place: build() did not run on the last frame")
            assert "from the new code before it was taken back" in load.plan.why
            assert edit.pid != pid
            assert set(edit.run.values) == {10, 20}
            assert edit.run.missing() <= 1

    async def test_new_code_that_is_given_up_leaves_nothing_behind(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            pid = edit.pid
            for round, delay_s in enumerate((0.0, 0.05, 0.1, 0.2)):
                saved = 2 + 3 * round
                edit.save(transform(20))
                await asyncio.sleep(delay_s)
                edit.save("def f(:\n")
                failed = await edit.run.next(LoadFailed)
                succeeded = any(load.revision == saved for load in edit.loads)
                assert failed.serving == (saved if succeeded else saved - 1)
                await edit.gives(20 if succeeded else 10)
                edit.save(transform(10))
                await edit.loaded(saved + 2)
                await edit.gives(10)
                assert edit.pid == pid

    async def test_without_a_stream_the_first_frames_of_the_next_one_prove_it(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            pid = edit.pid
            edit.run.guardian.board.close_stream()
            for number, value in enumerate((20, 30), 2):
                edit.save(transform(value))
                load = await edit.loaded(number)
                assert load.plan.way == "in place"
                assert any("no frame has shown yet" in warning for warning in load.warnings)
            edit.run.stream()
            await edit.gives(30)
            edit.save(transform(40))
            await edit.gives(40)
            assert edit.pid == pid

    async def test_or_refute_it(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, kept()) as edit:
            edit.run.guardian.board.close_stream()
            edit.save(kept(build="n + 9"))
            assert (await edit.loaded(2)).plan.way == "in place"
            edit.run.stream()
            load = await edit.loaded(3)
            assert load.plan.why.startswith("not in place: build() did not run on the last frame")
            await edit.gives(20)

    async def test_an_exception_in_them_restores_what_was_proven_last(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.run.guardian.board.close_stream()
            edit.save(transform(20))
            await edit.loaded(2)
            edit.save(transform(30, body="1 / 0"))
            await edit.loaded(3)
            edit.run.stream()
            failed = await edit.run.next(LoadFailed)
            assert (failed.revision, failed.serving) == (3, 1)
            await edit.gives(10)

    async def test_a_held_input_shows_the_new_code_its_last_frame(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.run.hold()
            edit.save(transform(20))
            assert (await edit.loaded(2)).plan.way == "in place"
            assert edit.run.values[-1] == 20

    async def test_code_that_runs_for_params_runs_for_those_in_force(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, kept()) as edit:
            edit.save(kept(add=7))
            assert (await edit.loaded(2)).plan.way == "in place"
            await edit.gives(17)

    async def test_a_new_default_is_in_force_where_the_old_one_was(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, kept()) as edit:
            guardian = edit.run.guardian
            edit.save(kept(level=30))
            assert (await edit.loaded(2)).plan.way == "in place"
            await edit.gives(30)
            assert guardian.params["level"] == 30
            await guardian.update_params({**guardian.params, "level": 5})
            edit.save(kept(level=40))
            assert (await edit.loaded(3)).plan.way == "in place"
            await edit.gives(5)
            assert guardian.params["level"] == 5

    async def test_what_fails_for_params_is_taken_back(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, kept()) as edit:
            edit.save(kept(add="1 // 0"))
            failed = await edit.run.next(LoadFailed)
            assert (failed.report.kind, failed.serving) == ("ZeroDivisionError", 1)
            await edit.gives(10)

    async def test_a_branch_that_the_params_do_not_take_stays_in_place(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        body = "if params.kind == 'deep': self.kept = build(5) + {}"
        async with edited(write, tmp_path, kept(body=body.format(1))) as edit:
            edit.save(kept(body=body.format(2), value=1))
            assert (await edit.loaded(2)).plan.way == "in place"
            guardian = edit.run.guardian
            await guardian.update_params({**guardian.params, "kind": "deep"})
            await edit.gives(17)
            edit.save(kept(body=body.format(3), value=1))
            assert (await edit.loaded(3)).plan.way == "in place"  # the branch runs now
            await edit.gives(18)
            await guardian.update_params({**guardian.params, "kind": "flat"})
            edit.save(kept(body=body.format(4), value=1))
            assert "did not run on the last frame" in (await edit.loaded(4)).plan.why  # and has left its result

    async def test_forced_code_goes_in_and_is_called_so_until_the_next_fresh_process(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            path = write("patched", transform(20, init="self.more = 1"))
            edit.run.guardian.replace(LoadRequest("forced", (str(path),), force=True))
            load = await edit.loaded(2)
            await edit.gives(20)
            assert (load.plan.way, load.forced) == ("in place", True)
            edit.save(transform(30, init="self.more = 1"))
            assert (await edit.loaded(3)).forced
            edit.run.guardian.replace(LoadRequest("asked for", whole=True))
            assert not (await edit.loaded(4)).forced

    async def test_functions_that_the_author_names_go_in_without_proof(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with edited(write, tmp_path, kept(), trusted=("patched:build",)) as edit:
            edit.save(kept(build="n + 9", value=5))
            load = await edit.loaded(2)
            assert (load.plan.way, load.forced) == ("in place", True)
            await edit.gives(15)  # what was built stays, by the author's word

    async def test_what_is_imported_on_a_frame_belongs_to_the_revision(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        write("late_part", "VALUE = 20\n")
        async with edited(write, tmp_path, transform(10, body="self.late = __import__('late_part')")) as edit:
            guardian = edit.run.guardian
            await edit.run.until(lambda: any("late_part" in file.path for file in guardian.loads.snapshots.get(1)))


class TestMistakes:
    async def test_in_the_syntax_start_no_process(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.save("def f(:\n    pass\n")
            failed = await edit.run.next(LoadFailed)
            assert failed.report.kind == "SyntaxError"
            assert (failed.report.line, failed.serving) == (1, 1)
            assert [line.text for line in failed.report.code if line.fault] == ["def f(:"]
            await edit.gives(10)
            assert len(children()) == 1

    async def test_in_the_first_frame_take_the_code_back_and_lose_no_frame(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            pid = edit.pid
            edit.save(transform(20, body="raise KeyError('gone')"))
            failed = await edit.run.next(LoadFailed)
            assert failed.report.kind == "KeyError"
            assert failed.report.file.endswith("patched.py")
            assert [line.text.strip() for line in failed.report.code if line.fault] == ["raise KeyError('gone')"]
            assert failed.serving == 1
            await edit.gives(10)
            edit.save(transform(30))
            await edit.loaded(3)
            await edit.gives(30)
            assert edit.pid == pid
            assert set(edit.run.values) == {10, 30}
            assert edit.run.gaps() <= sum(edit.run.guardian.board.drops().values())

    @pytest.mark.quick
    async def test_in_a_later_frame_take_it_back_too_and_name_the_revision_that_goes_on(
        self, write: WriteModule, tmp_path: Path
    ) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.save(transform(20, body="self.extra = getattr(self, 'extra', 0) + 1; 1 / (self.extra - 8)"))
            assert (await edit.loaded(2)).plan.level == "code"
            failed = await edit.run.next(LoadFailed)
            assert (failed.revision, failed.serving, failed.report.kind) == (2, 1, "ZeroDivisionError")
            await edit.gives(10)
            serving = edit.run.guardian.serving
            assert serving is not None
            assert serving.number == 1

    async def test_after_that_are_those_of_the_running_code(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.save(transform(20, body="if os.path.exists('fail'): raise OSError('late')"))
            await edit.loaded(2)
            known = len(edit.run.values)
            await edit.run.until(lambda: len(edit.run.values) > known + 40)
            Path("fail").touch()
            failed = await edit.run.next(PipelineFailed)
            assert (failed.revision, failed.report.kind) == (2, "OSError")
            os.unlink("fail")
            await edit.gives(20)

    async def test_that_hang_end_the_process_and_what_served_is_started_again(
        self, write: WriteModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loads_module, "PATCH_PROOF_S", 1.0)
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.save(transform(20, body="time.sleep(1000)"))
            failed = await edit.run.next(LoadFailed)
            assert failed.report.kind == "PipelineHung"
            assert "patched.py" in failed.report.traceback
            assert (os.path.basename(failed.report.file), failed.report.function) == ("patched.py", "transform")
            assert failed.serving is None  # its process was killed
            load = await edit.loaded(3)
            assert load.restores == 1
            await edit.gives(10)

    async def test_that_kill_the_process_are_answered_by_what_served(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.save(transform(20, body="os._exit(6)"))
            failed = await edit.run.next(LoadFailed)
            assert "exited with code 6" in failed.report.message
            exited = next(event for event in edit.run.events if isinstance(event, ProcessExited))
            assert exited.restarting
            load = await edit.loaded(3)
            assert load.restores == 1
            await edit.gives(10)


class TestSwitch:
    async def test_off_makes_every_reload_a_fresh_process(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.run.guardian.set_options(keep_weights=False)
            edit.save(transform(20))
            load = await edit.loaded(2)
            assert (load.plan.level, load.plan.way) == ("process", "overlap")
            edit.run.guardian.set_options(keep_weights=True)
            edit.save(transform(30))
            assert (await edit.loaded(3)).plan.level == "code"


class TestGoingBack:
    async def test_from_code_that_was_put_in(self, write: WriteModule, tmp_path: Path) -> None:
        async with edited(write, tmp_path, transform(10)) as edit:
            edit.save(transform(20))
            second = await edit.loaded(2)
            edit.save(transform(30))
            third = await edit.loaded(3)
            assert second.sources != third.sources
            edit.run.guardian.revert(2)
            load = await edit.loaded(4)
            assert load.restores == 2
            await edit.gives(20)
            edit.save(transform(40))  # what runs is not what was on disk before the save
            await edit.gives(40)
