"""What is judged of an image that ran, and what is told of its parts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ai_runner_studio.export.bill_of_materials import Materials
from ai_runner_studio.export.container import Ended, _seconds
from ai_runner_studio.export.containers_storage import Kernel, Podman, Store
from ai_runner_studio.export.local_run import LocalRun, Trial, find_change
from ai_runner_studio.export.runtime import Layer
from ai_runner_studio.export.verification import Figures, cause_of
from ai_runner_studio.export.verify import Subject, Verify, named_layers
from runner.testing.probe_report import GRID, ProbeReport

GREY, WHITE = ("80" * GRID * GRID * 3, "ff" * GRID * GRID * 3)
GOOD = ProbeReport(
    health=[("LOADING", 1.0), ("IDLE", 4.0)],
    answers_at=1.0,
    healthy_at=4.0,
    listens_on_all=True,
    hardware={"model_id": "glow", "gpu_info": {}},
    version={"model_id": "glow"},
    sent=100,
    returned=100,
    pictures={str(number): GREY for number in range(100)},
    changed_at_pts=40,
    effective_at_pts=50,
    params_taken=True,
    idle_after=True,
)


def failed(report: ProbeReport, code: int = 0, alive: bool = True) -> dict[str, str]:
    """Names of the checks that this does not pass, with what is said."""
    trial = Trial(model_id="glow", source="pattern", seconds=1, change={"red": 0.5})
    runtime = Podman("podman", Store(), Kernel(True, True, True), "overlay")
    verify = Verify(runtime, Subject(image="i"), trial, LocalRun(GOOD, 0.0, 1.0))
    figures = Figures(healthy_s=3.0 if report.healthy_at else None)
    verify._judge(report, figures, alive, Ended(code, 1.0))
    verify._compare(report)
    return {check.name: check.said for check in verify._checks if not check.ok}


class TestJudging:
    def test_what_is_like_the_local_run_passes(self) -> None:
        assert failed(GOOD) == {}

    @pytest.mark.parametrize(
        ("change", "names"),
        [
            ({"listens_on_all": False}, ["port"]),
            ({"version": {"model_id": "other"}}, ["answers"]),
            ({"returned": 70}, ["pictures"]),
            ({"params_taken": False}, ["params"]),
            ({"errors": ["out of memory"]}, ["errors"]),
            ({"failure": "the runner refuses the stream, 400: no"}, ["stream"]),
            ({"pictures": dict.fromkeys(GOOD.pictures, WHITE)}, ["same"]),
            ({"healthy_at": None, "failure": "/health says ERROR"}, ["health"]),
        ],
        ids=lambda value: "" if isinstance(value, dict) else "-".join(value),
    )
    def test_what_is_not_is_named(self, change: dict[str, object], names: list[str]) -> None:
        assert list(failed(replace(GOOD, **change))) == names  # type: ignore[arg-type]

    def test_pictures_are_compared_only_where_both_runs_had_the_same_params(self) -> None:
        between = {str(number): WHITE if 40 < number <= 50 else GREY for number in range(100)}
        assert failed(replace(GOOD, pictures=between)) == {}

    @pytest.mark.parametrize(("code", "alive"), [(137, True), (0, False)])
    def test_an_end_that_is_not_in_order(self, code: int, alive: bool) -> None:
        assert "end" in failed(GOOD, code, alive)

    def test_a_report_survives_its_way_as_json(self) -> None:
        there = ProbeReport.from_json(GOOD.to_json())
        assert (there.pictures, there.version, there.effective_at_pts) == (GOOD.pictures, GOOD.version, 50)
        with pytest.raises(ValueError, match="no report"):
            ProbeReport.from_json("[]")


def test_layers_are_named_by_what_they_hold() -> None:
    history = [
        Layer("ADD rootfs.tar /", 100),
        Layer("RUN apt-get install -y python3", 50),
        Layer("ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin", 0),
        Layer("RUN apt-get install -y libgl1", 30),
        Layer("COPY req/10-torch.txt /opt/app/req/10-torch.txt", 1),
        Layer("RUN uv pip install -r /opt/app/req/10-torch.txt", 700),
        Layer("RUN uv pip install -r /opt/app/req/40-application.txt", 2),
        Layer('CMD ["glow"]', 0),
    ]
    named = {layer.name: layer.size_bytes for layer in named_layers(history)}
    assert named == {"base": 150, "environment": 0, "system packages": 30, "torch": 701, "application": 2}


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("2026-11-23T10:00:00.123456789Z", 0.1234568), ("2026-11-23T12:00:00.5+02:00", 0.5), ("2026-11-23T10:00:00Z", 0)],
)
def test_times_of_engines_are_read(text: str, fraction: float) -> None:
    assert _seconds(text) == pytest.approx(1795428000 + fraction, abs=1e-6)


class TestMaterials:
    TOLD = json.dumps(
        {
            "python": "3.11.2",
            "system": "debian 12",
            "components": [
                {"kind": "deb", "name": "libc6", "version": "2.36-9+deb12u9", "architecture": "amd64",
                 "licences": ["LGPL-2.1+", "BSD-3-clause"]},
                {"kind": "python", "name": "My_Pkg", "version": "1.0+cpu", "expression": "MIT", "licence": "",
                 "classifiers": [], "requires": ["numpy"], "home": "https://example.org"},
                {"kind": "python", "name": "numpy", "version": "2.0", "expression": "", "licence": "",
                 "classifiers": ["BSD License"], "requires": [], "home": ""},
            ],
        }
    )  # fmt: skip

    def test_each_part_has_its_package_url(self) -> None:
        purls = [part.purl for part in Materials.from_json(self.TOLD).components]
        assert purls == [
            "pkg:pypi/my-pkg@1.0%2Bcpu",
            "pkg:pypi/numpy@2.0",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64",
        ]

    def test_the_same_image_gives_the_same_bill(self) -> None:
        bills = [Materials.from_json(self.TOLD).cyclonedx("glow", "1", "sha256:ab", {}) for _ in range(2)]
        assert bills[0] == bills[1]
        bill = json.loads(bills[0])
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        needs = {each["ref"]: each.get("dependsOn") for each in bill["dependencies"]}
        assert needs["pkg:pypi/my-pkg@1.0%2Bcpu"] == ["pkg:pypi/numpy@2.0"]

    def test_parts_have_the_hash_that_the_build_asked_for_and_their_licences(self) -> None:
        pins = {"my-pkg": ["sha256:cd"], "numpy": ["sha256:02", "sha256:01"], "libc6": ["sha256:ef"]}
        bill = json.loads(Materials.from_json(self.TOLD).cyclonedx("glow", "1", "sha256:ab", pins))
        assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab"}]
        mine, numpy, libc = bill["components"]
        assert mine["hashes"] == [{"alg": "SHA-256", "content": "cd"}]
        assert "hashes" not in numpy
        assert [each["value"] for each in numpy["properties"]] == ["sha256:01", "sha256:02"]
        assert "hashes" not in libc
        assert libc["licenses"] == [{"license": {"name": "LGPL-2.1+"}}, {"license": {"name": "BSD-3-clause"}}]

    def test_licences_are_listed_with_who_is_under_them(self) -> None:
        listed = Materials.from_json(self.TOLD).licences()
        assert "MIT\n  My_Pkg 1.0+cpu\n" in listed
        assert "BSD License\n  numpy 2.0\n" in listed
        assert listed.endswith("LGPL-2.1+, BSD-3-clause\n  libc6 2.36-9+deb12u9\n")


def test_the_local_run_and_the_image_are_asked_alike() -> None:
    trial = Trial(model_id="glow", source="/clips/a.mp4", seconds=3, params={"red": 1}, change={"red": 0.5})
    here, there = trial.arguments("http://127.0.0.1:1"), trial.arguments("http://127.0.0.1:8000", "/verify/clip.mp4")
    assert [one for one, other in zip(here, there, strict=True) if one != other] == [
        "http://127.0.0.1:1",
        "/clips/a.mp4",
    ]
    assert Path(there[2]) == Path("/verify/clip.mp4")


FAILED = "2026-01-01 00:00:00,000 ERROR pipeline: the pipeline could not be loaded"
GOODBYE = "2026-01-01 00:00:01,000 INFO runner.server: shutting down (SIGTERM)"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        ([f"{FAILED}: FileNotFoundError: lut.bin", GOODBYE], f"{FAILED}: FileNotFoundError: lut.bin"),
        (
            [FAILED, "Traceback (most recent call last):", '  File "a.py"', "KeyError: 'x'", "INFO more", GOODBYE],
            "KeyError: 'x'",
        ),
        ([f"{FAILED}: ValueError: a", GOODBYE, "ERROR loop: CancelledError at the end"], f"{FAILED}: ValueError: a"),
        ([GOODBYE, "ERROR loop: OSError at the end"], "ERROR loop: OSError at the end"),
        (["error: no module 'effect'", GOODBYE], "error: no module 'effect'"),
        (["Fatal Python error: Segmentation fault", "  File x", GOODBYE], "Fatal Python error: Segmentation fault"),
        (["INFO an ErrorHandler is set", "INFO ready", GOODBYE], GOODBYE),
        ([], ""),
    ],
)
def test_the_line_of_a_log_that_says_why_it_failed(log: list[str], cause: str) -> None:
    assert cause_of(log) == cause


async def test_a_change_of_params_is_found_where_the_project_has_files_named_like_ours(tmp_path: Path) -> None:
    (tmp_path / "runner.py").write_text("import an_sdk_that_is_missing\n")
    (tmp_path / "effect.py").write_text("def effect(frame):\n    return 1 - frame\n")
    assert await find_change(sys.executable, tmp_path, "effect:effect", None, {}) is None
