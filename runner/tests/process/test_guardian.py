"""ProcessGuardian: replacing, restarting, hand-over; with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from runner.errors import ProcessError
from runner.live.events import (
    Event,
    LoadFailed,
    LoadStarted,
    LoadStepped,
    LoadSucceeded,
    LoadSuperseded,
    ParamsChanged,
    PipelineFailed,
    PipelineWarned,
    ProcessExited,
    StateChanged,
)
from runner.live.pipelines import PipelineSpec
from runner.live.process.messages import Loaded, Message
from runner.live.process.policy import PRODUCTION
from runner.live.process.process import PipelineProcess
from runner.live.process.revision import LoadRequest
from runner.live.process.state import PipelineState

from ..conftest import WriteModule, children, raw_frame
from .guarded import QUICK, Guarded, guarded

pytestmark = pytest.mark.usefixtures("nothing_left")


def add(value: int) -> str:
    """A pipeline that gives every pixel the same value."""
    return f"def f(frame):\n    return frame * 0 + {value} / 255\n"


def steps(run: Guarded) -> list[tuple[int, str]]:
    """(revision, step) of each step that a load has entered."""
    return [(event.revision, event.step) for event in run.events if isinstance(event, LoadStepped)]


class TestParamsInForce:
    @pytest.mark.parametrize("turn", ["just before", "just after"])
    async def test_params_that_come_as_a_stream_ends_win_over_the_reset_to_the_initial_ones(
        self, write: WriteModule, turn: str
    ) -> None:
        write(
            "force_b",
            """
            import asyncio
            from runner.live.pipelines import BaseParams
            class P(BaseParams):
                level: int = 1
            class f:
                def transform(self, frame, params: P):
                    return frame * 0 + params.level / 255
                async def on_update(self, params):
                    await asyncio.sleep(0.05)  # both updates are under way at the same time
            """,
        )
        updates: list[asyncio.Task[dict[str, object]]] = []

        async with guarded("force_b:f", policy=replace(PRODUCTION, backoff_s=0.0)) as run:

            def update() -> None:
                updates.append(asyncio.create_task(run.guardian.update_params({"level": 7})))

            def hear(event: Event) -> None:
                if isinstance(event, StateChanged) and event.state == "OFFLINE":
                    # The guardian resets the params right after this event.
                    update() if turn == "just before" else asyncio.get_running_loop().call_soon(update)

            await run.guardian.wait_serving()
            run.guardian.open_stream("s1")
            await run.guardian.update_params({"level": 2})
            run.guardian.board.offer(raw_frame(0))
            await run.until(lambda: run.values == [2] and run.guardian.state is PipelineState.ONLINE)
            run.listeners.append(hear)
            run.guardian.board.close_stream()
            await run.until(lambda: updates)
            assert (await updates[0])["level"] == 7
            await run.guardian.update_params({"level": 8})
            taken = [event.params["level"] for event in run.events if isinstance(event, ParamsChanged)]
            assert taken == ([2, 7, 8] if turn == "just before" else [2, 1, 7, 8])

    async def test_updates_that_come_together_are_all_taken_in_their_order(self, write: WriteModule) -> None:
        write(
            "force_c",
            "from runner.live.pipelines import BaseParams\nclass P(BaseParams):\n    level: int = 1\n"
            "def f(frame, params: P):\n    return frame\n",
        )
        async with guarded("force_c:f") as run:
            await run.guardian.wait_serving()
            together = [run.guardian.update_params({"level": level}) for level in range(20)]
            assert [params["level"] for params in await asyncio.gather(*together)] == list(range(20))

    async def test_what_a_reload_has_come_to_is_told_with_its_form(self, write: WriteModule) -> None:
        write(
            "force_a",
            """
            import asyncio
            from pydantic import create_model
            from runner.live.pipelines import BaseParams
            from runner.live.pipelines.noop import Noop

            class Stays(Noop):
                def params_in_force(self):
                    return create_model("Form", __base__=BaseParams, kept=(int, 5))()

                async def update_params(self, **params):
                    return asyncio.create_task(asyncio.sleep(0))
            """,
        )
        async with guarded("force_a:Stays") as run:
            await run.guardian.wait_serving()
            assert run.guardian.params["kept"] == 5
            await run.guardian.update_params({"wanted": 1})  # whose reload may be over by now, or not
            await run.until(lambda: run.guardian.takes_frames and "kept" in run.guardian.params)
            told = [event for event in run.events if isinstance(event, ParamsChanged)]
            assert told[-1].params["kept"] == 5
            assert told[-1].params_schema["properties"]["kept"]["default"] == 5


class TestReloading:
    async def test_a_pipeline_that_brings_itself_back_counts_as_loading_and_gets_no_frames(
        self, write: WriteModule, project: Path
    ) -> None:
        write(
            "back_a",
            """
            import asyncio, os
            from runner.errors import RunnerError
            from runner.live.pipelines.noop import Noop

            class Gone(RunnerError):
                says_all = True
                hint = "It is being restarted."

            async def back():
                while os.path.exists("gone"):
                    await asyncio.sleep(0.02)

            class NeedsServer(Noop):
                async def put_video_frame(self, frame, request_id):
                    if os.path.exists("gone"):
                        raise Gone("the server is gone")
                    await super().put_video_frame(frame, request_id)

                def reloading(self):
                    return asyncio.create_task(back()) if os.path.exists("gone") else None
            """,
        )
        async with guarded("back_a:NeedsServer") as run:
            await run.guardian.wait_serving()
            run.stream()
            await run.until(lambda: run.outputs)
            (project / "gone").touch()
            await run.until(lambda: run.guardian.state is PipelineState.LOADING)
            (project / "gone").unlink()
            before = len(run.outputs)
            await run.until(lambda: run.guardian.takes_frames and len(run.outputs) > before)
            (failed,) = [event for event in run.events if isinstance(event, PipelineFailed)]
            assert failed.report.headline_with_hint == "Gone: the server is gone. It is being restarted."
            assert not [event for event in run.events if isinstance(event, ProcessExited)]


class TestReplace:
    @pytest.mark.quick
    @pytest.mark.spawned
    async def test_no_frame_is_lost_doubled_or_out_of_order(self, write: WriteModule) -> None:
        write("rep_a", add(10))
        async with guarded("rep_a:f") as run:
            await run.guardian.wait_serving()
            run.stream()
            await run.until(lambda: len(run.outputs) > 15)
            write("rep_a", add(20))
            run.guardian.replace(LoadRequest("saved"))
            done = await run.next(LoadSucceeded)
            await run.until(lambda: run.values[-1] == 20)
            seqs = [frame.seq for frame in run.outputs]
            assert seqs == sorted(set(seqs))
            # A machine that is too busy may drop a frame, and counts it.
            missing = seqs[-1] - seqs[0] + 1 - len(seqs)
            assert missing <= run.guardian.board.drops()["superseded"]
            assert done.frames_lost <= missing
            assert sorted(run.values) == run.values
            names = [step.name for step in done.steps]
            assert names == ["start process", "import", "import torch", "initialize", "first frame", "stop old"]

    @pytest.mark.parametrize(
        ("source", "kind"),
        [
            ("def f(frame)\n    return frame\n", "SyntaxError"),
            ("import nowhere_to_be_found\n", "ModuleNotFoundError"),
            (
                "class f:\n    def on_ready(self, params=None): raise OSError('no model')\n    def transform(self, frame): ...\n",
                "OSError",
            ),
            ("def f(frame):\n    return frame / oops\n", "NameError"),
            ("def f(frame):\n    return frame[0, 0]\n", "OutputError"),
            (
                "last = []\ndef f(frame):\n    last.append(frame)\n    return frame if len(last) < 2 else last.pop(9)\n",
                "IndexError",
            ),
            ("import os\ndef f(frame):\n    os._exit(7)\n", "ProcessExited"),
        ],
    )
    async def test_a_mistake_leaves_the_old_code_running_and_mending_it_recovers(
        self, write: WriteModule, source: str, kind: str
    ) -> None:
        write("rep_b", add(10))
        async with guarded("rep_b:f") as run:
            await run.guardian.wait_serving()
            run.stream()
            await run.until(lambda: run.outputs)
            serving = run.guardian.serving
            write("rep_b", source)
            run.guardian.replace(LoadRequest("saved"))
            failed = await run.next(LoadFailed)
            assert (failed.report.kind, failed.serving) == (kind, 1)
            assert run.guardian.serving is serving
            before = len(run.outputs)
            await run.until(lambda: len(run.outputs) > before + 5)
            write("rep_b", add(30))
            run.guardian.replace(LoadRequest("saved"))
            await run.next(LoadSucceeded)
            await run.until(lambda: run.values[-1] == 30)
            assert set(run.values) == {10, 30}

    async def test_a_newer_save_supersedes_the_load_under_way(self, write: WriteModule) -> None:
        write("rep_c", add(10))
        async with guarded("rep_c:f") as run:
            await run.guardian.wait_serving()
            run.stream()
            for revision in (2, 3):
                write("rep_c", "import time\nwhile True: time.sleep(0.01)\n")
                run.guardian.replace(LoadRequest("saved"))
                await run.until(lambda revision=revision: (revision, "import") in steps(run))  # type: ignore[misc]
            write("rep_c", add(40))
            run.guardian.replace(LoadRequest("saved"))
            done = await run.next(LoadSucceeded)
            assert done.revision == 4
            assert [event.revision for event in run.events if isinstance(event, LoadSuperseded)] == [2, 3]
            await run.until(lambda: run.values and run.values[-1] == 40)
            assert set(run.values) <= {10, 40}

    async def test_a_save_that_comes_just_as_the_one_before_is_loaded_supersedes_it(
        self, write: WriteModule, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write("rep_f", add(10))
        receive = PipelineProcess._receive
        async with guarded("rep_f:f") as run:
            await run.next(LoadSucceeded)
            run.stream()

            def save_when_loaded(self: PipelineProcess, message: Message) -> None:
                receive(self, message)
                if isinstance(message, Loaded) and run.guardian.loads.count == 2:
                    write("rep_f", add(30))
                    run.guardian.replace(LoadRequest("saved again"))

            monkeypatch.setattr(PipelineProcess, "_receive", save_when_loaded)
            write("rep_f", add(20))
            run.guardian.replace(LoadRequest("saved"))
            assert (await run.next(LoadSucceeded)).revision == 3
            assert [event.revision for event in run.events if isinstance(event, LoadSuperseded)] == [2]

    async def test_while_the_source_is_held_new_code_and_new_params_show_on_the_held_frame(
        self, write: WriteModule
    ) -> None:
        write("rep_h", add(10))
        async with guarded("rep_h:f") as run:
            await run.guardian.wait_serving()
            run.guardian.open_stream("s1")
            run.guardian.board.offer(raw_frame(0))
            await run.until(lambda: run.values == [10])
            run.guardian.pause(True)
            write("rep_h", add(20))
            run.guardian.replace(LoadRequest("saved"))
            await run.until(lambda: run.values == [10, 20])
            await run.guardian.update_params({"show_reloading_frame": False})
            await run.until(lambda: run.values == [10, 20, 20])

    async def test_params_survive_and_those_that_are_gone_are_named(self, write: WriteModule) -> None:
        def params(fields: str) -> str:
            return (
                "from pydantic import ConfigDict\nfrom runner.live.pipelines import BaseParams\n"
                f"class P(BaseParams):\n    model_config = ConfigDict(extra='forbid')\n    {fields}\n"
            )

        write("rep_d.params", params("level: int = 1; gone: int = 1"))
        write(
            "rep_d.pipeline",
            "from .params import P\ndef f(frame, params: P):\n    return frame * 0 + params.level / 255\n",
        )
        async with guarded("rep_d.pipeline:f") as run:
            await run.guardian.wait_serving()
            await run.guardian.update_params({"level": 77, "gone": 2})
            write("rep_d.params", params("level: int = 1"))
            run.guardian.replace(LoadRequest("saved"))
            done = await run.next(LoadSucceeded)
            assert done.params["level"] == 77
            assert "gone" not in done.params
            assert any("'gone'" in event.message for event in run.events if isinstance(event, PipelineWarned))

    async def test_sources_are_those_of_the_code_that_runs_and_of_the_code_that_failed(
        self, write: WriteModule, project: Path
    ) -> None:
        write("rep_e.pipeline", add(1))
        async with guarded("rep_e.pipeline:f") as run:
            await run.guardian.wait_serving()
            write("rep_e.helper", "1 / 0\n")
            write("rep_e.pipeline", "from . import helper\n" + add(1))
            run.guardian.replace(LoadRequest("saved"))
            failed = await run.next(LoadFailed)
            assert failed.report.file == str(project / "rep_e" / "helper.py")
            files = [event.files for event in run.events if type(event).__name__ == "SourcesChanged"][-1]
            assert {Path(file).name for file in files} >= {"helper.py", "pipeline.py"}


class TestFailures:
    async def test_an_exception_in_the_serving_pipeline_is_told_and_counted_not_flooded(
        self, write: WriteModule
    ) -> None:
        write("err_a", "def f(frame):\n    if frame.max() > 0.02: raise ValueError('bright')\n    return frame\n")
        async with guarded("err_a:f") as run:
            await run.guardian.wait_serving()
            run.stream(60)
            await run.until(lambda: run.sent > 80)
            told = [event for event in run.events if isinstance(event, PipelineFailed)]
            assert told[0].report.kind == "ValueError"
            assert 2 <= len(told) <= 8
            assert told[-1].count > len(told)

    async def test_a_crash_restarts_at_most_three_times(self, write: WriteModule) -> None:
        write("err_b", "import os\ndef f(frame):\n    os._exit(4)\n")
        async with guarded("err_b:f", replace(PRODUCTION, backoff_s=0.0)) as run:
            await run.guardian.wait_serving()
            run.stream()
            await run.until(lambda: sum(isinstance(e, ProcessExited) for e in run.events) == 4, 120)
            exits = [event for event in run.events if isinstance(event, ProcessExited)]
            assert [event.restarting for event in exits] == [True, True, True, False]
            assert exits[0].reason == "exited with code 4"
            assert run.guardian.status().inference_status.restart_count == 3
            assert run.guardian.state is PipelineState.ERROR

    async def test_a_killed_process_comes_back_and_so_do_its_params(self, write: WriteModule) -> None:
        write("err_c", add(5))
        async with guarded("err_c:f") as run:
            await run.guardian.wait_serving()
            await run.guardian.update_params({"show_reloading_frame": False})
            run.stream()
            await run.until(lambda: run.outputs)
            assert run.guardian.process is not None
            os.kill(run.guardian.process.pid, signal.SIGKILL)
            again = await run.next(LoadSucceeded)
            assert "SIGKILL" in again.reason
            assert again.params["show_reloading_frame"] is False
            before = len(run.outputs)
            await run.until(lambda: len(run.outputs) > before + 3)

    async def test_params_without_a_pipeline_are_refused(self, write: WriteModule) -> None:
        write("err_d", "oops\n")
        async with guarded("err_d:f") as run:
            await run.next(LoadFailed)
            assert run.guardian.state is PipelineState.ERROR
            with pytest.raises(ProcessError, match="no pipeline is running"):
                await run.guardian.update_params({})
            write("err_d", add(1))
            run.guardian.replace(LoadRequest("saved"))
            await run.guardian.wait_serving()
            assert run.guardian.state is not PipelineState.ERROR

    async def test_first_params_that_are_wrong_fail_the_first_load(self, write: WriteModule) -> None:
        write("err_e", add(1))
        spec = PipelineSpec(pipeline_cls="err_e:f", initial_params={"width": 7})
        run = Guarded(spec, QUICK)
        run.guardian.start()
        try:
            failed = await run.next(LoadFailed)
            assert failed.report.phase == "params"
            assert any(isinstance(event, LoadStarted) for event in run.events)
        finally:
            await run.close()


class TestSupersededHandOver:
    async def test_a_save_that_comes_while_the_old_process_ends_leaves_nothing_behind(self, write: WriteModule) -> None:
        """The old process is slow to stop; the next load must neither forget it nor wait for ever."""
        slow_stop = "import time\nclass f:\n    def transform(self, frame): return frame * 0 + {} / 255\n"
        slow_stop += "    def on_stop(self): time.sleep(1)\n"
        write("sup_a", slow_stop.format(10))
        async with guarded("sup_a:f") as run:
            await run.guardian.wait_serving()
            run.stream()
            await run.until(lambda: run.outputs)
            write("sup_a", slow_stop.format(20))
            run.guardian.replace(LoadRequest("saved"))
            await run.until(lambda: run.values[-1] == 20)
            write("sup_a", slow_stop.format(30))
            run.guardian.replace(LoadRequest("saved"))
            await run.until(lambda: run.values[-1] == 30)
            await run.until(lambda: sum(isinstance(event, LoadSucceeded) for event in run.events) == 3)
            assert len(children()) == 1
