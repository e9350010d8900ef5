"""The package index, asked through pip with the project's own configuration: exact versions, hashes, requirements.

Hosts, credentials and paths of that configuration stay in pip; nothing of them is kept here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExportError
from ..interruption import scratch_folder, uninterrupted
from .inventory import canonical
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

    def __init__(self, python: str, target: Target, project: Path) -> None:
        """`python`: the project's interpreter, whose configuration counts. `project`: the folder pip is run in."""
        self._python = python
        self._target = target
        self._project = project

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
            done = self._pip(
                ["install", "--dry-run", "--ignore-installed", "--report", str(report)],
                [*more, *self._target_flags(), "--target", str(folder)],
                lines,
            )
            if done.returncode:
                raise self._failure(done.stderr)
            installed = json.loads(report.read_text(encoding="utf-8"))["install"]
        return {found.name: found for found in map(_found, installed)}

    def download(self, lines: list[str], folder: Path, torch_flavour: str = "") -> None:
        """Put the wheels of hashed requirement lines into a folder.

        Raises:
            ExportError: one is not to be had, or is another file than its hash says.
        """
        more = ["--extra-index-url", PYTORCH_INDEX + torch_flavour] if torch_flavour else []
        flags = ["--require-hashes", "--dest", str(folder), *more, *self._target_flags()]
        done = self._pip(["download"], flags, lines)
        if done.returncode:
            raise self._failure(done.stderr)

    def has_source_of(self, name: str, version: str) -> bool:
        """Whether the index has this version in some form, though no wheel of it fits."""
        done = self._pip(["index", "versions", name, "--pre"], [], [])
        listed = re.search(r"Available versions: (.*)", done.stdout)
        return bool(listed and version in listed.group(1).split(", "))

    def _target_flags(self) -> list[str]:
        platforms = [flag for name in self._target.platforms for flag in ("--platform", name)]
        version = ["--python-version", self._target.python, "--implementation", "cp"]
        return ["--no-deps", "--only-binary", ":all:", *version, *platforms]

    def _pip(self, command: list[str], flags: list[str], lines: list[str]) -> subprocess.CompletedProcess[str]:
        with scratch_folder("ai-runner-requirements-") as folder:
            file = folder / "requirements.txt"
            file.write_text("\n".join(lines) + "\n", encoding="utf-8")
            wanted = ["-r", str(file)] if lines else []
            return run_pip(self._python, [*command, *flags, *wanted], self._project)

    def _failure(self, said: str) -> ExportError:
        """pip's complaint in our words; no host of it is repeated."""
        missing = re.search(r"No matching distribution found for ([^\s(]+)", said)
        if missing:
            return self._missing(missing.group(1))
        if "HASHES" in said:
            name = re.search(r"^\s+([\w.-]+)==\S+ from", said, re.MULTILINE)
            of = name.group(1) if name else "a package"
            return ExportError(f"the file of {of} that the index gives now is another one than its hash says")
        if re.search(r"No space left on device", said):
            return ExportError("the disk is full: pip could not store what it downloaded", "make room and try again")
        if re.search(r"\b(401|403)\b|User for|Unauthorized|Forbidden", said):
            return ExportError(
                "the package index refuses access: no hashes can be had from it",
                "check the credentials in pip's configuration (pip config list), then try again",
            )
        last = [line for line in said.splitlines() if line.startswith("ERROR:")][-1:] or said.splitlines()[-1:]
        what = re.sub(r"https?://\S+|file://\S+", "(address)", last[0].removeprefix("ERROR: ")) if last else "no output"
        return ExportError(f"the package index could not be asked: {what}", "try `pip download` in the project by hand")

    def _missing(self, line: str) -> ExportError:
        name, _, version = line.partition("==")
        target = f"Python {self._target.python} on {self._target.platform}"
        if version and self.has_source_of(name, version):
            return ExportError(
                f"{name} {version} has no wheel for {target}, only a source distribution",
                f"build one (pip wheel {name}=={version}) and install that file, or take a version that has one",
            )
        return ExportError(
            f"the package index has no {line} for {target}, so it cannot be pinned",
            "a private package needs pip's configuration to name its index; another build of torch: --torch",
        )


def run_pip(
    python: str, arguments: list[str], cwd: Path, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run pip for an interpreter: the studio's own pip, which may be newer, or that interpreter's.

    Args:
        environ: variables on top of this process's.

    Raises:
        ExportError: there is no pip, or it does not end.
    """
    own = importlib.util.find_spec("pip") is not None
    command = [sys.executable, "-m", "pip", "--python", python] if own else [python, "-m", "pip"]
    quiet = ["--disable-pip-version-check", "--no-input", "--no-color"]
    # Its temporary files too are gone, however it ends.
    with scratch_folder("ai-runner-pip-") as scratch:
        variables = {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(scratch), **(environ or {})}
        return _communicate([*command, *quiet, *arguments], cwd, {**os.environ, **variables})


def _communicate(command: list[str], cwd: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    process = None
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
        stdout, stderr = process.communicate(timeout=PIP_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"pip gave no answer in {PIP_TIMEOUT_S:.0f} s") from error
    finally:
        if process is not None and process.returncode is None:  # no answer in time, or a signal to this process
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


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
