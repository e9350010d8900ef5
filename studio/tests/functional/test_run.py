"""``ai-runner-studio run`` with a real host and real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from terminals import children, gone

FRAMES = 36
FPS = 24
GREY = 60
PATIENCE_S = 60.0

INVERT = """
from runner.live.pipelines import BaseParams

class InvertParams(BaseParams):
    amount: float = 1.0

def invert(frame, params: InvertParams):
    return frame + params.amount * (1 - 2 * frame)
"""
BROKEN = """
def transform(frame, params):
    brightness = 2
    return frame * brightnes
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a clip of even grey with a tone, and two pipelines."""
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "effects.py").write_text(INVERT)
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "runner.py").write_text("import an_sdk_that_is_missing\n")  # named like the runtime's package
    return tmp_path


def write_clip(path: Path) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 160, 160, "yuv420p"
        audio = container.add_stream("aac", rate=48_000)
        picture = np.full((160, 160, 3), GREY, np.uint8)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        samples = np.sin(np.arange(48_000 * FRAMES // FPS, dtype=np.float32) / 20)[None] * 0.2
        sound = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 48_000, 0
        container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())


def remux(path: Path, to: Path, **options: str) -> None:
    """The video of a file in another file, with options of the container."""
    with av.open(str(path)) as source, av.open(str(to), "w", options=options) as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.size:
                packet.stream = copy
                target.mux(packet)


def arguments(*more: str) -> list[str]:
    return [sys.executable, "-m", "ai_runner_studio", "run", *more]


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if "_IMPORT" not in key and "AI_RUNNER" not in key}


def run(project: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(*more),
        cwd=project,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def pictures(path: Path) -> list[tuple[float, float]]:
    """Presentation time in seconds and mean level of each picture of a file."""
    with av.open(str(path)) as container:
        return [
            (float(frame.time), float(frame.to_ndarray(format="rgb24").mean())) for frame in container.decode(video=0)
        ]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != "__pycache__"}


class TestWholeFile:
    @pytest.mark.quick
    def test_every_frame_is_written_with_its_time_and_the_report_says_so(self, project: Path) -> None:
        done = run(project, "--pipeline-import", "effects:invert", "-i", "clip.mp4", "-o", "out.mp4", "--json")
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        assert (report["ok"], report["error"]) == (True, None)
        assert (report["frames_in"], report["frames_out"], report["dropped"]) == (FRAMES, FRAMES, {})
        assert report["output"] == str(project / "out.mp4")
        assert report["input"]["frames"] == FRAMES
        assert report["params"]["amount"] == 1.0
        assert report["fps"] > 0
        assert set(report["latency_ms"]) == {"p50", "p95", "p99"}
        assert report["startup"]["host"] > 0
        assert report["loads"][0]["outcome"] == "serving"
        assert report["memory_bytes"] > 0

        before, after = pictures(project / "clip.mp4"), pictures(project / "out.mp4")
        assert [at for at, _ in after] == pytest.approx([at for at, _ in before], abs=0.002)
        assert [level for _, level in after] == pytest.approx([255 - level for _, level in before], abs=4)
        with av.open(str(project / "out.mp4")) as container:
            assert [stream.type for stream in container.streams] == ["video", "audio"]

    def test_an_input_that_was_cut_off_is_reported_with_numbers_and_strict_makes_it_fail(self, project: Path) -> None:
        path = project / "clip.mp4"
        remux(path, project / "cut.mp4", movflags="faststart")
        data = (project / "cut.mp4").read_bytes()
        (project / "cut.mp4").write_bytes(data[:-200])  # frames of even grey are small
        done = run(project, "--pipeline-import", "effects:invert", "-i", "cut.mp4", "-o", "o.mp4", "--json", "--strict")
        report: dict[str, Any] = json.loads(done.stdout)
        missing = FRAMES - report["frames_out"]
        assert 0 < missing < FRAMES
        assert (report["damage"]["missing"], report["damage"]["expected"]) == (missing, FRAMES)
        (warning,) = [warning for warning in report["warnings"] if "the input is damaged" in warning]
        assert f"{missing} of {FRAMES} frames are missing" in warning
        assert (done.returncode, report["ok"], report["error"]["kind"]) == (1, False, "source")
        assert report["error"]["message"] == warning
        assert "o.mp4" not in names(project)

    def test_without_json_a_person_reads_what_was_done(self, project: Path) -> None:
        (project / "pyproject.toml").write_text(
            "[tool.ai-runner-studio]\npipeline-import = 'effects:invert'\ninput = 'clip.mp4'\n"
            "[tool.ai-runner-studio.params]\namount = 0\n"
        )
        (project / "params.json").write_text('{"amuont": 1}')
        done = run(project, "--frames", "5", "-o", "out.mp4", "--params-file", "params.json")
        assert done.returncode == 0, done.stderr
        assert "5 frames in " in done.stdout
        assert "warning: the pipeline has no param 'amuont'" in done.stdout
        assert f"written: {project / 'out.mp4'}" in done.stdout
        assert [level for _, level in pictures(project / "out.mp4")] == pytest.approx([GREY] * 5, abs=4)
        assert "\r" not in done.stderr  # no live line where nobody looks

    def test_a_pipe_is_read_to_its_end(self, project: Path) -> None:
        write_clip(project / "clip.mkv")
        with subprocess.Popen(["cat", project / "clip.mkv"], stdout=subprocess.PIPE) as writer:
            done = subprocess.run(
                arguments("--pipeline-import", "effects:invert", "-i", "/dev/stdin", "--json"),
                cwd=project, env=environment(), stdin=writer.stdout, capture_output=True, text=True,
                timeout=PATIENCE_S, check=False,
            )  # fmt: skip
        assert done.returncode == 0, done.stdout
        report = json.loads(done.stdout)
        assert (report["frames_in"], report["frames_out"], report["dropped"]) == (FRAMES, FRAMES, {})

    def test_realtime_ends_after_the_duration(self, project: Path) -> None:
        done = run(
            project,
            "--pipeline-import",
            "effects:invert",
            "-i",
            "clip.mp4",
            "--realtime",
            "--duration",
            "0.5",
            "--json",
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["ok"]
        assert report["output"] is None
        assert 0 < report["frames_out"] <= FPS // 2 + 1


class TestFailure:
    def test_an_exception_on_a_frame_shows_place_and_code_and_leaves_no_file(self, project: Path) -> None:
        before = names(project)
        done = run(project, "--pipeline-import", "broken:transform", "-i", "clip.mp4", "-o", "out.mp4")
        assert done.returncode == 1
        assert done.stdout == ""
        assert "NameError" in done.stderr
        assert f"{project / 'broken.py'}:4, in transform" in done.stderr
        assert ">    4 |     return frame * brightnes" in done.stderr
        assert "Traceback" not in done.stderr
        assert names(project) == before

    def test_a_file_that_was_there_survives_a_failure(self, project: Path) -> None:
        (project / "out.mp4").write_text("precious")
        assert run(project, "--pipeline-import", "broken:transform", "-i", "clip.mp4", "-o", "out.mp4").returncode == 1
        assert (project / "out.mp4").read_text() == "precious"

    def test_with_json_the_report_of_a_failure_is_all_on_stdout(self, project: Path) -> None:
        (project / "typo.py").write_text("def transform(frame, params)\n    return frame\n")
        done = run(project, "--pipeline-import", "typo:transform", "-i", "clip.mp4", "--json")
        assert done.returncode == 1
        report = json.loads(done.stdout)
        assert report["ok"] is False
        assert (report["error"]["kind"], report["error"]["exit_code"]) == ("pipeline", 1)
        told = report["error"]["report"]
        assert (told["kind"], told["file"], told["line"]) == ("SyntaxError", str(project / "typo.py"), 1)
        assert report["loads"][0]["outcome"] == "failed"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
class TestInterruption:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_ends_it_without_a_trace(self, project: Path, number: int, code: int) -> None:
        before = names(project)
        process = subprocess.Popen(
            arguments(
                "--pipeline-import", "effects:invert", "-i", "clip.mp4", "-o", "out.mp4",
                "--realtime", "--loop", "--duration", "600", "--json",
            ),
            cwd=project, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.startswith("running") or " frames" in line:
                    break
            descendants = children(process.pid)
            process.send_signal(number)
            said, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == code
        report = json.loads(said)
        assert (report["error"]["kind"], report["error"]["exit_code"]) == ("interrupted", code)
        assert names(project) == before
        assert descendants
        assert gone(descendants)


class TestSurroundings:
    def test_closed_standard_streams_do_not_matter(self, project: Path) -> None:
        command = arguments("--pipeline-import", "effects:invert", "-i", "clip.mp4", "-o", "out.mp4")
        closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
        done = subprocess.run(closed, cwd=project, env=environment(), timeout=PATIENCE_S, check=False)
        assert done.returncode == 0
        assert len(pictures(project / "out.mp4")) == FRAMES

    def test_a_module_named_like_one_of_the_standard_library_is_named(self, project: Path) -> None:
        (project / "queue.py").write_text(INVERT)
        (project / "select.py").write_text("")
        # As the command itself, because `python -m` would import the modules of the working directory.
        command = [str(Path(sys.executable).with_name("ai-runner-studio")), "run", "--pipeline-import", "queue:invert"]
        command += ["-i", "clip.mp4"]
        done = subprocess.run(
            command, cwd=project, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 1
        assert f"{project / 'queue.py'} has the name of a module of Python's standard library" in done.stderr
