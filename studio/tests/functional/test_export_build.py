"""An image is really built and really run: no Docker daemon, no image hub, a base of Debian's packages."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ai_runner_studio.errors import BuildError, EngineError, UsageError
from ai_runner_studio.export.build import BuiltImage, ImageBuild
from ai_runner_studio.export.build_progress import BuildProgress
from ai_runner_studio.export.engine import BuildRequest
from ai_runner_studio.export.engines import find_builder
from ai_runner_studio.export.killed_runs import remove_killed_runs
from ai_runner_studio.export.plan import EPOCH_S

from .image_base import PYTHONS, codename, why_not
from .image_tools import BASE, ImageStore, image_store, mounts_below, processes_with

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.timeout(900),  # the first test makes the base image and installs torch
    pytest.mark.slow,
]

PARAMS = """
from pydantic import Field

from runner.live.pipelines import BaseParams


class GlowParams(BaseParams):
    red: float = Field(default=1.0, ge=0.0, le=2.0)
"""
PIPELINE = """
import contextlib
from pathlib import Path

import torch

from .params import GlowParams

with contextlib.suppress(FileNotFoundError):  # a name that only a run finds out
    (Path(__file__).parents[1] / ("ga" + "ins.txt")).read_text()

GAINS = (1.0, 1.0)


class Glow:
    def transform(self, frame: torch.Tensor, params: GlowParams) -> torch.Tensor:
        return frame * torch.tensor([params.red, *GAINS])
"""
SETTINGS = """
[tool.ai-runner-studio]
pipeline-import = "glow.pipeline:Glow"
params-import = "glow.params:GlowParams"
"""
# Builds in a store and a context, and notes its engine as an export does.
BUILD = """
import asyncio, sys
from pathlib import Path
from ai_runner_studio.export.build import ImageBuild
from ai_runner_studio.export.engine import BuildRequest
from ai_runner_studio.export.engines import find_builder
from ai_runner_studio.export.run_record import own_record

async def main(store, context):
    engine = await find_builder("buildah", store)
    own_record().note(engines=(tuple(engine.program),))
    request = BuildRequest(context=context, local_base=True)
    await ImageBuild(engine, request, ("killed:1",), context / "log").run()

