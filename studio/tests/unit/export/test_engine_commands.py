"""The command lines that builders and runtimes are given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ai_runner_studio.errors import UsageError
from ai_runner_studio.export import containers_storage
from ai_runner_studio.export.build import check_tag
from ai_runner_studio.export.containers_storage import Buildah, Kernel, Podman, Store
from ai_runner_studio.export.docker import Docker
from ai_runner_studio.export.engine import BuildRequest
from ai_runner_studio.export.image_export import ExportOptions, secrets
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
    monkeypatch.setattr(containers_storage, "installed", lambda name: f"/usr/sbin/{name}")


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
            "--build-arg A=1 /ctx"
        )
        assert docker.environment == {"DOCKER_BUILDKIT": "1"}

    def test_a_store_of_its_own_has_a_short_place_for_what_runs(self) -> None:
        store = Store(Path("/tmp/a"))
        assert store.options == ["--root", "/tmp/a/graph", "--runroot", "/tmp/a/run", "--storage-driver", "overlay"]
        assert len(str(Store(Path("/tmp") / ("a" * 90)).run_folder)) <= 50

    def test_vfs_is_warned_of(self) -> None:
        assert buildah(ORDINARY).warnings == []
        assert "--image-store" in buildah(ORDINARY, "vfs").warnings[0]


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

    def test_index_and_certificates_are_given_as_secrets(self, tmp_path: Path) -> None:
        config, bundle = tmp_path / "pip.conf", tmp_path / "ca.pem"
        config.write_text("[global]\n")
        bundle.write_text("-")
        found = secrets({"PIP_CONFIG_FILE": str(config), "SSL_CERT_FILE": str(bundle)})
        assert found == (f"--secret=id=pip_conf,src={config}", f"--secret=id=ca_bundle,src={bundle}")
