"""The command lines that builders and runtimes are given."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ai_runner_studio.errors import EngineError, UsageError
from ai_runner_studio.export import containers_storage
from ai_runner_studio.export.build import check_tag
from ai_runner_studio.export.containers_storage import Buildah, Kernel, Podman, Store
from ai_runner_studio.export.docker import Docker
from ai_runner_studio.export.engine import BuildRequest, installed, located
from ai_runner_studio.export.image_export import ExportOptions
from ai_runner_studio.export.runtime import ContainerRequest

ORDINARY = Kernel(raises_limits=True, unified_cgroups=True, systemd=True)
CONFINED = Kernel(raises_limits=False, unified_cgroups=False, systemd=False)
REQUEST = BuildRequest(context=Path("/ctx"), build_args=("A=1",), local_base=True, network=False)
CONTAINER = ContainerRequest(
    image="i", name="n", network="none", environment={"MODEL_ID": "glow"}, mounts=((Path("/m"), "/models"),), gpu=0
)


@pytest.fixture(autouse=True)
def _runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are there, wherever the tests run."""
    monkeypatch.setattr(containers_storage, "located", lambda name: f"/usr/sbin/{name}")


def buildah(kernel: Kernel, driver: str = "overlay") -> Buildah:
    return Buildah("buildah", Store(), kernel, driver)


class TestBuilding:
    def test_steps_run_in_containers_where_that_can_be(self) -> None:
        command = buildah(ORDINARY).build_command(REQUEST, Path("id"))
        assert command == (
            [
                "buildah",
                "build",
                "--format",
                "docker",
                "--layers",
                "--network",
                "none",
                "--pull-never",
                "--timestamp",
                "315532800",
                "--build-arg",
                "A=1",
                "/ctx",
            ]
        )

    def test_else_behind_a_chroot(self) -> None:
        assert "--isolation chroot" in " ".join(buildah(CONFINED).build_command(REQUEST, Path("id")))

    def test_unless_the_user_says_how(self) -> None:
        asked = replace(REQUEST, engine_args=("--isolation=rootless",))
        assert "chroot" not in " ".join(buildah(CONFINED).build_command(asked, Path("id")))

    @pytest.mark.parametrize(("buildx", "verb"), [(True, "buildx build --load"), (False, "build")])
    def test_docker_builds_with_buildkit(self, buildx: bool, verb: str) -> None:
        docker = Docker("docker", buildx=buildx)
        asked = replace(REQUEST, platform="linux/arm64", no_cache=True)
        command = " ".join(docker.build_command(asked, Path("id")))
        assert command == (
            f"docker {verb} --progress plain --iidfile id --no-cache --platform linux/arm64 --network none "
            "--build-arg SOURCE_DATE_EPOCH=315532800 --build-arg A=1 /ctx"
        )
        assert docker.environment == {"DOCKER_BUILDKIT": "1"}

    def test_a_store_of_its_own_has_a_short_place_for_what_runs(self) -> None:
        store = Store(Path("/tmp/a"))
        assert store.options == ["--root", "/tmp/a/graph", "--runroot", "/tmp/a/run", "--storage-driver", "overlay"]
        assert len(str(Store(Path("/tmp") / ("a" * 90)).run_folder)) <= 50

    def test_vfs_is_warned_of(self) -> None:
        assert buildah(ORDINARY).warnings == []
        assert "--image-store" in buildah(ORDINARY, "vfs").warnings[0]


class TestWhatRunsContainers:
    @pytest.mark.parametrize(
        ("kernel", "there", "runs"),
        [
            (ORDINARY, ("crun", "runc"), "crun"),
            (ORDINARY, ("runc",), "runc"),
            (CONFINED, ("crun", "runc"), "runc"),
            (CONFINED, ("crun",), None),
            (ORDINARY, (), None),
        ],
    )
    def test_is_the_first_that_is_installed_and_fits_the_kernel(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: Kernel, there: tuple[str, ...], runs: str | None
    ) -> None:
        for name in there:
            (tmp_path / name).touch(mode=0o755)
        monkeypatch.setattr(containers_storage, "located", lambda name: shutil.which(name, path=str(tmp_path)))
        podman = Podman("podman", Store(), kernel, "overlay")
        assert podman.oci_runtime == (str(tmp_path / runs) if runs else None)
        assert ("--runtime" in podman.program) is bool(runs)
        assert bool(podman.why_it_cannot_run) is not bool(runs)
        assert ("chroot" in podman.build_command(REQUEST, Path("id"))) is (runs is None or kernel is CONFINED)

    def test_a_program_that_is_missing_is_none_and_one_that_is_needed_an_error(self) -> None:
        assert located("no-such-program") is None
        with pytest.raises(EngineError, match="no-such-program is not installed"):
            installed("no-such-program")


class TestRunning:
    def test_as_an_orchestrator_does(self) -> None:
        command = Docker("docker", buildx=True).run_command(CONTAINER, detached=True)
        assert " ".join(command) == (
            "docker run --detach --name n --network none --gpus device=0 --env MODEL_ID=glow --volume /m:/models:ro i"
        )

    def test_podman_gets_what_a_confined_machine_needs(self) -> None:
        command = " ".join(Podman("podman", Store(), CONFINED, "overlay").run_command(CONTAINER, detached=True))
        for flag in ("--cgroup-manager cgroupfs", "--runtime /usr/sbin/runc", "--ulimit nofile=", "--ulimit nproc="):
            assert flag in command
        assert "--device nvidia.com/gpu=0" in command

    def test_and_nothing_of_it_elsewhere(self) -> None:
        command = " ".join(Podman("podman", Store(), ORDINARY, "overlay").run_command(CONTAINER, detached=True))
        assert "ulimit" not in command
        assert "cgroupfs" not in command


class TestWhatIsAskedFor:
    @pytest.mark.parametrize("tag", ["glow", "glow:1.0", "r.example:5000/a/glow_x:v1", "localhost/glow:1.0-a"])
    def test_names_that_engines_take(self, tag: str) -> None:
        assert check_tag(tag) == tag

    @pytest.mark.parametrize("tag", ["", "Glow", "glow:", "glow:a b", "-x", "glow@sha256:ab", "r.example/", "a//b"])
    def test_names_that_none_takes(self, tag: str) -> None:
        with pytest.raises(UsageError, match="is no name for an image"):
            check_tag(tag)

    def test_a_push_needs_a_name(self) -> None:
        with pytest.raises(UsageError, match="--push needs to know where to"):
            ExportOptions(push=True).checked()

    def test_a_build_argument_needs_a_value(self) -> None:
        with pytest.raises(UsageError, match="--build-arg 'A' gives no value"):
            ExportOptions(build_args=("A",)).checked()
