"""Going back, differences and the options of reloading, with a real host."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from test_session import PATIENCE_S, Project, Watched, level, params

from ai_runner_studio.errors import StudioError
from ai_runner_studio.snapshot import Snapshot

# What is asked here does not depend on these, and it is quicker without a standby.
PLAIN = {"standby": False, "keep_weights": False}
TRANSFORM = "def effect(frame):\n    return frame * 0 + {} / 255\n"
WITH_DATA = """
import pathlib
LEVEL = int(pathlib.Path(__file__).with_name("level.txt").read_text())
def effect(frame):
    return frame * 0 + LEVEL / 255
"""
# It has no reason to end by itself.
WITH_CHILD = """
import subprocess
class Effect:
    def on_ready(self, params):
        self.child = subprocess.Popen(["sleep", "1000"])
    def transform(self, frame):
        return frame * 0 + {} / 255
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def changed_lines(run: Watched, revision: int, against: int | None = None) -> dict[str, list[str]]:
    """File -> its changed lines."""
    return {
        str(found.path): [line[0] + line[1:].strip() for line in found.lines[2:] if line[0] in "+-"]
        for found in run.session.differences(revision, against)
    }


async def says(run: Watched, notice: str) -> Snapshot:
    return await run.until(lambda now: notice in now.notices)


