"""The Dockerfiles of this repository: what every builder understands, and what an image must and must not have.

What is forbidden here is refused by buildah 1.28 or by Docker 20.10, fetches something from a hub, writes into the
context, or leaves an image stale (docker/README.md).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
APPS = [file for file in FILES if file.name.startswith("Dockerfile.live-app-")]
BASE = ROOT / "docker/Dockerfile.live-base"

_FLAGS = re.compile(r"--([a-z-]+)(?:=(\S+))?")
_MOUNT = re.compile(r"--mount=(\S+)")


def steps(file: Path) -> list[tuple[str, str]]:
    """(instruction, value) in order."""
    parser = DockerfileParser(fileobj=BytesIO(file.read_bytes()))
    return [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]


def values(file: Path, instruction: str) -> list[str]:
    return [value for name, value in steps(file) if name == instruction]


def flags(value: str) -> dict[str, str]:
    """Those of an instruction, before its first word that is none."""
    found = {}
    for word in value.split():
        flag = _FLAGS.fullmatch(word)
        if flag is None:
            break
        found[flag[1]] = flag[2] or ""
    return found


def mounts(value: str) -> list[dict[str, str]]:
    return [dict(part.partition("=")[::2] for part in text.split(",")) for text in _MOUNT.findall(value)]


def test_the_images_of_the_repository_are_there() -> None:
    names = {file.name.removeprefix("Dockerfile.") for file in FILES}
    assert names == {"live-base", "live-app-noop", "live-app-streamdiffusion", "live-app-comfyui", "live-app-scope"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
class TestEveryBuilder:
    def test_understands_all_of_it(self, file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"^#\s*syntax\s*=", text, re.MULTILINE | re.IGNORECASE)
        assert "<<" not in text
        for instruction, value in steps(file):
            given = flags(value)
            allowed = {
                "COPY": {"chmod", "chown"},
                "RUN": {"mount"},
                "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"},
            }.get(instruction, set())
            assert given.keys() <= allowed, f"{instruction} {value}"
            assert re.fullmatch(r"0[0-7]{3}", given.get("chmod", "0755"))

    def test_mounts_the_context_read_only_where_nothing_was(self, file: Path) -> None:
        for value in values(file, "RUN"):
            for mount in mounts(value):
                assert mount.keys() == {"type", "source", "target"}
                assert mount["type"] == "bind"
                assert mount["target"].startswith("/ctx/")

    def test_sees_what_has_changed_by_a_copied_file_before_each_step_that_mounts(self, file: Path) -> None:
        copied: set[str] = set()
        for instruction, value in steps(file):
            if instruction == "COPY":
                *sources, _ = [word for word in value.split() if not word.startswith("--")]
                copied |= set(sources)
            if instruction == "RUN" and mounts(value):
                (layer,) = {mount["source"].removeprefix("wheels/") for mount in mounts(value)} - {"tools"}
                assert f"req/{layer}.txt" in copied
                assert value.endswith(f"/opt/app/install /opt/app/req/{layer}.txt")

    def test_fetches_nothing_by_itself(self, file: Path) -> None:
        assert not values(file, "ADD")
        assert not re.search(r"\b(curl|wget|git|pip install)\b", " ".join(values(file, "RUN")).replace("uv pip", ""))

    def test_hadolint_finds_nothing(self, file: Path) -> None:
        hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or "hadolint"
        done = subprocess.run(
            [hadolint, "--no-color", str(file)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
class TestTheImage:
    def test_runs_as_nobody_special_and_ends_by_its_own_process(self, file: Path) -> None:
        assert values(file, "USER")[-1] == "10001:10001"
        assert not values(file, "ENTRYPOINT")
        (command,) = values(file, "CMD")
        assert all(isinstance(word, str) for word in json.loads(command))

    def test_labels_are_literal(self, file: Path) -> None:
        labels = " ".join(values(file, "LABEL"))
        assert "$" not in labels
        assert f'org.opencontainers.image.title="{file.name.removeprefix("Dockerfile.")}"' in labels

    def test_has_no_secret_and_no_setting_of_who_builds(self, file: Path) -> None:
        assert not re.search(
            r"TOKEN|PASSWORD|SECRET|PROXY|PIP_|_INDEX|CERT", " ".join(values(file, "ENV") + values(file, "ARG"))
        )


class TestLiveBase:
    def test_is_asked_for_health_at_the_port_that_it_was_given(self) -> None:
        (check,) = values(BASE, "HEALTHCHECK")
        command = json.loads(check[check.index("CMD") + 3 :])
        assert command[:2] == ["python3", "-c"]
        assert "os.environ.get('PORT'" in command[2]
        assert "/health/live" in command[2]

    def test_weights_are_in_a_volume_and_not_fetched_while_it_serves(self) -> None:
        settings = " ".join(values(BASE, "ENV"))
        assert "MODEL_DIR=/models" in settings
        assert "HF_HUB_OFFLINE=1" in settings

    def test_listens_where_an_orchestrator_looks(self) -> None:
        settings = " ".join(values(BASE, "ENV"))
        assert "HOST=0.0.0.0 PORT=8000" in settings
        assert values(BASE, "EXPOSE") == ["8000"]
        assert values(BASE, "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("file", APPS, ids=lambda file: file.name)
class TestLiveApp:
    def test_stands_on_live_base(self, file: Path) -> None:
        assert steps(file)[:2] == [("ARG", "LIVE_BASE=localhost/ai-runner:live-base"), ("FROM", "${LIVE_BASE}")]
        assert not values(file, "HEALTHCHECK")  # that of live-base stays

    def test_is_known_by_its_model_id_and_starts_the_entrypoints_command(self, file: Path) -> None:
        name = file.name.removeprefix("Dockerfile.live-app-")
        assert f"MODEL_ID={name}" in values(file, "ENV")[0].split()
        assert values(file, "CMD") == [f'["{name}-runner"]']
        package = ROOT / f"pipelines/{name}-entrypoint/pyproject.toml"
        if not package.is_file():
            pytest.skip(f"pipelines/{name}-entrypoint is not in this checkout")
        assert f"{name}-runner" in tomllib.loads(package.read_text(encoding="utf-8"))["project"]["scripts"]


def test_a_context_of_an_app_that_is_not_there_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docker/context.py"), "--app", "nosuch", "--output", str(tmp_path / "context")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "error: --app nosuch: there is no package pipelines/nosuch-entrypoint\n",
    )
    assert not list(tmp_path.iterdir())


# Leaves what uv leaves, and notes the variables that make files the same each time.
_UV = """#!/bin/sh
mkdir -p "$VIRTUAL_ENV/lib/a-1.dist-info"
cd "$VIRTUAL_ENV/lib/a-1.dist-info"
printf 'a.py,,\\na-1.dist-info/uv_cache.json,,\\n' > RECORD
touch uv_cache.json "$VIRTUAL_ENV/.lock"
echo "$SOURCE_DATE_EPOCH $PYTHONHASHSEED $PYC_INVALIDATION_MODE" > "$VIRTUAL_ENV/said"
"""


def test_an_install_leaves_nothing_that_differs_the_next_time(tmp_path: Path) -> None:
    uv, environment = tmp_path / "tools/uv", tmp_path / "venv"
    for file, text in ((uv, _UV), (environment / "bin/python", "")):
        file.parent.mkdir(parents=True)
        file.write_text(text)
        file.chmod(0o755)
    script = (ROOT / "docker/install").read_text(encoding="utf-8").replace("/ctx/", f"{tmp_path}/")
    subprocess.run(
        ["sh", "-c", script, "install", "r.txt"],
        env={"VIRTUAL_ENV": str(environment), "PATH": "/usr/bin:/bin"},
        check=True,
    )
    assert sorted(path.name for path in environment.rglob("*") if path.is_file()) == ["RECORD", "python", "said"]
    assert (environment / "lib/a-1.dist-info/RECORD").read_text() == "a.py,,\n"
    assert (environment / "said").read_text() == "315532800 0 CHECKED_HASH\n"
