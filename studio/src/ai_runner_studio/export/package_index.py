"""The package index, asked through pip with the project's own configuration: exact versions, hashes, requirements.

Hosts, credentials and paths of that configuration stay in pip; nothing of them is kept here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from runner.module_command import module_command

from ..errors import ExportError
from ..interruption import scratch_folder, uninterrupted
from .index_failure import index_failure
from .inventory import canonical
from .pip_progress import PipProgress
from .target import Target

PIP_TIMEOUT_S = 1800.0  # a wheel of several gigabytes, where the index has no metadata apart from it
PYTORCH_INDEX = "https://download.pytorch.org/whl/"  # public; each flavour has a folder of its own


@dataclass(frozen=True, slots=True)
class Found:
    """A wheel that the index has for the target.

    Attributes:
        sha256: of the file, hex. requires: as the wheel's metadata says. public: it is on PyPI or PyTorch's index.
    """

    name: str
    version: str
    sha256: str
    requires: tuple[str, ...]
    public: bool


class PackageIndex:
    """What can be installed on a target, by the configuration that the project's pip has."""

    def __init__(
        self, python: str, target: Target, project: Path, tell: Callable[[str], None] = lambda _doing: None
    ) -> None:
        """Does nothing yet.

        Args:
            python: the project's interpreter, whose configuration counts. project: the folder pip is run in.
            tell: called, from another thread, with what pip is doing when it takes long.
        """
        self._python = python
        self._target = target
        self._project = project
        self._tell = tell

    def ask(self, lines: list[str], torch_flavour: str = "") -> dict[str, Found]:
        """Name -> the wheel that fits best, for each requirement line, without its dependencies.

        Args:
            torch_flavour: look into PyTorch's index of this flavour too.

        Raises:
            ExportError: there is no wheel for one of them, or the index cannot be asked.
        """
        if not lines:
            return {}
        more = ["--extra-index-url", PYTORCH_INDEX + torch_flavour] if torch_flavour else []
        with scratch_folder("ai-runner-export-") as folder:
            report = folder / "report.json"
            self._pip(
                ["install", "--dry-run", "--ignore-installed", "--report", str(report)],
                [*more, *self._target_flags(), "--target", str(folder)],
                lines,
            )
            installed = json.loads(report.read_text(encoding="utf-8"))["install"]
        return {found.name: found for found in map(_found, installed)}

    def download(self, lines: list[str], folder: Path, torch_flavour: str = "") -> None:
        """Put the wheels of hashed requirement lines into a folder.

        Raises:
            ExportError: one is not to be had, or is another file than its hash says.
        """
        more = ["--extra-index-url", PYTORCH_INDEX + torch_flavour] if torch_flavour else []
        flags = ["--require-hashes", "--dest", str(folder), *more, *self._target_flags()]
        self._pip(["download"], flags, lines)

    def _target_flags(self) -> list[str]:
        platforms = [flag for name in self._target.platforms for flag in ("--platform", name)]
        version = ["--python-version", self._target.python, "--implementation", "cp"]
        return ["--no-deps", "--only-binary", ":all:", *version, *platforms]

    def _pip(self, command: list[str], flags: list[str], lines: list[str]) -> None:
        """Run a command of pip for requirement lines. Raises ExportError if it fails."""
        progress = PipProgress(self._tell, len(lines))
        with scratch_folder("ai-runner-requirements-") as folder:
            file, log = folder / "requirements.txt", folder / "log"
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            arguments = [*command, *flags, "--log", str(log), "-r", str(file)]
            done = run_pip(self._python, arguments, self._project, on_line=progress.read)
            if done.returncode:
                logged = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
                raise index_failure(done.stdout + done.stderr, logged, self._target)


def run_pip(
    python: str,
    arguments: list[str],
    cwd: Path,
    environ: dict[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _line: None,
) -> subprocess.CompletedProcess[str]:
    """Run pip for an interpreter: the studio's own pip, which may be newer, or that interpreter's.

    Args:
        environ: variables on top of this process's.
        on_line: called with each line of its output, from another thread.

    Raises:
        ExportError: there is no pip, or it does not end.
    """
    own = importlib.util.find_spec("pip") is not None
    command = [*module_command(sys.executable, "pip"), "--python", python] if own else module_command(python, "pip")
    quiet = ["--disable-pip-version-check", "--no-input", "--no-color"]
    # Its temporary files too are gone, however it ends.
    with scratch_folder("ai-runner-pip-") as scratch:
        variables = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(scratch), **(environ or {})}
        return _communicate([*command, *quiet, *arguments], cwd, {**os.environ, **variables}, on_line)


def _communicate(
    command: list[str], cwd: Path, environ: dict[str, str], on_line: Callable[[str], None]
) -> subprocess.CompletedProcess[str]:
    process = None
    stdout, stderr = _Output(on_line), _Output(on_line)
    try:
        with uninterrupted():  # one that raises before the process has its name here would leave it running
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # pip starts itself again in the project's interpreter: both must end
            )
        stdout.follow(process.stdout)
        stderr.follow(process.stderr)
        process.wait(PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"pip gave no answer in {PIP_TIMEOUT_S:.0f} s") from error
    finally:
        if process is not None and process.returncode is None:  # no answer in time, or a signal to this process
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return subprocess.CompletedProcess(command, process.returncode, stdout.text(), stderr.text())


class _Output:
    """One of pip's streams, read in a thread while the process is waited for."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._lines: list[str] = []
        self._reading: threading.Thread | None = None

    def follow(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self._reading = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reading.start()

    def text(self) -> str:
        """Everything up to its end."""
        assert self._reading is not None
        self._reading.join()
        return "".join(self._lines)

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._lines.append(line)
                self._on_line(line)


def _found(item: dict[str, dict[str, object]]) -> Found:
    metadata, info = item["metadata"], item["download_info"]
    archive = info.get("archive_info") or {}
    assert isinstance(archive, dict)
    url = str(info.get("url", ""))
    sha256 = (archive.get("hashes") or {}).get("sha256", "")
    name, version = canonical(str(metadata["name"])), str(metadata["version"])
    if not sha256:
        raise ExportError(
            f"the package index gives no SHA-256 for {name} {version}, so it cannot be pinned",
            "use an index that gives hashes, or install the package from a wheel file",
        )
    requires = metadata.get("requires_dist") or ()
    assert isinstance(requires, list | tuple)
    public = url.startswith(("https://files.pythonhosted.org/", PYTORCH_INDEX))
    return Found(name, version, sha256, tuple(requires), public)