class TestGoingBack:
    async def test_an_earlier_revision_serves_again_while_the_files_stay_and_a_save_loads_them(
        self, project: Project
    ) -> None:
        file = project.save("pipeline", level(40))
        async with project.opened(**PLAIN) as run:
            await run.serves(1)
            project.save("pipeline", level(80))
            await run.serves(2)
            await run.shows(80)
            on_disk = file.stat()
            await run.session.revert(1)
            now = await run.serves(3)
            await run.shows(40)
            assert now.load is not None
            assert (now.load.restores, now.load.can_return) == (1, True)
            assert now.load.sources == now.loads[0].sources
            assert (file.stat().st_mtime_ns, file.stat().st_ino) == (on_disk.st_mtime_ns, on_disk.st_ino)
            assert changed_lines(run, 3) == {
                "effects/pipeline.py": ["-return frame * 0 + 40 / 255", "+return frame * 0 + 80 / 255"]
            }
            project.save("pipeline", level(120))
            now = await run.serves(4)
            await run.shows(120)
            assert now.load is not None
            assert now.load.restores is None

    async def test_params_stay_as_they_were_set(self, project: Project) -> None:
        project.save("params", params("level: int = 50"))
        project.save(
            "pipeline",
            "from .params import P\ndef effect(frame, params: P):\n    return frame * 0 + params.level / 255\n",
        )
        async with project.opened(**PLAIN) as run:
            await run.serves(1)
            project.save(
                "pipeline",
                "from .params import P\ndef effect(frame, params: P):\n    return frame * 0 + params.level / 510\n",
            )
            await run.serves(2)
            await run.session.set_params({"level": 200})
            await run.shows(100)
            await run.session.revert(1)
            await run.serves(3)
            await run.shows(200)

    async def test_from_code_in_the_running_process_it_leads_to_a_fresh_one(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(standby=False) as run:
            await run.serves(1)
            project.save("pipeline", level(80))
            second = await run.serves(2)
            assert second.load is not None
            assert (second.load.plan.level, second.load.can_return) == ("code", True)
            project.save("pipeline", level(120))
            await run.serves(3)
            await run.session.revert(2)
            now = await run.serves(4)
            await run.shows(80)
            assert now.load is not None
            assert (now.load.plan.level, now.load.restores) == ("process", 2)
            assert now.pipeline_pid != second.pipeline_pid

    async def test_to_what_was_not_good_it_is_refused_with_a_reason_and_all_goes_on(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(**PLAIN) as run:
            await run.serves(1)
            project.save("pipeline", "def effect(frame)\n    return frame\n")
            await run.failed(2)
            for revision in (2, 99):
                with pytest.raises(StudioError, match=str(revision)):
                    await run.session.revert(revision)
                with pytest.raises(StudioError, match=f"revision {revision}"):
                    run.session.differences(revision)
            await run.shows(40)
            assert run.session.snapshot.serving == 1

    async def test_data_files_that_are_not_as_they_were_are_named(self, project: Project) -> None:
        project.save("pipeline", WITH_DATA)
        data = project.package / "level.txt"
        data.write_text("40")
        async with project.opened(**PLAIN, watch=(str(data),)) as run:
            await run.serves(1)
            await run.shows(40)
            data.write_text("80")
            await run.serves(2)
            await run.shows(80)
            assert changed_lines(run, 1) == {"effects/level.txt": ["-40", "+80"]}
            assert changed_lines(run, 1, 2) == {"effects/level.txt": ["-40", "+80"]}
            await run.session.revert(1)
            await says(run, "read from disk as they are now: effects/level.txt")
            await run.shows(80)
            assert run.session.snapshot.load is not None
            assert run.session.snapshot.load.restores == 1


class TestDifferences:
    async def test_they_show_what_a_save_that_failed_has_broken(self, project: Project) -> None:
        project.save("pipeline", TRANSFORM.format(40))
        async with project.opened(**PLAIN) as run:
            await run.serves(1)
            assert run.session.differences(1) == []
            project.save("helper", "VALUE = 1\n")
            project.save("pipeline", "from .helper import VALUES\n" + TRANSFORM.format(40))
            await run.failed(2)
            assert changed_lines(run, 1) == {
                "effects/helper.py": ["+VALUE = 1"],
                "effects/pipeline.py": ["+from .helper import VALUES"],
            }
            assert [found.change for found in run.session.differences(1)] == ["added", "changed"]

    async def test_a_new_host_begins_with_nothing_to_go_back_to(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(**PLAIN) as run:
            await run.serves(1)
            project.save("pipeline", level(80))
            await run.serves(2)
            host = run.session._host
            assert host is not None
            assert len(list(host.snapshots.iterdir())) > 1
            host._process.kill()
            await run.until(lambda now: now.phase == "ended")
            assert not host.snapshots.parent.exists()
            await run.session.reload()
            now = await run.serves(1)
            assert [load.can_return for load in now.loads] == [True]
            assert run.session.differences(1) == []
            with pytest.raises(StudioError, match="revision 2 is not kept"):
                run.session.differences(2)

    async def test_without_reloading_no_code_is_kept(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(reload=False) as run:
            now = await run.serves(1)
            assert (now.keep_weights, now.standby_on) == (False, False)
            assert not now.loads[0].can_return
            assert run.session._host is not None
            assert not run.session._host.snapshots.exists()
            with pytest.raises(StudioError):
                await run.session.revert(1)


class TestKilledHost:
    async def test_what_the_pipeline_has_started_ends_with_it_also_after_new_code_was_put_in(
        self, project: Project
    ) -> None:
        project.save("pipeline", WITH_CHILD.format(40))
        async with project.opened(standby=False, pipeline_import="effects.pipeline:Effect") as run:
            now = await run.serves(1)
            await run.shows(40)
            project.save("pipeline", WITH_CHILD.format(80))
            now = await run.serves(2)
            assert (now.load and now.load.plan.level) == "code"
            started = psutil.Process(now.pipeline_pid).children(recursive=True)
            assert "sleep" in [process.name() for process in started]
            assert now.host is not None
            psutil.Process(now.host.pid).kill()
            await run.until(lambda now: now.phase == "ended")
            assert psutil.wait_procs(started, timeout=PATIENCE_S)[1] == []


class TestOptions:
    async def test_weights_are_kept_until_that_is_switched_off(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(standby=False) as run:
            first = await run.serves(1)
            project.save("pipeline", level(80))
            second = await run.serves(2)
            assert (second.load and second.load.plan.level, second.pipeline_pid) == ("code", first.pipeline_pid)
            await run.session.set_keep_weights(False)
            await run.until(lambda now: not now.keep_weights)
            project.save("pipeline", level(120))
            third = await run.serves(3)
            assert third.load is not None
            assert third.load.plan.level == "process"
            assert third.pipeline_pid != first.pipeline_pid
            assert third.load.memory_before_bytes > 0
            assert third.load.memory_after_bytes > 0
            assert [load.outcome for load in third.loads] == ["replaced", "replaced", "serving"]

    async def test_a_reload_can_be_asked_to_be_a_fresh_process(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(standby=False) as run:
            first = await run.serves(1)
            project.save("pipeline", level(80))
            await run.serves(2)
            await run.session.reload(level="process")
            third = await run.serves(3)
            assert (third.load and third.load.plan.level) == "process"
            assert third.pipeline_pid != first.pipeline_pid

    async def test_a_hand_over_can_be_insisted_on(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(standby=False, keep_weights=False, replace="hand-over") as run:
            await run.serves(1)
            project.save("pipeline", level(80))
            await run.until(lambda now: now.load and now.load.plan.way == "hand-over" and now.serving is None)
            now = await run.serves(2)
            assert (now.load and now.load.plan.way) == "hand-over"
            await run.shows(80)

    async def test_a_standby_comes_and_goes_with_its_switch(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(keep_weights=False) as run:
            now = await run.until(lambda now: now.standby and now.standby.state == "ready")
            assert now.standby is not None
            assert (now.standby_on, now.standby.modules > 0) == (True, True)
            project.save("pipeline", level(80))
            now = await run.serves(2)
            assert now.load is not None
            assert now.load.plan.standby in ("fork", "spawn")
            await run.session.set_standby(False)
            await run.until(lambda now: not now.standby_on and now.standby and now.standby.state == "off")

    async def test_a_standby_for_which_there_is_no_room_is_dropped_with_a_notice(self, project: Project) -> None:
        project.save("pipeline", level(40))
        async with project.opened(standby_reserve_mb=1 << 30) as run:
            now = await run.until(lambda now: now.standby and now.standby.state == "dropped")
            assert any("the standby was dropped" in notice for notice in now.notices)
