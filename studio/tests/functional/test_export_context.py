"""``export-image`` up to the written context: what is planned, what is written, and that it installs and starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from dockerfile_parse import DockerfileParser
from export_workshop import (
    PATIENCE_S,
    PYTHON,
    Workshop,
    contents,
    loose_project,
    make_workshop,
    packaged_project,
    write,
)

from ai_runner_studio.errors import EngineError
from ai_runner_studio.export.image_job import ImageJob
from ai_runner_studio.export.plan import ImagePlan
from ai_runner_studio.export.wheel import files_of, read_wheel
from ai_runner_studio.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="contexts are for Linux; exports are tested there")
LOOSE = "mine.pipeline:Mine"
TINT = "tint.pipeline:Tint"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return make_workshop(tmp_path_factory.mktemp("workshop"))


def exported(shop: Workshop, project: Path, pipeline: str, *arguments: str, **environ: str) -> ImagePlan:
    """The plan of a context that was written to ``image``."""
    done = shop.export(project, pipeline, "--output", "image", *arguments, **environ)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return ImagePlan.from_json((project / "image/image.json").read_text())


def rest(project: Path) -> list[str]:
    """What an export has left in the folder, hidden or not."""
    return sorted(path.name for path in project.iterdir() if path.name.startswith((".", "image")))


def names(plan: ImagePlan) -> dict[str, list[str]]:
    return {layer.name: [one.name for one in layer.requirements] for layer in plan.layers}


class TestFolderOfModules:
    @pytest.fixture(scope="class")
    def project(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = loose_project(tmp_path_factory.mktemp("project"), **{".env": "A=secret\n"})
        with (folder / "mine/model.safetensors").open("wb") as file:
            file.truncate(3_000_000)
        return folder

    @pytest.fixture(scope="class")
    def before(self, project: Path) -> dict[str, tuple[int, bytes]]:
        return contents(project)

    @pytest.fixture(scope="class")
    def plan(self, shop: Workshop, project: Path, before: dict[str, Any]) -> ImagePlan:
        assert before
        return exported(shop, project, LOOSE, "--param", "strength=0.5")

    def test_packages_are_made_of_what_the_pipeline_imports(self, plan: ImagePlan, project: Path) -> None:
        made = {own.role: own for own in plan.own}
        assert set(made) == {"pipeline", "entrypoint"}
        assert all(own.generated for own in plan.own)
        files = files_of(project / "image/pkgs" / made["pipeline"].wheel)
        taken = sorted(name for name in files if ".dist-info" not in name)
        assert taken == ["mine/__init__.py", "mine/pipeline.py", "shared.py"]

    def test_only_what_it_needs_is_pinned_each_with_the_hash_of_its_wheel(
        self, plan: ImagePlan, shop: Workshop
    ) -> None:
        assert names(plan) == {
            "dependencies": ["colours", "smallthing"],
            "runner": ["ai-runner-base"],
            "application": ["mine-entrypoint", "mine-pipeline"],
        }
        pins = {one.name: one for layer in plan.layers for one in layer.requirements}
        for name in ("colours", "smallthing", "ai-runner-base"):
            assert pins[name].hashes == (f"sha256:{shop.wheels[name].sha256}",)
            assert pins[name].origin == "environment"

    def test_what_is_not_in_the_image_is_told_with_the_reason(self, plan: ImagePlan) -> None:
        told = {one.what: (one.why.split()[0], one.bytes) for one in plan.left_out}
        assert told["mine/model.safetensors"] == ("weights", 3_000_000)
        assert told[".env"] == ("it", 9)
        assert told["tests/"][0] == told["notes.md"][0] == "outside"

    def test_the_image_is_told_who_it_is(self, plan: ImagePlan) -> None:
        assert (plan.name, plan.model_id, plan.command) == ("mine", "mine", ("mine-runner",))
        assert (plan.python, plan.base, plan.torch.flavour) == (PYTHON, f"python:{PYTHON}-slim-bookworm", "none")
        assert re.fullmatch(r"0\.0\.0\+[0-9a-f]{12}", plan.version)
        assert plan.environment["HOST"] == "0.0.0.0"
        assert plan.environment["HF_HUB_OFFLINE"] == "1"
        assert plan.environment["VERSION"] == plan.version
        assert plan.labels["ai-runner.pipeline-import"] == LOOSE

    def test_the_users_files_are_as_they_were(self, plan: ImagePlan, project: Path, before: dict[str, Any]) -> None:
        assert plan
        after = {name: data for name, data in contents(project).items() if not name.startswith("image/")}
        assert after == before
        assert rest(project) == [".env", "image"]

    def test_the_context_holds_what_it_needs_and_nothing_else(self, plan: ImagePlan, project: Path) -> None:
        found = sorted(path.relative_to(project / "image").as_posix() for path in (project / "image").rglob("*"))
        assert found == sorted(
            [
                *(
                    ".dockerignore",
                    ".gitignore",
                    "Dockerfile",
                    "README.md",
                    "image.json",
                    "pkgs",
                    "req",
                    "tools",
                    "tools/index_settings.py",
                    "tools/uv",
                ),
                *(f"pkgs/{own.wheel}" for own in plan.own),
                *(layer.file for layer in plan.layers),
            ]
        )
        text = "".join(
            data.decode(errors="replace") for name, (_, data) in contents(project / "image").items() if "uv" not in name
        )
        assert str(project) not in text

    def test_a_second_context_is_the_same_byte_for_byte(self, plan: ImagePlan, project: Path, shop: Workshop) -> None:
        first = contents(project / "image")
        assert exported(shop, project, LOOSE, "--param", "strength=0.5") == plan
        assert contents(project / "image") == first


class TestApplication:
    def test_livepeers_template_is_planned_like_a_folder_of_modules(self, shop: Workshop, tmp_path: Path) -> None:
        project = write(
            tmp_path,
            {
                "pyproject.toml": '[project]\nname = "echo-app"\nversion = "0.1.0"\ndependencies = ["colours", "an-sdk"]\n',
                "runner.py": "import an_sdk\n",
                "effect.py": "import os, importlib\nfrom runner.app import start_app\nimport colours\n"
                "LUT = open(os.path.join(os.path.dirname(__file__), 'lut.bin'), 'rb').read()\n"
                "class Effect:\n    def transform(self, frame, params): return frame\n",
                "lut.bin": "data",
                "Dockerfile": "FROM scratch\n",
            },
        )
        plan = exported(shop, project, "effect:Effect")
        (made,) = [own for own in plan.own if own.role == "pipeline"]
        files = files_of(project / "image/pkgs" / made.wheel)
        assert sorted(name for name in files if ".dist-info" not in name) == ["effect.py", "lut.bin"]
        assert names(plan)["dependencies"] == ["colours", "smallthing"]
        done = shop.export(project, "runner:Effect", "--plan")
        assert (done.returncode, "has the name of the runtime's own package" in done.stderr) == (1, True)


class TestChange:
    def test_a_code_change_leaves_every_layer_but_the_last_as_it_was(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(tmp_path, "colours")
        exported(shop, project, TINT)
        before = contents(project / "image")
        write(project, {"tint/pipeline.py": "class Tint:\n    def transform(self, frame, params): return 1 - frame\n"})
        exported(shop, project, TINT)
        after = contents(project / "image")
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed == {"pkgs/tint-1.2.0-py3-none-any.whl", "req/40-application.txt", "image.json"}


class TestInstalling:
    @pytest.mark.skipif(platform.machine() != "x86_64", reason="the context's installer is for linux/amd64")
    def test_the_steps_of_the_dockerfile_install_it_without_a_network_and_it_starts(
        self, shop: Workshop, tmp_path: Path
    ) -> None:
        project = loose_project(tmp_path / "project")
        plan = exported(shop, project, LOOSE, "--offline", "--param", "strength=0.5")
        assert sorted(path.name for path in (project / "image/wheels").iterdir()) == sorted(
            shop.wheels[name].path.name for name in ("ai-runner-base", "colours", "smallthing")
        )
        context = tmp_path / "moved"  # it needs nothing of where it was made
        shutil.move(project / "image", context)
        venv = tmp_path / "venv"
        places = {"/ctx/": f"{context}/", "/opt/venv": str(venv), "/opt/app/": f"{context}/"}
        environ = {"PATH": os.environ["PATH"], "VIRTUAL_ENV": str(venv), "HOME": str(tmp_path)}
        parser = DockerfileParser(fileobj=BytesIO((context / "Dockerfile").read_bytes()))
        steps = [
            item["value"] for item in parser.structure if item["instruction"] == "RUN" and "/ctx/" in item["value"]
        ]
        assert len(steps) == 1 + len(plan.layers)
        for step in steps:
            script = re.sub(r"^(--mount=\S+ +)+", "", step)
            for place, here in places.items():
                script = script.replace(place, here)
            done = subprocess.run(
                ["sh", "-c", script], env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
            assert done.returncode == 0, done.stderr
        done = subprocess.run(
            [venv / "bin" / plan.command[0]], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        assert json.loads(done.stdout) == {
            "name": "mine",
            "pipeline_cls": LOOSE,
            "params_cls": None,
            "initial_params": {"strength": 0.5},
        }


class TestPackage:
    def test_a_package_with_an_entrypoint_is_taken_as_it_is(self, shop: Workshop, tmp_path: Path) -> None:
        main = (
            "from runner.app import start_app\nfrom runner.live.pipelines import PipelineSpec\n"
            f"def main(): start_app(PipelineSpec(name='tint-live', pipeline_cls={TINT!r}, params_cls='tint.params:P'))\n"
        )
        project = packaged_project(
            tmp_path,
            "colours>=2",
            scripts='[project.scripts]\ntint-live = "tint.main:main"\n[project.urls]\nSource = "https://example.com/tint"\n',
            **{"tint/main.py": main},
        )
        plan = exported(shop, project, TINT)
        assert [(own.name, own.role, own.generated) for own in plan.own] == [("tint", "pipeline", False)]
        assert (plan.name, plan.version, plan.model_id) == ("tint-live", "1.2.0", "tint-live")
        assert (plan.command, plan.params_import) == (("tint-live",), "tint.params:P")
        assert plan.labels["org.opencontainers.image.source"] == "https://example.com/tint"
        assert plan.labels["org.opencontainers.image.description"] == "Red."
        assert not (project / "left-by-the-build.txt").exists()
        digest = hashlib.sha256((project / "image/pkgs" / plan.own[0].wheel).read_bytes()).hexdigest()
        assert (project / "image/req/40-application.txt").read_text() == f"tint==1.2.0 --hash=sha256:{digest}\n"

    def test_one_that_holds_pipeline_and_params_is_built_once(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(tmp_path, **{"tint/params.py": "class Params: pass\n"})
        done = shop.export(project, TINT, "--params-import", "tint.params:Params", "--json")
        assert (done.returncode, done.stderr.count("building tint")) == (0, 1), done.stderr

    def test_packages_from_folders_come_as_wheels_too(self, shop: Workshop, tmp_path: Path) -> None:
        helper = packaged_project(tmp_path / "helper").rename(tmp_path / "tinting")
        text = (
            (helper / "pyproject.toml")
            .read_text()
            .replace('"tint"', '"tinting"')
            .replace('"ai-runner-base"', '"colours"')
        )
        (helper / "pyproject.toml").write_text(text)
        (helper / "tint").rename(helper / "tinting")
        project = packaged_project(tmp_path / "project", "tinting")
        shop.install_folder(helper, "tinting", "1.2.0", "unused")
        try:
            plan = exported(shop, project, TINT)
        finally:
            shop.uninstall("tinting")
        assert {own.name: own.role for own in plan.own} == {
            "tint": "pipeline",
            "tinting": "dependency",
            "tint-entrypoint": "entrypoint",
        }
        # What it needs is what its wheel says, not what was written down when it was installed.
        assert names(plan)["dependencies"] == ["colours", "smallthing"]

    def test_a_wheel_file_that_something_is_installed_from_comes_along(self, shop: Workshop, tmp_path: Path) -> None:
        native = tmp_path / "native-1.0-cp39-abi3-manylinux_2_28_x86_64.whl"
        shutil.move(shop.publish("native", "1.0", "smallthing").path, native)
        wheel = read_wheel(native)
        shop.install(wheel, {"url": native.as_uri(), "archive_info": {}})
        project = packaged_project(tmp_path / "project", "native")
        try:
            plan = exported(shop, project, TINT)
            other = shop.export(project, TINT, "--json", "--platform", "linux/arm64")
        finally:
            shop.uninstall("native")
        (own,) = [one for one in plan.own if one.role == "dependency"]
        assert (own.wheel, own.sha256) == (native.name, wheel.sha256)
        assert names(plan)["dependencies"] == ["smallthing"]
        assert (other.returncode, f"{native.name}, which native was installed from, does not fit" in other.stderr) == (
            1,
            True,
        )

    def test_a_lock_says_versions_and_hashes(self, shop: Workshop, tmp_path: Path) -> None:
        entries = [
            f'[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "https://pypi.org/simple" }}\n'
            f'wheels = [{{ url = "https://pypi.org/{name}-{version}-py3-none-any.whl", hash = "sha256:{digit * 64}" }}]\n'
            for name, version, digit in (("colours", "2.7", "a"), ("smallthing", "1.6", "b"))
        ]
        project = packaged_project(tmp_path, "colours", **{"uv.lock": "version = 1\n" + "".join(entries)})
        plan = exported(shop, project, TINT)
        pins = {one.name: one for layer in plan.layers for one in layer.requirements}
        assert (pins["colours"].version, pins["colours"].origin) == ("2.7", "uv.lock")
        assert pins["smallthing"].hashes == (f"sha256:{'b' * 64}",)
        assert pins["ai-runner-base"].origin == "environment"


class TestTorch:
    @pytest.fixture(scope="class")
    def with_torch(self, shop: Workshop) -> Iterator[Workshop]:
        """torch for the CPU in the environment; in the index for the GPU too, where it needs more."""
        cpu = shop.publish("torch", "2.9.0+cpu", "smallthing")
        shop.install(cpu)
        shop.publish("torch", "2.9.0+cu130", "smallthing", "nvidia-driver-parts==13.0")
        shop.publish("nvidia-driver-parts", "13.0")
        shop.publish("nvidia-driver-parts", "13.1")
        yield shop
        shop.uninstall("torch")

    def test_the_build_that_is_installed_is_taken_in_a_layer_of_its_own(
        self, with_torch: Workshop, tmp_path: Path
    ) -> None:
        plan = exported(with_torch, packaged_project(tmp_path, "torch"), TINT)
        assert (plan.torch.flavour, plan.torch.version) == ("cpu", "2.9.0+cpu")
        assert names(plan)["torch"] == ["torch"]
        assert "NVIDIA_VISIBLE_DEVICES" not in plan.environment

    def test_another_build_brings_what_it_needs(self, with_torch: Workshop, tmp_path: Path) -> None:
        plan = exported(with_torch, packaged_project(tmp_path, "torch>=2"), TINT, "--torch", "cu130")
        assert (plan.torch.flavour, plan.torch.version) == ("cu130", "2.9.0+cu130")
        (layer,) = [one for one in plan.layers if one.name == "torch"]
        pins = {one.name: (one.version, one.origin) for one in layer.requirements}
        assert pins == {"torch": ("2.9.0+cu130", "index"), "nvidia-driver-parts": ("13.0", "index")}
        assert plan.environment["NVIDIA_VISIBLE_DEVICES"] == "all"

    def test_it_may_be_left_to_the_base_image(self, with_torch: Workshop, tmp_path: Path) -> None:
        plan = exported(
            with_torch, packaged_project(tmp_path, "torch"), TINT, "--torch", "none", "--base", "localhost/t:1"
        )
        assert (plan.torch.flavour, plan.torch.from_base) == ("none", True)
        assert "torch" not in [name for layer in names(plan).values() for name in layer]

    def test_a_build_that_no_index_has_is_told(self, with_torch: Workshop, tmp_path: Path) -> None:
        done = with_torch.export(packaged_project(tmp_path, "torch"), TINT, "--output", "image", "--torch", "cu999")
        assert (done.returncode, "has no torch==2.9.0+cu999" in done.stderr, "--torch" in done.stderr) == (
            1,
            True,
            True,
        )
        assert rest(tmp_path) == []


class TestOutput:
    def test_the_plan_is_printed_for_people_and_for_programs_and_nothing_is_written(
        self, shop: Workshop, tmp_path: Path
    ) -> None:
        project = loose_project(tmp_path)
        for_people = shop.export(project, LOOSE, "--plan")
        for_programs = shop.export(project, LOOSE, "--json")
        assert for_people.returncode == for_programs.returncode == 0
        plan = ImagePlan.from_json(for_programs.stdout)
        for said in (plan.tag, "mine-runner", "notes.md", "outside of the package"):
            assert said in for_people.stdout
        assert rest(project) == []

    def test_the_schema_needs_no_project(self, shop: Workshop, tmp_path: Path) -> None:
        done = shop.export(tmp_path, "--schema")
        assert json.loads(done.stdout)["title"] == "ImagePlan"

    def test_settings_and_flags_reach_the_dockerfile(self, shop: Workshop, tmp_path: Path) -> None:
        table = (
            f'[tool.ai-runner-studio]\npipeline-import = "{LOOSE}"\n[tool.ai-runner-studio.image]\n'
            'apt = ["sox"]\nsteps = ["RUN echo ready"]\nenv = { OMP_NUM_THREADS = 2 }\nname = "red"\n'
        )
        project = loose_project(tmp_path, **{"pyproject.toml": table, "more.dockerfile": "LABEL a=b\n"})
        done = shop.export(project, "-o", "image", "--base", "localhost/b:1", "--dockerfile-append", "more.dockerfile")
        assert done.returncode == 0, done.stderr
        text = (project / "image/Dockerfile").read_text()
        for said in (
            "ARG BASE_IMAGE=localhost/b:1",
            " sox;",
            "RUN echo ready\nLABEL a=b",
            'OMP_NUM_THREADS="2"',
            '["red-runner"]',
        ):
            assert said in text

    def test_a_folder_that_holds_something_else_stays(self, shop: Workshop, tmp_path: Path) -> None:
        project = loose_project(tmp_path, **{"image/thesis.txt": "three years\n"})
        done = shop.export(project, LOOSE, "--output", "image")
        assert done.returncode == 2
        assert "holds something else than a build context" in done.stderr
        assert rest(project) == ["image"]
        assert (project / "image/thesis.txt").read_text() == "three years\n"


class TestLeaks:
    def test_what_is_the_developers_ends_it_with_the_place_and_nothing_is_written(
        self, shop: Workshop, tmp_path: Path
    ) -> None:
        project = loose_project(tmp_path)
        key = "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
        write(
            project,
            {"mine/a.py": f"KEY = '{key}'\n", "mine/b.py": f"PLACE = '{project}/weights'\nTOKEN = 'tok-12345678'\n"},
        )
        done = shop.export(project, LOOSE, "--output", "image", SERVICE_TOKEN="tok-12345678")
        assert done.returncode == 1
        for said in (
            "mine/a.py: a private key",
            f"mine/b.py: the developer's folder {project}",
            "variable SERVICE_TOKEN",
        ):
            assert said in done.stderr
        assert "tok-12345678" not in done.stderr
        assert rest(project) == []

    def test_hosts_of_the_package_index_are_the_developers_too(self, shop: Workshop, tmp_path: Path) -> None:
        project = loose_project(tmp_path, **{"mine/__init__.py": "INDEX = 'https://packages.corp.example/simple'\n"})
        done = shop.export(project, LOOSE, "-o", "image", PIP_EXTRA_INDEX_URL="https://packages.corp.example/other")
        assert (done.returncode, "mine/__init__.py: the host of a package index" in done.stderr) == (1, True)
        assert "corp.example" not in done.stderr


class TestBadInput:
    def test_a_package_whose_folder_leads_out_of_the_project(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(tmp_path / "project")
        (project / "tint").rename(tmp_path / "tint")
        (project / "tint").symlink_to(tmp_path / "tint")
        self.refused(shop, project, TINT, f"the package tint in {project} is built empty", "link out of the project")

    @pytest.mark.parametrize(
        ("pipeline", "said", "hint"),
        [
            ("nowhere.pipeline:Mine", "there is no module 'nowhere'", "--pipeline-import"),
            ("mine.nothing:Mine", "there is no module 'mine.nothing'", "--pipeline-import"),
            ("mine.pipeline:Yours", "defines no 'Yours'", "--pipeline-import"),
            ("mine.broken:Broken", "broken.py:1 is no valid Python", "correct it"),
        ],
    )
    def test_a_pipeline_that_is_not_there(
        self, shop: Workshop, tmp_path: Path, pipeline: str, said: str, hint: str
    ) -> None:
        project = loose_project(tmp_path, **{"mine/broken.py": "class\n"} if "broken" in pipeline else {})
        self.refused(shop, project, pipeline, said, hint)

    def refused(
        self, shop: Workshop, project: Path, pipeline: str, said: str, hint: str, *arguments: str, code: int = 1
    ) -> None:
        """A message, a way out, an exit code, and nothing left."""
        before = rest(project)
        done = shop.export(project, pipeline, "--output", "image", *arguments)
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert hint in done.stderr.partition("hint:")[2]
        assert "Traceback" not in done.stderr
        assert rest(project) == before

    def test_an_import_that_is_not_installed(self, shop: Workshop, tmp_path: Path) -> None:
        project = loose_project(tmp_path, **{"mine/pipeline.py": "import os\nimport absent\nclass Mine: pass\n"})
        self.refused(
            shop, project, LOOSE, "mine/pipeline.py:2 imports absent, which is not installed", "pip install absent"
        )

    def test_a_dependency_from_a_repository(self, shop: Workshop, tmp_path: Path) -> None:
        wheel = shop.publish("forked", "1.0")
        shop.install(wheel, {"url": "https://github.com/a/forked", "vcs_info": {"vcs": "git", "commit_id": "a" * 40}})
        try:
            project = packaged_project(tmp_path, "forked")
            self.refused(shop, project, TINT, "forked 1.0 was installed from a version control repository", "release")
        finally:
            shop.uninstall("forked")

    def test_a_dependency_from_a_folder_that_is_gone(self, shop: Workshop, tmp_path: Path) -> None:
        shop.install_folder(tmp_path / "gone", "lost", "1.0")
        try:
            self.refused(
                shop, packaged_project(tmp_path, "lost"), TINT, "which is not there any more", "pip install lost"
            )
        finally:
            shop.uninstall("lost")

    def test_a_package_that_no_index_has(self, shop: Workshop, tmp_path: Path) -> None:
        wheel = shop.publish("inhouse", "3.1")
        shop.install(wheel)
        wheel.path.unlink()
        try:
            project = packaged_project(tmp_path, "inhouse")
            self.refused(shop, project, TINT, "the package index has no inhouse==3.1", "private package")
        finally:
            shop.uninstall("inhouse")

    def test_a_package_without_a_wheel_for_the_image(self, shop: Workshop, tmp_path: Path) -> None:
        wheel = shop.publish("native", "1.0")
        shop.install(wheel)
        wheel.path.rename(wheel.path.with_name("native-1.0-cp311-cp311-win_amd64.whl"))
        said = f"native 1.0 has no wheel for Python {PYTHON} on linux/amd64"
        try:
            self.refused(shop, packaged_project(tmp_path, "native"), TINT, said, "")
        finally:
            shop.uninstall("native")

    def test_a_package_that_is_a_source_distribution_alone(self, shop: Workshop, tmp_path: Path) -> None:
        wheel = shop.publish("rawstuff", "1.0")
        shop.install(wheel)
        wheel.path.unlink()
        (shop.index / "rawstuff-1.0.tar.gz").write_bytes(b"")
        try:
            project = packaged_project(tmp_path, "rawstuff")
            said = f"rawstuff 1.0 has no wheel for Python {PYTHON} on linux/amd64, only a source distribution"
            self.refused(shop, project, TINT, said, "pip wheel rawstuff==1.0")
        finally:
            shop.uninstall("rawstuff")

    def test_versions_that_do_not_fit(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(tmp_path, "colours<2")
        self.refused(shop, project, TINT, "has colours 2.0, but tint needs colours<2", "fit each other")

    def test_a_package_that_does_not_build(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(
            tmp_path, **{"backend.py": "def build_wheel(*_): raise SystemExit('no compiler here')\n"}
        )
        self.refused(shop, project, TINT, "no compiler here", "pip wheel")

    def test_a_package_without_its_own_pipeline(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(tmp_path, **{"tint2/__init__.py": "", "tint2/pipeline.py": "class Tint: pass\n"})
        self.refused(
            shop, project, "tint2.pipeline:Tint", "is built without the module tint2.pipeline", "pyproject.toml"
        )

    def test_a_build_of_torch_that_is_not_there(self, shop: Workshop, tmp_path: Path) -> None:
        project = packaged_project(tmp_path, "torch")
        self.refused(shop, project, TINT, "torch is not installed", "", "--torch", "cu130")

    def test_an_interpreter_without_the_runtime(self, shop: Workshop, tmp_path: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True, timeout=PATIENCE_S
        )
        project = loose_project(tmp_path / "project")
        bare = str(tmp_path / "bare")
        self.refused(shop, project, LOOSE, "has no ai-runner-base", "pip install", "--python", bare, code=2)

    def test_a_disk_that_is_full(self, shop: Workshop, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, text=True, check=False
        )
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
        try:
            done = shop.export(loose_project(tmp_path / "project"), LOOSE, "--output", str(small / "image"))
            assert list(small.iterdir()) == []
        finally:
            subprocess.run(["umount", str(small)], check=True)
        assert done.returncode == 1
        assert "No space left" in done.stderr
        assert "make room" in done.stderr


def running_in(folder: Path) -> list[list[str]]:
    """Command lines of processes whose working directory is the folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline())
    return found


