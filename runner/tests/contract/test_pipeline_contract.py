"""The contract suite in a repository of somebody else: it passes what is right, and finds what is wrong."""

from __future__ import annotations

import ast
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

import pytest

from runner import testing

PARAMS = """
from pydantic import Field
from runner.live.pipelines import BaseParams

class Params(BaseParams):
    gain: float = Field(default=1.0, ge=0.0, le=1.0)
"""
PIPELINES = """
import asyncio, threading, time
import torch
from runner.live.pipelines import Pipeline
from runner.live.trickle import VideoFrame, VideoOutput
from theirs.params import Params

class Dim(Pipeline):
    def __init__(self):
        self.outputs = asyncio.Queue()
    async def initialize(self, **params):
        self.params = Params(**params)
    async def put_video_frame(self, frame, request_id):
        await self.outputs.put(VideoOutput(frame.replace_tensor(self.work(frame.tensor)), request_id))
    def work(self, tensor):
        return tensor * self.params.gain
    async def get_processed_video_frame(self):
        return await self.outputs.get()
    async def update_params(self, **params):
        new = Params(**params)
        if params.get("gain") == 0.0:
            raise ValueError("all black")
        self.params = new
    @classmethod
    def prepare_models(cls):
        pass

class Chunks(Dim):
    '''Four in, six out, and the last three inputs of a stream may stay inside.'''
    async def initialize(self, **params):
        await super().initialize(**params)
        self.held = []
    async def put_video_frame(self, frame, request_id):
        self.held.append(frame)
        if len(self.held) == 4:
            first, span = self.held[0], 4 * (self.held[1].timestamp - self.held[0].timestamp)
            for number in range(6):
                tensor = self.work(self.held[number * 4 // 6].tensor)
                out = VideoFrame(tensor, first.timestamp + span * number // 6, first.time_base)
                await self.outputs.put(VideoOutput(out, request_id))
            self.held = []

class Backwards(Dim):
    async def put_video_frame(self, frame, request_id):
        frame.timestamp = -frame.timestamp
        await super().put_video_frame(frame, request_id)

class SignedRange(Dim):
    def work(self, tensor):
        return tensor * 2 - 1

class Anonymous(Dim):
    async def put_video_frame(self, frame, request_id):
        await super().put_video_frame(frame, "mine")

class OneBuffer(Dim):
    buffer = None
    def work(self, tensor):
        self.buffer = torch.empty_like(tensor) if self.buffer is None else self.buffer
        return self.buffer.copy_(tensor)

class Random(Dim):
    def work(self, tensor):
        return torch.rand_like(tensor)

class HalfWay(Dim):
    async def update_params(self, **params):
        self.params = Params(**params)
        await super().update_params(**params)

class TakesAll(Dim):
    async def update_params(self, **params):
        self.params = Params.model_construct(gain=1.0)

class Reloads(Dim):
    async def update_params(self, **params):
        await super().update_params(**params)
        return asyncio.create_task(asyncio.sleep(0))

class Loses(Dim):
    async def put_video_frame(self, frame, request_id):
        if frame.timestamp % 9000:
            await super().put_video_frame(frame, request_id)

class HangsAtTheEnd(Dim):
    async def stop(self):
        await asyncio.Event().wait()

class LeavesAThread(Dim):
    async def initialize(self, **params):
        await super().initialize(**params)
        threading.Thread(target=self.linger, name="left").start()
    def linger(self):
        while threading.main_thread().is_alive():
            time.sleep(0.1)

class PreparesOnce(Dim):
    done = []
    @classmethod
    def prepare_models(cls):
        assert not cls.done
        cls.done.append(1)
"""
SUITE = """
from fractions import Fraction
import pytest
from runner.live.pipelines import PipelineSpec
from runner.testing import PipelineContract

class Theirs(PipelineContract):
    live_params = [{"gain": 0.5}]
    bad_params = [{"gain": 2}, {"gain": 0.0}]

def spec(name, params="theirs.params:Params"):
    return PipelineSpec(name="theirs", pipeline_cls=f"theirs.pipelines:{name}", params_cls=params)

class TestDim(Theirs):
    spec = spec("Dim")
    exact = True

class TestChunks(Theirs):
    spec = spec("Chunks")
    outputs_per_input = Fraction(3, 2)

class TestReloadsOnPurpose(Theirs):
    spec = spec("Reloads")
    live_params = ()
    reload_params = [{"gain": 0.5}]

class TestWrongParams(Theirs):
    spec = spec("Dim", "theirs.heavy:Params")
"""
# What is wrong with each of these -> the check that must say so.
WRONG = {
    "Backwards": "test_outputs_come_in_the_order_of_their_times",
    "SignedRange": "test_outputs_are_pictures_in_range",
    "Anonymous": "test_outputs_belong_to_the_request_of_their_input",
    "OneBuffer": "test_outputs_are_not_written_to_once_they_are_given",
    "Random": "test_a_second_life_in_the_same_process_is_like_the_first",
    "HalfWay": "test_bad_params_are_refused_and_change_nothing",
    "TakesAll": "test_bad_params_are_refused_and_change_nothing",
    "Reloads": "test_live_params_are_taken_without_a_reload",
    "Loses": "test_outputs_are_as_many_as_promised",
    "HangsAtTheEnd": "test_stop_comes_in_time_while_frames_wait",
    "LeavesAThread": "test_stop_comes_in_time_while_frames_wait",
    "PreparesOnce": "test_prepare_models_can_run_twice",
}
_IMPATIENT = ("Loses", "HangsAtTheEnd", "LeavesAThread")  # these are found out by waiting, in vain each time


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Test class -> test -> ``passed``, ``skipped``, or what was said of its failure."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "theirs").mkdir()
    (folder / "theirs/params.py").write_text(PARAMS)
    (folder / "theirs/heavy.py").write_text("import torch\n" + PARAMS)
    (folder / "theirs/pipelines.py").write_text(PIPELINES)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = strict\nfilterwarnings = error\n")
    wrong = "".join(_class(name) for name in WRONG)
    (folder / "test_theirs.py").write_text(SUITE + wrong)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junit-xml=report.xml"]
    # Each process takes seconds: of those that are right one runs in a pipeline process (in `test_upstream_style` one
    # that reloads, and one that is exact), of the wrong ones those that are wrong there.
    chosen = "Chunks or WrongParams or not (process_and or (Wrong and module_is_light))"
    result = subprocess.run([*command, "-k", chosen], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    return _read(folder / "report.xml")


def _class(name: str) -> str:
    patience = "    patience_s = 0.5\n" if name in _IMPATIENT else ""
    return f"\nclass TestWrong{name}(Theirs):\n    spec = spec({name!r})\n{patience}"


def _read(report: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in ElementTree.parse(report).iter("testcase"):
        problems = [*case.iter("failure"), *case.iter("error")]
        skipped = "skipped" if case.find("skipped") is not None else "passed"
        name = case.attrib["classname"].rpartition(".")[2]
        found[name][case.attrib["name"]] = "\n".join(problem.text or "" for problem in problems) or skipped
    return found


def failed(outcomes: dict[str, str]) -> set[str]:
    return {name for name, outcome in outcomes.items() if outcome not in ("passed", "skipped")}


@pytest.mark.parametrize("name", ["TestDim", "TestChunks", "TestReloadsOnPurpose"])
def test_what_keeps_the_contract_passes(outcomes: dict[str, dict[str, str]], name: str) -> None:
    assert failed(outcomes[name]) == set(), outcomes[name]


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_it_is_found(outcomes: dict[str, dict[str, str]], name: str) -> None:
    assert WRONG[name] in failed(outcomes[f"TestWrong{name}"])


def test_heavy_params_are_found_with_the_import_at_fault(outcomes: dict[str, dict[str, str]]) -> None:
    assert "imports 'torch'" in outcomes["TestWrongParams"]["test_the_params_module_is_light"]


def test_failures_show_what_was_compared(outcomes: dict[str, dict[str, str]]) -> None:
    said = outcomes["TestWrongAnonymous"][WRONG["Anonymous"]]
    assert "'mine'" in said
    assert "'the first request'" in said


@pytest.mark.parametrize("name", ["pipeline_contract", "entrypoint_contract"])
def test_fixtures_of_a_class_are_its_methods(name: str) -> None:
    """From pytest 9.1 on, each such fixture of an instance warns in every class of the user's."""
    module = ast.parse((Path(testing.__file__).parent / f"{name}.py").read_text())
    fixtures = {
        node.name: [ast.unparse(each) for each in node.decorator_list]
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef)
        and any("scope='class'" in ast.unparse(each) for each in node.decorator_list)
    }
    assert fixtures
    assert [name for name, decorators in fixtures.items() if decorators[-1] != "classmethod"] == []
