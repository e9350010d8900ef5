"""The scan: what must not go out is found wherever it is, and what is harmless is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ai_runner_studio.export.leaks import Leak, leak_scan
from ai_runner_studio.export.private_places import scan_of_machine
from ai_runner_studio.export.wheel import write_wheel
from ai_runner_studio.interpreter import Interpreter

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n"
HUGGING_FACE = "hf_" + "a1B2" * 9
CONFIGURATION = "global.index-url='https://bot:hunter2hunter2@packages.corp.example/simple'\nhttps://pypi.org/simple\n"
ENVIRON = {"MY_TOKEN": "s3cr3t-value", "SHORT_TOKEN": "abc", "HOME": "/home/somebody", "API_KEY_FILE": "/run/keys/a"}


def found(folder: Path, text: str, *, name: str = "README.md", allowed: tuple[str, ...] = ()) -> list[Leak]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return leak_scan([Path("/home/somebody"), Path("/srv/tint")], CONFIGURATION, ENVIRON, allowed).scan(folder)


class TestFound:
    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("see /home/somebody/notes.txt", "the developer's folder /home/somebody"),
            ("file:///srv/tint", "the developer's folder /srv/tint"),
            ("TOKEN=s3cr3t-value", "the value of the environment variable MY_TOKEN"),
            ("--index-url https://packages.corp.example/x", "the host of a package index"),
            ("hunter2hunter2", "a password of a URL"),
            (KEY, "a private key"),
            (f"login({HUGGING_FACE!r})", "a token of Hugging Face"),
            ("AKIAABCDEFGHIJKLMNOP", "an access key of AWS"),
        ],
    )
    def test_it_is_told_with_its_place_and_never_repeated(self, tmp_path: Path, text: str, what: str) -> None:
        (leak,) = found(tmp_path, f"a line\n{text}\n")
        assert leak.place == "README.md"
        assert what in leak.what
        assert not any(secret in leak.what for secret in ("s3cr3t", "hunter2", "corp.example", "hf_", "AKIA"))

    def test_own_wheels_are_looked_into(self, tmp_path: Path) -> None:
        (tmp_path / "pkgs").mkdir()
        write_wheel(tmp_path / "pkgs", "tint", "1.0", {"tint/a.py": KEY.encode(), "tint/.env": b"A=1\n"})
        places = {leak.place for leak in found(tmp_path, "nothing")}
        wheel = "pkgs/tint-1.0-py3-none-any.whl"
        assert places == {f"{wheel}: tint/a.py", f"{wheel}: tint/.env"}


class TestNotFound:
    @pytest.mark.parametrize(
        "text",
        [
            "/home/somebodyelse and my/home/somebody and /srv/tinted",
            "abc",
            "https://pypi.org/simple and https://files.pythonhosted.org",
            "-----BEGIN PRIVATE KEY----- is how such a file begins",
            "/run/keys/a",
        ],
    )
    def test_what_only_looks_alike(self, tmp_path: Path, text: str) -> None:
        assert found(tmp_path, text) == []

    def test_what_is_meant_to_be_there(self, tmp_path: Path) -> None:
        assert found(tmp_path, "the demo token s3cr3t-value", allowed=("s3cr3t-value",)) == []

    def test_other_peoples_wheels_and_the_installer(self, tmp_path: Path) -> None:
        assert found(tmp_path, KEY, name="wheels/a.txt") == []
        assert found(tmp_path, KEY, name="tools/uv") == []

    def test_places_that_every_machine_has(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("/usr/lib/python3 and /tmp")
        assert leak_scan([Path("/usr/lib/python3"), Path("/tmp")], "", {}).scan(tmp_path) == []


def test_hosts_are_found_in_a_lock_and_in_uvs_configuration(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text('[[package]]\nsource = { registry = "https://packages.corp.example/simple" }\n')
    (tmp_path / "pyproject.toml").write_text('[[tool.uv.index]]\nname = "a"\nurl = "https://wheels.corp.example/x"\n')
    scan = scan_of_machine(Interpreter(sys.executable, "own"), tmp_path, tmp_path / "workshop", ())
    out = tmp_path / "context"
    out.mkdir()
    (out / "README.md").write_text("packages.corp.example and wheels.corp.example and example.com\n")
    assert [leak.what for leak in scan.scan(out)] == ["the host of a package index"] * 2