class TestInterruption:
    def test_a_signal_leaves_nothing(self, shop: Workshop, tmp_path: Path) -> None:
        project = loose_project(tmp_path)
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-m", "ai_runner_studio", "export-image", LOOSE, "--output", "image"],
            cwd=project,
            env=shop.environ | {"TMPDIR": str(temporary)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "pinning" in line:
                process.send_signal(signal.SIGTERM)
                break
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 128 + signal.SIGTERM
        assert rest(project) == []
        assert [path.name for path in temporary.iterdir()] == []
        until = time.monotonic() + PATIENCE_S  # what was killed needs a moment to be gone
        while (left := running_in(project)) and time.monotonic() < until:
            time.sleep(0.05)
        assert left == []


async def test_the_studio_plans_the_pipeline_that_it_runs_and_tells_what_is_missing_to_build_it(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = packaged_project(tmp_path / "tint", "colours")
    for name in set(os.environ) - set(shop.environ):
        monkeypatch.delenv(name)
    for name, value in shop.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told: list[str] = []
    job = ImageJob(Settings(pipeline_import=TINT, project=project, python=shop.python), told.append)
    try:
        plan = await job.plan()
        assert "tint:1.2.0" in plan
        assert TINT in plan
        assert told
        monkeypatch.setenv("PATH", str(tmp_path))  # without any container engine
        with pytest.raises(EngineError, match="docker is not installed"):
            await job.build(lambda _doing, _progress: None)
    finally:
        await job.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tint"]
    assert rest(project) == []
