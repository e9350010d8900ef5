"""SIGKILL at random moments: nothing is left, whoever survives says what happened, and the next start works.

KILL_ROUNDS=20 kills that often at each moment instead of twice.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from terminals import PATIENCE_S, OnTerminal, gone, on_terminal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROUNDS = int(os.environ.get("KILL_ROUNDS", "2"))  # of each target and moment
AT_ONCE = 2
MARK = "KILL_TEST_RUN"  # in the environment of every process of a run, so that each can be found again
# A process that the user's code has started, and that has no reason to end by itself.
PIPELINE = """
import subprocess
subprocess.Popen(["sleep", "1000"])
def effect(frame):
    return {expression}
"""
WORDS = ("--pipeline-import", "effects:effect")

Target = Literal["studio", "host", "pipeline"]
Moment = Literal["spawn", "load", "stream", "reload"]
MOMENTS: tuple[Moment, ...] = ("spawn", "load", "stream", "reload")
LATEST_S = {"spawn": 0.5, "load": 2.0, "stream": 0.5, "reload": 2.0}  # after the start of the moment


@dataclass(frozen=True)
class Run:
    """Folders and environment of one run.

    Attributes:
        project: with a pipeline. temporary: its temporary folder, empty at first.
    """

    project: Path
    temporary: Path

    @classmethod
    def make(cls, folder: Path) -> Run:
        run = cls(folder / "project", folder / "t")
        run.project.mkdir(parents=True)
        run.temporary.mkdir()
        run.save("1 - frame")
        return run

    def save(self, expression: str) -> None:
        (self.project / "effects.py").write_text(PIPELINE.format(expression=expression))

    @property
    def environ(self) -> dict[str, str]:
        return {"TMPDIR": str(self.temporary), MARK: str(self.project)}

    def processes(self) -> list[psutil.Process]:
        """Every process that has come from this run, wherever it hangs in the tree."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            return bool(alive and process.environ().get(MARK) == str(self.project))
        return False

    def assert_nothing_left(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
        assert os.listdir(self.temporary) == []
        ours = [name for name in os.listdir("/dev/shm") if name.startswith("ai-runner")]
        assert [name for name in ours if not name.startswith("ai-runner-comfyui-")] == []  # of other tests

    def assert_next_start_works(self) -> None:
        self.save("1 - frame")
        done = subprocess.run(
            [sys.executable, "-m", "ai_runner_studio", "run", *WORDS, "-i", "pattern", "--frames", "3"],
            cwd=self.project, env=os.environ | self.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.assert_nothing_left()


class Round:
    """One studio on a terminal of its own, and the kill of one of its processes."""

    def __init__(self, run: Run, target: Target, moment: Moment, number: int) -> None:
        """`number`: of the round, from 0; each has a part of the time of its own, so that all of it has its turn."""
        self.run, self.target, self.moment = run, target, moment
        chance = random.Random(f"{target} {moment} {number}")
        self.delay_s = (number + chance.random()) / ROUNDS * LATEST_S[moment]
        self.good = number % 2 == 0
        self.standby = moment == "reload" or number % 2 == 0  # else it has nothing to do yet, but to import torch

    def __repr__(self) -> str:
        return f"{self.target} killed {self.delay_s:.3f} s into {self.moment}, in {self.run.project}"

    def play(self) -> None:
        words = (*WORDS, "--input", "pattern:320x240@10", "--preview", "blocks")
        if not self.standby:
            words += ("--no-standby",)
        try:
            with on_terminal(*words, cwd=self.run.project, **self.run.environ) as studio:
                self._wait_for_the_moment(studio)
                victim = self._victim(studio)
                below = [victim, *victim.children(recursive=True)]
                written = len(studio.written)
                victim.send_signal(signal.SIGKILL)
                if self.target == "studio":
                    studio.process.wait(PATIENCE_S)
                else:
                    assert gone([process.pid for process in below])
                    self._survives(studio, written)
                self.run.assert_nothing_left()
        except BaseException as error:
            if hasattr(error, "add_note"):  # not before Python 3.11
                error.add_note(repr(self))
            raise

    def _wait_for_the_moment(self, studio: OnTerminal) -> None:
        if self.moment in ("stream", "reload"):
            assert studio.read_until(b"ONLINE"), studio.written[-2000:]
        elif self.moment == "load":
            self._process(studio, "pipeline")
        else:
            self._process(studio, self.target)
        if self.moment == "reload":
            self.run.save("frame * 0.5" if self.good else "frame / 0 +")
        studio.read_for(self.delay_s)

    def _victim(self, studio: OnTerminal) -> psutil.Process:
        return self._process(studio, self.target)

    def _process(self, studio: OnTerminal, which: Target) -> psutil.Process:
        """The (newest) process of that duty, as soon as it is there."""
        if which == "studio":
            return psutil.Process(studio.process.pid)
        mark = "runner.live.infer" if which == "host" else "spawn_main"
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if found := _below(studio.process.pid, mark):
                return max(found, key=lambda process: process.create_time())
            studio.read_for(0.01)
        raise AssertionError(f"no {which} process: {studio.written[-2000:]!r}")

    def _survives(self, studio: OnTerminal, written: int) -> None:
        """The studio says what has happened, and can be left."""
        told = [b"SIGKILL"]
        if self.moment == "reload" and not self.good and self.target == "pipeline":
            told.append(b"SyntaxError")  # what was saved may be told at once after it, in its place
        assert _reads(studio, told, written), studio.written[written:][-3000:]
        if studio.process.poll() is None and b"error:" not in studio.written:
            os.write(studio.terminal, b"q")
        assert studio.wait() in ((0, 1) if self.target == "pipeline" else (1,))
        assert studio.restored()
        assert b"Traceback" not in studio.written


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _reads(studio: OnTerminal, texts: list[bytes], after: int) -> bool:
    """Whether one of the texts is written after that many bytes."""

    def there() -> bool:
        return any(text in studio.written[after:] for text in texts)

    deadline = time.monotonic() + PATIENCE_S
    while not there() and time.monotonic() < deadline and studio.process.poll() is None:
        studio.read_for(0.1)
    studio.read_for(0.1)
    return there()


@pytest.fixture
def new_run() -> Iterator[Callable[[], Run]]:
    """Makes runs; whatever they leave running after a test that failed is ended here."""
    runs: list[Run] = []
    # pytest's own folders have names too long for sockets in folders below them.
    with tempfile.TemporaryDirectory(prefix="kill-", ignore_cleanup_errors=True) as folder:

        def make() -> Run:
            runs.append(Run.make(Path(folder, str(len(runs)))))
            return runs[-1]

        yield make
        for run in runs:
            for process in run.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("target", ["studio", "host", "pipeline"])
def test_a_process_that_is_killed_at_any_moment_leaves_nothing(
    target: Target, moment: Moment, new_run: Callable[[], Run]
) -> None:
    rounds = [Round(new_run(), target, moment, number) for number in range(ROUNDS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(round.play) for round in rounds]:
            done.result()
    if moment == MOMENTS[-1]:
        rounds[-1].run.assert_next_start_works()


def test_a_pipeline_that_dies_before_the_studio_looks_is_told(new_run: Callable[[], Run]) -> None:
    run = new_run()
    words = (*WORDS, "--input", "pattern:320x240@10", "--preview", "blocks")
    with on_terminal(*words, cwd=run.project, **run.environ) as studio:
        wait_for(lambda: _below(studio.process.pid, "runner.live.infer"))
        studio.process.send_signal(signal.SIGSTOP)
        # A standby is prepared once the pipeline serves.
        wait_for(lambda: len(_below(studio.process.pid, "spawn_main")) > 1)
        pipeline = min(_below(studio.process.pid, "spawn_main"), key=lambda process: process.create_time())
        pipeline.kill()
        written = len(studio.written)
        studio.process.send_signal(signal.SIGCONT)
        assert _reads(studio, [b"SIGKILL"], written)
        os.write(studio.terminal, b"q")
        assert studio.wait() == 0
        run.assert_nothing_left()


def _below(pid: int, mark: str) -> list[psutil.Process]:
    """Processes below that one with this in their command."""
    return [child for child in psutil.Process(pid).children(True) if mark in _command(child)]


def test_a_host_that_was_killed_is_started_again_by_a_reload(new_run: Callable[[], Run]) -> None:
    run = new_run()
    words = (*WORDS, "--input", "pattern:320x240@10", "--preview", "blocks")
    with on_terminal(*words, cwd=run.project, **run.environ) as studio:
        assert studio.read_until(b"ONLINE")
        (host,) = _below(studio.process.pid, "runner.live.infer")
        written = len(studio.written)
        host.kill()
        assert _reads(studio, [b"SIGKILL"], written)
        written = len(studio.written)
        os.write(studio.terminal, b"r")
        assert _reads(studio, [b"ONLINE"], written), studio.written[written:][-3000:]
        os.write(studio.terminal, b"q")
        assert studio.wait() == 0
        assert studio.restored()
        run.assert_nothing_left()


class TestRun:
    """``ai-runner-studio run``, killed while it writes."""

    @pytest.fixture
    def run(self, new_run: Callable[[], Run]) -> Run:
        return new_run()

    @contextmanager
    def started(self, run: Run, *more: str) -> Iterator[subprocess.Popen[str]]:
        """A run that is under way."""
        arguments = [sys.executable, "-m", "ai_runner_studio", "run", *WORDS, "-i", "pattern:320x240@30"]
        process = subprocess.Popen(
            [*arguments, "-o", "out.mp4", "--realtime", "--duration", "600", *more],
            cwd=run.project, env=os.environ | run.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            try:
                assert process.stderr is not None
                # The first line of a run under way says how many frames there were by then, if there were any.
                assert any(line.startswith("running") or " frames" in line for line in process.stderr)
                yield process
            finally:
                process.kill()

    def test_sigkill_in_the_middle_of_encoding_leaves_no_file_under_the_final_name(self, run: Run) -> None:
        (run.project / "out.mp4").write_text("precious")
        with self.started(run) as process:
            wait_for(lambda: any(path.stat().st_size for path in run.project.glob(".out.mp4.partial-*/*")))
            process.kill()
        run.assert_nothing_left()
        assert (run.project / "out.mp4").read_text() == "precious"

    def test_what_a_killed_run_has_left_is_cleared_away_by_the_next(self, run: Run) -> None:
        with self.started(run) as process:
            process.kill()
        run.assert_nothing_left()
        with self.started(run) as process:
            assert len(list(run.project.glob(".out.mp4.partial-*"))) == 1
            process.terminate()
            process.communicate(timeout=PATIENCE_S)
        assert sorted(path.name for path in run.project.iterdir() if path.name != "__pycache__") == ["effects.py"]

    def test_sighup_ends_it_in_order(self, run: Run) -> None:
        with self.started(run, "--json") as process:
            process.send_signal(signal.SIGHUP)
            said, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 128 + signal.SIGHUP
        assert '"interrupted"' in said
        run.assert_nothing_left()
        assert list(run.project.glob("*out.mp4*")) == list(run.project.glob(".out.mp4*")) == []

    def test_a_host_that_is_killed_fails_it_with_the_reason(self, run: Run) -> None:
        with self.started(run) as process:
            (host,) = _below(process.pid, "runner.live.infer")
            host.kill()
            _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        assert "error: the runner host was killed by SIGKILL" in said
        assert "Traceback" not in said
        run.assert_nothing_left()


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
