"""What is reported when pip fails: real indexes on this machine, asked by the real pip."""

from __future__ import annotations

import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ai_runner_studio.errors import ExportError
from ai_runner_studio.export.package_index import PackageIndex
from ai_runner_studio.export.target import Target

PYTHON = f"3.{sys.version_info[1]}"


class Index(ThreadingHTTPServer):
    """Answers each request below ``/<code>/`` with that code; ``/silent/`` closes the connection.

    Below ``/new/`` it has wheels for a Python that is not released.
    """

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    def log_message(self, *_said: object) -> None:
        pass

    def do_GET(self) -> None:
        code = self.path.split("/")[1]
        if code == "silent":
            self.connection.close()
            return
        if code == "new":
            link = b'<a href="tomorrow-2.0-py3-none-any.whl" data-requires-python="&gt;=3.99">x</a>'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(link)))
            self.end_headers()
            self.wfile.write(link)
            return
        self.send_response(int(code))
        self.send_header("WWW-Authenticate", "Basic realm=x")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    server = Index(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def failure(folder: Path, line: str, platform: str = "linux/amd64", told: list[str] | None = None) -> str:
    tell = (told if told is not None else []).append
    with pytest.raises(ExportError) as raised:
        PackageIndex(sys.executable, Target(PYTHON, platform), folder, tell).ask([line])  # type: ignore[arg-type]
    return f"{raised.value} | {raised.value.hint}"


def wheel(folder: Path, name: str, version: str, tag: str = "py3-none-any", python: str = ">=3.8") -> None:
    inside = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        archive.writestr(f"{inside}/METADATA", metadata)
        archive.writestr(f"{inside}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{inside}/RECORD", "")


@pytest.mark.parametrize("code", [401, 403])
def test_an_index_that_refuses_is_not_one_that_lacks_the_package(
    index: Index, tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://bob:wrongpassword@{index.url}/{code}/")
    said = failure(tmp_path, "secretpkg==1.0")
    assert "the package index refuses access, so secretpkg==1.0 cannot be pinned" in said
    assert "credentials" in said
    assert "wrongpassword" not in said
    assert index.url not in said


def test_a_package_that_an_index_lacks_is_missing(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{index.url}/404/")
    assert "the package index has no nothere==1.0" in failure(tmp_path, "nothere==1.0")


@pytest.mark.parametrize(("place", "why"), [("503", "503 error"), ("silent", "")])
def test_an_index_that_does_not_answer_is_reported_as_that(
    index: Index, tmp_path: Path, place: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"http://{index.url}/{place}/")
    told: list[str] = []
    said = failure(tmp_path, "something==1.0", told=told)
    assert "the package index is not responding" in said
    assert why in said
    assert index.url not in said
    if place == "silent":
        assert told[0] == "the package index is not responding; trying again (1 try left)"


@pytest.mark.parametrize("linked", [False, True])
def test_a_version_for_another_python_is_named(
    index: Index, tmp_path: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*("PIP_NO_INDEX", "1") if linked else ("PIP_INDEX_URL", f"http://{index.url}/new/"))
    if linked:  # then only the wheel itself says so
        wheel(tmp_path, "tomorrow", "2.0", python=">=3.99")
    said = failure(tmp_path, "tomorrow==2.0")
    assert said.startswith("tomorrow")
    assert f"needs Python >=3.99, and the image has {PYTHON}" in said


def test_wheels_for_other_machines_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel(tmp_path, "torch", "2.9.0+cpu", f"cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-linux_x86_64")
    said = failure(tmp_path, "torch==2.9.0+cpu", "linux/arm64")
    assert f"torch 2.9.0+cpu has no wheel for Python {PYTHON} on linux/arm64, only for cp3" in said
    assert "--torch" in said
    assert "source distribution" not in said


def test_a_constraint_that_allows_the_version_is_not_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel(tmp_path, "torch", "2.9.0+cpu", f"cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-linux_x86_64")
    (tmp_path / "constraints.txt").write_text("torch<=3\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    said = failure(tmp_path, "torch==2.9.0+cpu", "linux/arm64")
    assert "torch 2.9.0+cpu has no wheel" in said
    assert "constraint" not in said


def test_constraints_that_exclude_a_version_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel(tmp_path, "colours", "2.0")
    (tmp_path / "constraints.txt").write_text("colours<2\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    said = failure(tmp_path, "colours==2.0")
    assert "colours==2.0" in said
    assert "(constraint) colours<2" in said
    assert "PIP_CONSTRAINT" in said