asyncio.run(main(*map(Path, sys.argv[1:])))
"""
SECRET = "planted-secret-7f3a9c"


class Exporting:
    """A project, a store, and the command."""

    def __init__(self, folder: Path, store: ImageStore, tag: str = "glow:test") -> None:
        self.tag = tag
        self.project = folder / "developers-own-project"
        self.report = folder / "report"
        self.context = folder / "context"
        self.store = store
        package = self.project / "glow"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "params.py").write_text(PARAMS)
        (package / "pipeline.py").write_text(PIPELINE)
        (self.project / "pyproject.toml").write_text(SETTINGS)
        (self.project / ".env").write_text(f"HF_TOKEN={SECRET}\n")
        (self.project / "notes.txt").write_text(SECRET)
        (self.project / "gains.txt").write_text("1 1")
        self.said = ""

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """``export-image``, with what every call here needs."""
        command = [sys.executable, "-m", "ai_runner_studio", "export-image", "--offline", "--base", BASE]
        command += ["--python-version", PYTHONS[codename()], "--builder", "buildah", "--tag", self.tag]
        command += [
            "--image-store",
            str(self.store.folder),
            "--report",
            str(self.report),
            "--output",
            str(self.context),
        ]
        command += ["--verify-input", "pattern:128x128@5", "--verify-seconds", "4"]
        return subprocess.run(
            [*command, *flags],
            cwd=self.project,
            env=os.environ | {"HF_TOKEN": SECRET, "AI_RUNNER_TEST_KEY": SECRET, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            umask=0o022,
            timeout=800,
        )

    @property
    def verification(self) -> dict[str, object]:
        return dict(json.loads((self.report / "verification.json").read_text()))

    @property
    def checks(self) -> dict[str, bool]:
        return {check["name"]: check["ok"] for check in self.verification["checks"]}  # type: ignore[attr-defined]

    @property
    def log(self) -> str:
        return (self.report / "build.log").read_text()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageStore]:
    with image_store(tmp_path_factory.mktemp("images") / "store") as made:
        made.add_base()
        yield made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, store: ImageStore) -> Exporting:
    """An image of the project as it was at first; built and verified."""
    exporting = Exporting(tmp_path_factory.mktemp("export"), store)
    done = exporting.run()
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    exporting.said = done.stderr
    return exporting


class TestAnImage:
    def test_passes_what_an_orchestrator_does_with_it(self, exported: Exporting) -> None:
        wanted = ["health", "port", "answers", "stream", "pictures", "params", "errors", "end", "same"]
        assert exported.checks == dict.fromkeys(wanted, True)
        assert "localhost/glow:test" in exported.store.names

    def test_what_it_lacks_of_the_project_is_told_before_it_is_built(self, exported: Exporting) -> None:
        warning = "warning: the pipeline opens gains.txt here, and the image lacks it (outside of the package)"
        told = exported.said.index(f"{warning}; --include gains.txt takes it in")
        assert told < exported.said.index("[1/")

    def test_is_measured_beside_the_run_on_this_machine(self, exported: Exporting) -> None:
        told = exported.verification
        for side in ("container", "local"):
            figures = told[side]
            assert figures["healthy_s"] > 0  # type: ignore[index]
            assert figures["latency_ms"]["p50"] > 0  # type: ignore[index]
        sizes = {layer["name"]: layer["size_bytes"] for layer in told["layers"]}  # type: ignore[attr-defined]
        assert list(sizes) == ["base", "environment", "torch", "dependencies", "runner", "application"]
        assert sizes["torch"] > sizes["runner"] > sizes["application"] > 0
        assert told["size_bytes"] == sum(sizes.values())

    def test_tells_what_it_is_made_of(self, exported: Exporting) -> None:
        bill = json.loads((exported.report / "sbom.cdx.json").read_text())
        parts = {part["name"]: part for part in bill["components"]}
        assert {"torch", "ai-runner-base", "numpy", "libc6"} <= set(parts)
        assert parts["pydantic"]["purl"].startswith("pkg:pypi/pydantic@")
        assert len(parts["torch"]["hashes"][0]["content"]) == 64
        references = {part["bom-ref"] for part in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
        assert {each["ref"] for each in bill["dependencies"]} <= references
        assert "  torch 2" in (exported.report / "licences.txt").read_text()

    def test_holds_nothing_of_the_developers(self, exported: Exporting, tmp_path: Path) -> None:
        patterns = tmp_path / "patterns"
        # The project's folder, the environment's, the image store's, and what was planted.
        patterns.write_text("\n".join([SECRET, str(exported.project), sys.prefix, str(exported.store.folder)]) + "\n")
        image = exported.verification["image"]
        said = exported.store.podman("image", "inspect", str(image)) + exported.store.podman(
            "history", "--no-trunc", str(image)
        )
        texts = said.split('"GraphDriver"')[0], said.split('"RootFS"')[-1]  # between them is where this store keeps it
        for forbidden in patterns.read_text().split():
            assert all(forbidden not in text for text in texts)
        mounted = exported.store.podman("image", "mount", str(image))
        try:
            for place in (mounted, str(exported.context)):
                found = subprocess.run(["grep", "-rlaFf", str(patterns), place], capture_output=True, text=True)
                assert (found.returncode, found.stdout) == (1, ""), found.stderr
            assert (Path(mounted) / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 0
        finally:
            exported.store.podman("image", "unmount", str(image))

    def test_has_files_that_the_next_build_makes_alike(self, exported: Exporting) -> None:
        image = str(exported.verification["image"])
        mounted = Path(exported.store.podman("image", "mount", image))
        try:
            found = [path for path in (mounted / "opt").rglob("*") if not path.is_symlink()]
            assert {path.stat().st_mtime for path in found} == {EPOCH_S}
            assert [path for path in found if path.stat().st_mode & 0o022] == []
            assert not (mounted / "opt/venv/.lock").exists()
            assert [path for path in found if path.name == "uv_cache.json"] == []
            flags = {path.read_bytes()[4] for path in found if path.suffix == ".pyc"}
            assert flags == {0b11}  # by hash, checked
        finally:
            exported.store.podman("image", "unmount", image)
        assert exported.store.podman("image", "inspect", "--format", "{{.Created.Unix}}", image) == str(EPOCH_S)

    def test_leaves_no_container_and_no_process(self, exported: Exporting) -> None:
        assert exported.store.containers == []
        assert processes_with(str(exported.store.folder)) == []


def test_changed_code_is_in_the_next_image_and_what_does_not_pass_is_named(exported: Exporting, tmp_path: Path) -> None:
    changed = Exporting(tmp_path, exported.store, tag="glow:changed")
    pipeline = changed.project / "glow" / "pipeline.py"
    pipeline.write_text(PIPELINE.replace("GAINS = (1.0, 1.0)", "GAINS = (0.0, 0.5)"))
    settings = changed.project / "pyproject.toml"
    settings.write_text(SETTINGS + '[tool.ai-runner-studio.image.env]\nHOST = "127.0.0.1"\n')
    done = changed.run()
    # Only loopback is listened on: no orchestrator would reach it.
    assert done.returncode == 1, done.stderr
    assert (
        "error: the image glow:changed was built, but does not pass: port: 8000 is open on loopback alone"
        in done.stderr
    )
    # All else passes; the pictures are those of the new code, which the run on this machine had.
    assert [name for name, ok in changed.checks.items() if not ok] == ["port"]
    assert changed.checks["same"]
    assert changed.verification["image"] != exported.verification["image"]
    # Nothing but the last layer was made again.
    assert changed.log.count("Using cache") >= 9
    installed = [line for line in changed.log.splitlines() if line.startswith("STEP") and "uv pip install" in line]
    assert len(installed) == 4
    assert changed.store.containers == []
    # Exit code 1: nothing in the place of --output.
    assert not changed.context.exists()


class TestBuilds:
    """Small ones, for what can go wrong."""

    @staticmethod
    async def build(store: ImageStore, folder: Path, dockerfile: str, tag: str = "localhost/small:1") -> BuiltImage:
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        request = BuildRequest(context=folder, local_base=True, network=False)
        engine = await find_builder("buildah", store.folder)
        return await ImageBuild(engine, request, (tag,), folder.parent / "log").run()

    async def test_a_step_that_fails_is_named_with_what_it_said(self, store: ImageStore, tmp_path: Path) -> None:
        dockerfile = f"FROM {BASE}\nENV A=1\nRUN echo the reason >&2; exit 3\n"
        with pytest.raises(BuildError, match=r"failed at step 3 of 3 \(RUN echo the reason.*\): the reason") as failure:
            await self.build(store, tmp_path / "context", dockerfile)
        assert str(tmp_path / "log") in failure.value.hint
        assert "localhost/small:1" not in store.names
        assert store.containers == []

    async def test_a_base_image_that_is_not_there_is_told_at_once(self, store: ImageStore, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match="the base image is not there") as failure:
            await self.build(store, tmp_path / "context", "FROM localhost/nothing:1\nRUN true\n")
        assert "--base" in failure.value.hint

    @pytest.mark.parametrize("wanted", ["glow-pipeline==0.0.1", "numpy==1.0"])
    async def test_a_dependency_that_cannot_be_installed_is_named(
        self, store: ImageStore, exported: Exporting, tmp_path: Path, wanted: str
    ) -> None:
        name = wanted.partition("=")[0]
        with pytest.raises(BuildError, match=rf"{name}\S* is in none of the places that the step installs from"):
            await self.install(store, exported, tmp_path, f"{wanted} --hash=sha256:{'a' * 64}")

    async def test_a_wheel_that_is_not_the_pinned_one_is_named(
        self, store: ImageStore, exported: Exporting, tmp_path: Path
    ) -> None:
        wanted = (exported.context / "req" / "30-runner.txt").read_text().split(" ")[0]
        with pytest.raises(BuildError, match="hash mismatch") as failure:
            await self.install(store, exported, tmp_path, f"{wanted} --hash=sha256:{'a' * 64}")
        assert "ai-runner-base" in str(failure.value)

    async def install(self, store: ImageStore, exported: Exporting, tmp_path: Path, line: str) -> None:
        """Install one line by the context's own uv."""
        context = tmp_path / "context"
        context.mkdir()
        for name in ("tools", "pkgs"):
            (context / name).mkdir()
            for file in (exported.context / name).iterdir():
                os.link(file, context / name / file.name)
        (context / "r.txt").write_text(line + "\n")
        await self.build(
            store,
            context,
            f"FROM {BASE}\nCOPY r.txt /r.txt\n"
            "RUN --mount=type=bind,source=tools,target=/ctx/tools --mount=type=bind,source=pkgs,target=/ctx/pkgs "
            "/ctx/tools/uv venv -q /v && /ctx/tools/uv pip install -q --python /v/bin/python --offline --no-index "
            "--no-deps --require-hashes --only-binary :all: --find-links /ctx/pkgs -r /r.txt\n",
        )

    async def test_ending_it_leaves_no_name_no_container_and_no_process(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        began = asyncio.Event()
        context = tmp_path / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM {BASE}\nENV A=2\nRUN true\nRUN echo begun; exec sleep 86399\n")

        def show(progress: BuildProgress) -> None:
            if "sleep" in progress.instruction:
                began.set()

        engine = await find_builder("buildah", store.folder)
        request = BuildRequest(context=context, local_base=True, no_cache=True)  # all steps in one container
        building = asyncio.create_task(ImageBuild(engine, request, ("half:1",), tmp_path / "log", show).run())
        await asyncio.wait_for(began.wait(), 120)
        while not processes_with("sleep 86399"):
            await asyncio.sleep(0.05)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        assert "localhost/half:1" not in store.names
        assert store.containers == []
        assert [each for each in processes_with("sleep 86399") if "buildah" not in each] == []
        assert processes_with(str(context)) == []

    async def test_what_a_killed_export_leaves_is_removed_by_the_next_one(
        self, store: ImageStore, tmp_path: Path
    ) -> None:
        (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nENV A=3\nRUN true\nRUN exec sleep 86398\n")
        theirs = store.buildah("from", BASE)  # of the user's, from the same image
        environ = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
        command = [sys.executable, "-c", BUILD, str(store.folder), str(tmp_path)]
        with subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL) as export:
            records = tmp_path / "state/ai-runner-studio/exports"
            until = time.monotonic() + 120
            noted = 0
            while not (processes_with("sleep 86398") and noted == len(store.containers) - 1):
                noted = sum(
                    len(json.loads(path.read_text() or "{}").get("containers", ())) for path in records.glob("*")
                )
                assert export.poll() is None
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
            export.kill()
        try:
            assert processes_with("sleep 86398")  # the builder goes on
            builder = await find_builder("buildah", store.folder)
            assert await remove_killed_runs(builder, None, records) == 1
            assert len(store.containers) == 1  # theirs
            assert processes_with("sleep 86398") == []
            assert [place for place in mounts_below(store.folder) if place.endswith("/merged")] == []
            assert list(records.iterdir()) == []
        finally:
            store.buildah("rm", theirs)

    async def test_a_full_disk_is_told(self, tmp_path: Path) -> None:
        disk, context = tmp_path / "disk", tmp_path / "context"
        disk.mkdir()
        context.mkdir()
        (context / "big").write_bytes(os.urandom(12_000_000))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True)
        if mounted.returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            with (
                image_store(disk / "store") as small,
                pytest.raises(BuildError, match="the disk of the image store is full") as failure,
            ):
                await self.build(small, context, "FROM scratch\nCOPY big /big\n")
            assert "--image-store" in failure.value.hint
            assert mounts_below(disk) == []
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    async def test_a_registry_that_cannot_be_reached_is_told(self, store: ImageStore, tmp_path: Path) -> None:
        context = tmp_path / "context"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        engine = await find_builder("buildah", store.folder)
        build = ImageBuild(engine, BuildRequest(context=context), ("127.0.0.1:9/small:1",), tmp_path / "log")
        await build.run()
        with pytest.raises(BuildError, match="was built, but not pushed: the registry cannot be reached"):
            await build.push()


class TestWhatCannotBuild:
    async def test_none_installed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(
            EngineError, match="docker is not installed; podman is not installed; buildah is not"
        ) as none:
            await find_builder()
        assert "--output DIR" in none.value.hint

    async def test_a_client_without_its_server(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        client = tmp_path / "docker"
        client.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon at unix:///nowhere. >&2\nexit 1\n")
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        with pytest.raises(EngineError, match=r"docker is installed, but no server answers .*Cannot connect"):
            await find_builder("docker")
        with image_store(tmp_path / "store") as store:
            assert (await find_builder(store=store.folder)).name == "podman"

    async def test_an_unknown_one(self) -> None:
        with pytest.raises(UsageError, match="'kaniko' is no builder"):
            await find_builder("kaniko")

    def test_a_tag_that_no_engine_takes_is_refused_before_anything_is_done(self, tmp_path: Path) -> None:
        exporting = Exporting(tmp_path, ImageStore(tmp_path / "store"))
        done = exporting.run("--tag", "No Such Name")
        assert not exporting.store.folder.exists()
        assert done.returncode == 2
        assert "error: 'No Such Name' is no name for an image" in done.stderr
