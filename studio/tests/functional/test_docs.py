"""What the documentation says is tried: examples run, flags exist, tables are complete, links lead somewhere.

How blocks are marked, in the line that opens them:

    ```python file=pkg/module.py                        written into a project folder, one for all pages
    ```python file=... pipeline=module:Name             and that pipeline is loaded and given frames
    ```python file=... pipeline=... params=module:Name  and its params class is loaded as a host would
    ```console run exit=1                               its commands (lines of `$ `, continued by `> `) are run in that
                                                        folder; the last exits so (0 without it); the other lines
                                                        are printed in that order, `...` standing for anything and
                                                        a line's end for any white space

A Python block without a mark must compile. docs/external-pipelines.md has a test of its own, of which its other marks are.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "runner/*.md", "studio/*.md", "pipelines/*/*.md")
    for path in ROOT.glob(pattern)
)
PATIENCE_S = 100  # an export asks the package index for hashes

_BLOCK = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_VARIABLE = re.compile(r"(?<![\w-])(?:TRICKLE|LIVE_RUNNER)(?:_[A-Z]+)*\b(?!_)")
# Of curl, pip and the builders of images, where a page tells of them.
OTHERS_FLAGS = "--json --unix-socket --no-deps --format --isolation --network --pull-never --timestamp"

# Loads each pipeline given as an argument, feeds it as the runner would, and looks at what comes back.
DRIVER = """
import asyncio, sys
from fractions import Fraction

import torch

from runner.live.pipelines import PipelineSpec
from runner.live.pipelines.loader import load_params_class, load_pipeline_class
from runner.live.process.tensor import check_output, range_warning
from runner.live.trickle import VideoFrame

async def drive(path):
    pipeline = load_pipeline_class(path)()
    await pipeline.initialize()
    for number in range(4):
        await pipeline.put_video_frame(VideoFrame(torch.rand(1, 64, 48, 3), number * 3000, Fraction(1, 90_000)), "r")
    for _ in range(4):
        output = await asyncio.wait_for(pipeline.get_processed_video_frame(), 60)
        assert check_output(output.tensor) == (48, 64), path
        assert not range_warning(output.tensor), path
        assert output.request_id == "r", path
    await pipeline.stop()

sys.path.insert(0, ".")
for argument in sys.argv[1:]:
    path, _, params = argument.partition(" ")
    if params:
        load_params_class(PipelineSpec(pipeline_cls=path, params_cls=params))
    asyncio.run(drive(path))
    print(path)
"""


@dataclass(frozen=True)
class Block:
    """One fenced block. `marks`: what follows the language, ``key=value`` or ``key``."""

    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)


def blocks(page: str, *languages: str) -> list[Block]:
    found = []
    for language, marks, text in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        pairs = (mark.partition("=") for mark in marks.split())
        found.append(Block(language, text, {key: value for key, _, value in pairs}))
    return [block for block in found if not languages or block.language in languages]


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AI_RUNNER_STUDIO_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages say."""
    folder = tmp_path_factory.mktemp("project")
    for block in (block for page in PAGES for block in blocks(page, "python")):
        if "file" in block.marks:
            path = folder / block.marks["file"]
            assert not path.exists(), f"two blocks are called {block.marks['file']}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    return folder


# ---- examples ------------------------------------------------------------------------------------


def test_example_pipelines_load_and_give_valid_frames(project: Path) -> None:
    marks = [block.marks for page in PAGES for block in blocks(page, "python") if "pipeline" in block.marks]
    assert len(marks) > 5
    asked = [f"{mark['pipeline']} {mark.get('params', '')}".strip() for mark in marks]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *asked],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [mark["pipeline"] for mark in marks]


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_compile(page: str) -> None:
    compiled = [compile(block.text, page, "exec") for block in blocks(page, "python")]
    assert all(code.co_code for code in compiled)


RUNNABLE = [(page, block) for page in PAGES for block in blocks(page, "console") if "run" in block.marks]


