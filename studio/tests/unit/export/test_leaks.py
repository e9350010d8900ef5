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
ENVIRON = {
    "MY_TOKEN": "s3cr3t-value",
    "SHORT_TOKEN": "abc",
    "HOME": "/home/somebody",
    "API_KEY_FILE": "/run/keys/a",
    "CACHE": "redis://:other@cache.example http://bot:0p3n-s3s4me@cache.example",
    "DATABASE": "postgres://bot:p%40ssw0rd99@db.example/live",
}


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
            ("ghp_" + "a1B2" * 9, "a token of GitHub"),
            ("github_pat_" + "a1B2_" * 8, "a token of GitHub"),
            ("glpat-" + "a1B2-" * 4, "a token of GitLab"),
            ("sk-" + "a1B2_" * 7, "a token of OpenAI"),
            ("xoxb-" + "1234-" * 4, "a token of Slack"),
            ("the password is 0p3n-s3s4me", "a password of a URL"),
            ("the password is p@ssw0rd99", "a password of a URL"),
            ("connect('p%40ssw0rd99')", "a password of a URL"),
        ],
    )
    def test_it_is_told_with_its_place_and_never_repeated(self, tmp_path: Path, text: str, what: str) -> None:
        (leak,) = found(tmp_path, f"a line\n{text}\n")
        assert leak.place == "README.md"
        assert what in leak.what
        assert not any(
            secret in leak.what
            for secret in ("s3cr3t", "hunter2", "corp.example", "hf_", "AKIA", "0p3n", "xoxb", "ssw0rd")
        )

    @pytest.mark.parametrize("text", ["/home/grace-h/x", "/Users/grace-h", "C:\\Users\\grace-h\\x"])
    def test_the_user_name_is_found_in_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("LOGNAME", "grace-h")
        assert found(tmp_path, text) == [Leak("README.md", "the developer's user name")]

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

    def test_names_of_accounts_that_every_machine_has(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "ubuntu")
        assert found(tmp_path, "/home/ubuntu/x") == []

    @pytest.mark.parametrize("between", [" ", "\n" * 300])
    def test_an_allowed_text_hides_no_other_leak(self, tmp_path: Path, between: str) -> None:
        text = between.join(("s3cr3t-value", HUGGING_FACE, "s3cr3t-value"))
        (leak,) = found(tmp_path, text, allowed=("s3cr3t-value",))
        assert leak.what == "a token of Hugging Face"

    def test_an_allowed_text_hides_no_leak_that_it_only_touches(self, tmp_path: Path) -> None:
        (leak,) = found(tmp_path, f"demo {HUGGING_FACE[:33]} demo", allowed=("demo ", " demo"))
        assert leak.what == "a token of Hugging Face"

    @pytest.mark.parametrize("allowed", [KEY, KEY[40:], KEY[:20], HUGGING_FACE[:9], f"see {HUGGING_FACE}"])
    def test_an_allowed_text_may_be_longer_or_shorter_than_what_is_found(self, tmp_path: Path, allowed: str) -> None:
        text = f"see {HUGGING_FACE}" if "hf_" in allowed else KEY
        assert found(tmp_path, text, allowed=(allowed,)) == []

    def test_other_peoples_wheels_and_the_installer(self, tmp_path: Path) -> None:
        assert found(tmp_path, KEY, name="wheels/a.txt") == []
        assert found(tmp_path, KEY, name="tools/uv") == []

    def test_folders_of_those_names_within_the_developers_own_are_scanned(self, tmp_path: Path) -> None:
        assert [leak.place for leak in found(tmp_path, KEY, name="pkgs/tools/a.txt")] == ["pkgs/tools/a.txt"]

    def test_places_that_every_machine_has(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("/usr/lib/python3 and /tmp")
        assert leak_scan([Path("/usr/lib/python3"), Path("/tmp")], "", {}).scan(tmp_path) == []


@pytest.mark.parametrize(
    "host", ["evilpypi.org", "notgithub.com", "pypi.org.corp.example", "github.com-mirror.example"]
)
def test_a_host_named_like_a_public_one_is_private(tmp_path: Path, host: str) -> None:
    (tmp_path / "README.md").write_text(f"--index-url https://{host}/simple\n")
    leaks = leak_scan([], f"https://{host}/simple\n", {}).scan(tmp_path)
    assert leaks == [Leak("README.md", "the host of a package index")]


@pytest.mark.parametrize("host", ["pypi.org", "files.pythonhosted.org", "download.pytorch.org", "127.0.0.1"])
def test_public_hosts_and_their_subdomains_are_not(tmp_path: Path, host: str) -> None:
    (tmp_path / "README.md").write_text(f"--index-url https://{host}/simple\n")
    assert leak_scan([], f"https://{host}/simple\n", {}).scan(tmp_path) == []


@pytest.mark.parametrize("written", ["home", "disk/home"])
def test_a_folder_behind_a_symlink_is_found_under_both_paths(tmp_path: Path, written: str) -> None:
    (tmp_path / "disk/home").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "disk/home")
    context = tmp_path / "context"
    context.mkdir()
    (context / "README.md").write_text(f"see {tmp_path / written}/notes.txt\n")
    (leak,) = leak_scan([tmp_path / "home"], "", {}).scan(context)
    assert leak == Leak("README.md", f"the developer's folder {tmp_path / written}")


def test_hosts_are_found_in_a_lock_and_in_uvs_configuration(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text('[[package]]\nsource = { registry = "https://packages.corp.example/simple" }\n')
    (tmp_path / "pyproject.toml").write_text('[[tool.uv.index]]\nname = "a"\nurl = "https://wheels.corp.example/x"\n')
    scan = scan_of_machine(Interpreter(sys.executable, "own"), tmp_path, tmp_path / "workshop", ())
    out = tmp_path / "context"
    out.mkdir()
    (out / "README.md").write_text("packages.corp.example and wheels.corp.example and example.com\n")
    assert [leak.what for leak in scan.scan(out)] == ["the host of a package index"] * 2
