"""A patched process behaves like a fresh one: random edits of small projects, each compared with a fresh interpreter.

After each edit that frames have proven, a fresh process executes the new text. Compared are: every name of
every module (values, signatures, docstrings, line numbers), what every function returns, and what a
pipeline that was initialized before all edits makes of frames, down to the last bit and, where it
raises, to message and line.

CODE_EDITS=2000 makes that many edits of each project instead of a few.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from runner.live.code.plan import plan_patch
from runner.live.code.refusal import PatchRefused

from .conftest import Live
from .mutations import mutate
from .probing import frame, frames, load, look, outcome, single_threaded
from .projects import PROJECTS, Project

EDITS = int(os.environ.get("CODE_EDITS", "30"))
SEED = int(os.environ.get("CODE_SEED", "1"))
SAMPLES = ("edges", "posterize", "cartoon", "flow_trails")
SPARES = 20
FIGURES: Counter[str] = Counter()

# Hundreds of edits, each looked at in processes of their own.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Fresh:
    """Executes projects in forks of a process that has only imported libraries."""

    def __init__(self, *libraries: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("probing.py")), *libraries]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def look(self, folder: Path, modules: list[str], entry: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "modules": modules, "entry": entry}) + "\n")
        self._process.stdin.flush()
        answer = ""
        while line := self._process.stdout.readline().strip():  # what the project prints comes before
            answer = line
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


class Run:
    """One project that is edited again and again, and loaded anew where an edit is refused."""

    def __init__(self, live: Live, fresh: Fresh, project: Project, seed: str) -> None:
        self.live, self.fresh, self.project = live, fresh, project
        self.rng = random.Random(seed)
        self.modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in project.files]
        self.original = {name: dedent(text) for name, text in project.files.items()}
        self.restore(self.original)
        self.start()

    def save(self, name: str, text: str) -> None:
        path = self.live.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def start(self) -> None:
        """Load everything anew: `used` gets frames all along, `spares` wait for one comparison each."""
        for name in self.modules:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        with self.live.sources.tracing_load():
            self.used = load(self.project.entry)
            self.spares = [load(self.project.entry) for _ in range(SPARES)]
        frames(str(self.live.folder), self.used)

    def expected(self) -> Any:
        return self.fresh.look(self.live.folder, self.modules, self.project.entry)

    def steps(self, count: int) -> None:
        """Edits on edits, and now and then from the beginning: what is broken everywhere shows nothing."""
        for number in range(1, count + 1):
            self.step()
            if number % 25 == 0:
                self.restore(self.original)
                self.start()

    def step(self) -> None:
        if len(self.spares) < 3:  # a step takes two at most
            self.start()
        before = dict(self.texts)
        done = self.edit()
        expected = self.expected()
        changed: list[str] = []
        try:
            patch = plan_patch(self.live.sources, self.used)
            changed += patch.changed
            asyncio.run(patch.exchange())
            reason = self.live.observe(patch, self.frame)
        except SyntaxError:
            FIGURES["not compiled"] += 1
            assert expected[0] == "failed"
            self.reload(before, expected)
            return
        except (PatchRefused, FrameFailed) as refused:
            reason = str(refused) or "a frame failed"
        if reason:
            FIGURES["refused"] += 1
            FIGURES[f"refused: {_kind(reason)}"] += 1
            self.reload(before, expected)
            return
        note = f"{self.project.entry} after {done}: {changed}\n" + "\n".join(
            f"--- {name}\n{text}\n---- before:\n{before[name]}"
            for name, text in self.texts.items()
            if text != before[name]
        )
        FIGURES["put in"] += 1
        assert expected[0] == "looks", f"a fresh process cannot execute this: {expected[1]}: {note}"
        self.compare(expected[1], note)
        FIGURES["put in, only lines"] += not changed

    def frame(self) -> None:
        """One frame, whatever comes of it: an exception takes the code back, as in a pipeline process."""
        if outcome(str(self.live.folder), lambda: frame(self.used, 0))[0] == "error":
            raise FrameFailed

    def edit(self) -> str:
        done = []
        names = [name for name, text in sorted(self.texts.items()) if text.strip()]
        for name in self.rng.sample(names, min(self.rng.choice((1, 1, 1, 2)), len(names))):
            self.texts[name], what = mutate(self.texts[name], self.rng)
            done.append(what)
            self.save(name, self.texts[name])
        return ", ".join(done)

    def reload(self, before: dict[str, str], expected: Any) -> None:
        """What the runner does then: a fresh process, or the last good text where that fails."""
        if expected[0] == "failed":
            self.restore(before)
        self.start()

    def restore(self, texts: dict[str, str]) -> None:
        self.texts = dict(texts)
        for name, text in texts.items():
            self.save(name, text)

    def compare(self, expected: Any, note: str) -> None:
        folder = str(self.live.folder)
        found = json.loads(json.dumps(look(folder, self.modules, self.spares.pop())))
        assert found == expected, f"{different(found, expected)}\n{note}"
        if expected["steady"]:
            # One that has seen frames of every version in between, too.
            assert json.loads(json.dumps(frames(folder, self.used))) == _frames(expected), note
        FIGURES["values compared"] += len(expected)


class FrameFailed(Exception):
    """A frame of changed code raised."""


def different(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where two looks differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = dict.fromkeys([*found, *expected])
        return [text for key in keys for text in different(found.get(key), expected.get(key), f"{path}/{key}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [text for number, (one, other) in pairs for text in different(one, other, f"{path}/{number}")]
    return [] if found == expected else [f"{path}: here {found!r}, fresh {expected!r}"]


def _frames(looks: dict[str, Any]) -> list[Any]:
    return [value for name, value in looks.items() if name.startswith("frame ")]


def _kind(reason: str) -> str:
    """A reason without the names in it."""
    return " ".join(word for word in reason.split() if word.islower() and word.isalpha())[:60] or "a frame failed"


@pytest.fixture(scope="module")
def fresh() -> Iterator[Fresh]:
    server = Fresh("numpy")
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    yield
    if path := os.environ.get("CODE_FIGURES"):
        Path(path).write_text(json.dumps(dict(FIGURES.most_common()), indent=1))


@pytest.mark.parametrize("name", PROJECTS)
def test_random_edits_of_a_project(live: Live, fresh: Fresh, name: str) -> None:
    run = Run(live, fresh, PROJECTS[name], f"{name} {SEED}")
    run.steps(EDITS)


@pytest.fixture(scope="module")
def fresh_torch() -> Iterator[Fresh]:
    server = Fresh("numpy", "torch", "cv2", "pydantic", "runner.live.pipelines")
    yield server
    server.close()


@pytest.mark.parametrize("name", SAMPLES)
def test_random_edits_of_a_sample_pipeline(live: Live, fresh_torch: Fresh, name: str) -> None:
    torch, cv2 = pytest.importorskip("torch"), pytest.importorskip("cv2")
    package = pytest.importorskip("ai_runner_samples")
    folder = Path(package.__file__).parent / name
    files = {f"sample/{path.name}": path.read_text() for path in sorted(folder.glob("*.py"))}
    entry = {"edges": "Edges", "posterize": "posterize", "cartoon": "Cartoon", "flow_trails": "FlowTrails"}[name]
    threads = torch.get_num_threads(), cv2.getNumThreads()
    single_threaded()
    try:
        project = Project(f"sample.pipeline:{entry}", files)
        run = Run(live, fresh_torch, project, f"{name} {SEED}")
        run.steps(EDITS // 3)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
    shutil.rmtree(live.folder)