@pytest.mark.parametrize("block", [pytest.param(block, id=page) for page, block in RUNNABLE])
def test_console_blocks_do_what_they_show(block: Block, project: Path) -> None:
    lines = block.text.splitlines()
    script = "\n".join(line[2:] for line in lines if line.startswith(("$ ", "> ")))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        env=environment() | {"XDG_CACHE_HOME": str(project / ".cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == int(block.marks.get("exit", 0)), f"{script}\n{done.stdout}"
    expected = " ".join(line for line in lines if not line.startswith(("$ ", "> "))).split()
    pattern = r"\s+".join(re.escape(word).replace(r"\.\.\.", ".*?") for word in expected)
    assert re.search(pattern, done.stdout), f"{script}\ndoes not print {expected}:\n{done.stdout}"


def test_settings_example_is_accepted(tmp_path: Path) -> None:
    from ai_runner_studio.export.image_settings import image_settings
    from ai_runner_studio.settings_file import find_settings_file
    from ai_runner_studio.settings_load import gather

    examples = [block for page in PAGES for block in blocks(page, "toml") if "tool.ai-runner-studio" in block.text]
    assert examples
    for block in examples:
        (tmp_path / "pyproject.toml").write_text(block.text, encoding="utf-8")
        found = find_settings_file(tmp_path)
        assert found is not None
        assert found.values
        if "image" in found.values:
            assert image_settings(gather({}, {}, tmp_path), {}, {}).name


# ---- the host's API ------------------------------------------------------------------------------


@pytest.fixture
def api(tmp_path: Path) -> Iterator[httpx.Client]:
    """A runner host with the pass-through, on the Unix socket that the page takes."""
    path = tmp_path / "host.sock"
    command = [sys.executable, "-m", "runner.live.infer", "--pipeline", "noop", "--http-socket", str(path)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["listening"] == f"unix:{path}"
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://host", timeout=PATIENCE_S) as client:
            wait_until_loaded(client)
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def wait_until_loaded(client: httpx.Client) -> None:
    until = time.monotonic() + PATIENCE_S
    while client.get("/api/status").json()["state"] == "LOADING":
        assert time.monotonic() < until, "the pipeline does not load"
        time.sleep(0.1)


def curl_requests(page: str) -> list[tuple[str, str, Any]]:
    """(method, path, body) of every curl command of a page."""
    found = []
    for block in blocks(page, "sh"):
        for words in map(shlex.split, block.text.splitlines()):
            if words[:1] == ["curl"]:
                body = json.loads(words[words.index("--json") + 1]) if "--json" in words else None
                method = words[words.index("-X") + 1] if "-X" in words else "GET" if body is None else "POST"
                found.append((method, words[-1].removeprefix("http://host"), body))
    return found


def test_every_curl_example_is_answered(api: httpx.Client) -> None:
    requests = curl_requests("docs/host-api.md")
    assert len(requests) >= 8
    for method, path, body in requests:
        with api.stream(method, path, json=body) as answer:
            assert answer.status_code == 200, (method, path, answer.read())
            if path == "/api/events":
                first = next(answer.iter_lines())
                assert json.loads(first.removeprefix("data: "))["type"] == "HostStarted"


def test_every_event_and_every_key_of_the_report_is_described() -> None:
    from ai_runner_studio.run_report import RunError, RunInput, RunReport, RunRoute
    from runner.live.events import Event

    host_page, run_page = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/host-api.md", "docs/run.md"))
    assert [event.__name__ for event in get_args(Event) if f"`{event.__name__}`" not in host_page] == []
    report = json.loads(RunReport(pipeline="", input=RunInput("")).as_json())
    keys = [*report, *asdict(RunInput("")), *asdict(RunError("host", "")), *asdict(RunRoute())]
    assert [key for key in keys if f"`{key}`" not in run_page] == []


def test_every_metric_is_described(api: httpx.Client) -> None:
    page = (ROOT / "docs/host-api.md").read_text(encoding="utf-8")
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", api.get("/metrics").text, re.MULTILINE)
    assert len(kinds) > 10
    assert [name for name, _ in kinds if f"`{name}" not in page] == []


def test_every_reason_to_drop_a_frame_is_described() -> None:
    page = (ROOT / "docs/run.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "runner/src/runner/live").rglob("*.py")]
    counted = r'(?:dropped\[|statistics\.drop\(|self\._drop\(|board\.drop\()"([^"]+)"'
    reasons = {reason for text in sources for reason in re.findall(counted, text) if "sound" not in reason}
    assert len(reasons) > 10
    assert sorted(reason for reason in reasons if f"`{reason}`" not in page) == []


# ---- flags, settings, keys -----------------------------------------------------------------------


def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout


def commands(page: str) -> Iterator[str]:
    """Every command line of our programs on a page, in blocks and in running text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    yield from (line for block in blocks(page, "sh", "console") for line in block.text.splitlines())
    yield from re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text))


def test_every_flag_exists() -> None:
    studio, run, host = help_of("ai_runner_studio"), help_of("ai_runner_studio", "run"), help_of("runner.live.infer")
    relay, served = help_of("ai_runner_studio", "relay"), help_of("runner.main")
    export = help_of("ai_runner_studio", "export-image")
    runners_json = help_of("runner.live_runner", "runners-json")
    checked = 0
    for page in PAGES:
        for line in commands(page):
            if "runner.live.infer" in line:
                known = host
            elif "runners-json" in line:
                known = runners_json
            elif re.search(r"\b(runner\.main|\w+-runner|my-pipeline)( |$)", line):  # entrypoints
                known = served
            elif "ai-runner-studio run" in line:
                known = run
            elif "ai-runner-studio relay" in line:
                known = relay
            elif "export-image" in line:
                known = export
            elif "ai-runner-studio" in line:
                known = studio
            elif line.startswith("--"):  # a flag by itself; which program's is told around it
                known = studio + run + relay + export + host + served + OTHERS_FLAGS
            else:
                continue
            for flag in _FLAG.findall(line):
                checked += 1
                assert re.search(rf"{flag}\b", known), f"{page}: no flag {flag} in: {line}"
    assert checked > 60
    pages = {"docs/studio.md": studio + run + relay, "docs/host-api.md": host}
    pages["docs/export-image.md docs/shipping.md"] = export
    for name, known in pages.items():
        page = "".join((ROOT / each).read_text(encoding="utf-8") for each in name.split())
        assert sorted(flag for flag in set(_FLAG.findall(known)) if flag not in page and flag != "--help") == [], name


def test_every_variable_exists_and_is_described() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (ROOT / "runner/src/runner").rglob("*.py")}
    read = set(re.findall(rf"""["']({_VARIABLE.pattern})["']""", "\n".join(sources.values())))
    assert len(read) > 12
    named = {page: set(_VARIABLE.findall((ROOT / page).read_text(encoding="utf-8"))) for page in PAGES}
    assert {page: names - read for page, names in named.items() if names - read} == {}
    assert read - set().union(*named.values()) == set()


def test_the_guide_describes_what_entrypoints_read() -> None:
    page = (ROOT / "docs/external-pipelines.md").read_text(encoding="utf-8")
    told = help_of("runner.main").partition("environment:")[2]
    variables = re.findall(r"\b(?!JSON)[A-Z][A-Z_]{3,}\b", told)
    assert len(variables) > 10
    assert [name for name in variables if name not in page] == []
    assert [flag for flag in _FLAG.findall(help_of("runner.main")) if flag not in page and flag != "--version"] == []


def test_every_setting_and_every_key_is_described() -> None:
    from textual.binding import Binding

    from ai_runner_studio.option import OPTIONS
    from ai_runner_studio.tui.app import StudioApp
    from ai_runner_studio.tui.screens.main import MainScreen

    page = (ROOT / "docs/studio.md").read_text(encoding="utf-8")
    assert [name for name in OPTIONS if f"--{name}" not in page and f"table `{name}`" not in page] == []
    bindings = [one for one in (*StudioApp.BINDINGS, *MainScreen.BINDINGS) if isinstance(one, Binding) and one.show]
    assert len(bindings) > 5
    keys = [binding.key_display or binding.key for binding in bindings]
    assert [key for key in keys if f"`{key}`" not in page] == []


# ---- links ---------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """Names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", _BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = _BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for link in _LINK.findall(text):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(path), f"{page}: {link}"


def test_architecture_names_files_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("## The nouns")[2].partition("## ")[0]
    sources = {"runner/": ROOT / "runner/src", "studio:": ROOT / "studio/src/ai_runner_studio"}
    named = 0
    for row in table.splitlines():
        cell = row.rpartition(" | ")[2]
        base = sources["studio:"] if "studio:" in cell else sources["runner/"]
        for name in re.findall(r"`(?:studio: )?([^`]+?)`", cell):
            head, brace, names = name.partition("{")
            paths = [f"{head}{each}{names.partition('}')[2]}" for each in names.partition("}")[0].split(",")]
            for path in paths if brace else [name]:
                named += 1
                assert (base / path).exists(), path
    assert named > 25
