"""Which Python runs the pipeline, and why that one.

The studio may live in another interpreter than the project: the host is started with the project's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from runner.module_command import SAFE_PATH

from .errors import InterpreterError

OLDEST_PYTHON = (3, 10)
CHECK_TIMEOUT_S = 20.0  # a cold disk and a busy machine; a warm start takes 30 ms

# Runs in the project's interpreter, which may be any Python: old syntax, nothing imported but the runner's
# empty package modules. `runner.live.events` is there to tell ours from another package called `runner`.
_CHECK = (
    f"{SAFE_PATH}\n"
    + """
import json
found = {"python": list(sys.version_info[:3]), "runner": None, "file": None, "ours": False}
try:
    import importlib.util
    import runner
    found["file"] = getattr(runner, "__file__", None) or str(list(getattr(runner, "__path__", [])))
    found["runner"] = getattr(runner, "__version__", None)
    found["ours"] = all(
        importlib.util.find_spec(name) is not None for name in ("runner.live.infer", "runner.live.events")
    )
except ImportError:
    pass
sys.stdout.write(json.dumps(found))
"""
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python to run the pipeline with.

    Attributes:
        path: the executable, absolute; a virtual environment's own one, not what it links to.
        reason: where it comes from, in words for the screen.
        version: e.g. ``3.11.7``; empty until `check_interpreter` has seen it.
    """

    path: str
    reason: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What an interpreter said of itself; `file` and `runner` are those of the package ``runner`` it has."""

    python: tuple[int, ...]
    runner: str | None
    file: str | None
    ours: bool


_OTHER = "name another one with --python"


def find_interpreter(explicit: str | None, project: Path, configured: str | None = None) -> Interpreter:
    """The project's interpreter.

    Args:
        explicit: of ``--python`` or the environment. configured: of pyproject.toml. Both may name an
            executable or a virtual environment's folder.
        project: folder from which a ``.venv`` is looked for upward.

    Raises:
        InterpreterError: `explicit` or `configured` names no Python.
    """
    if explicit:
        return Interpreter(_executable(explicit, "--python"), "--python")
    if configured:
        return Interpreter(_executable(configured, "[tool.ai-runner-studio] python"), "pyproject.toml")
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        found = _python_in(Path(os.environ[variable])) if os.environ.get(variable) else None
        if found:
            return Interpreter(found, f"active environment ({variable})")
    project = project.absolute()
    for folder in (project, *project.parents):
        found = _python_in(folder / ".venv")
        if found:
            return Interpreter(found, f"nearest .venv, in {folder}")
    return Interpreter(sys.executable, "the studio's own")


def _executable(named: str, flag: str) -> str:
    path = Path(os.path.abspath(os.path.expanduser(named)))
    if path.is_dir():
        found = _python_in(path)
        if not found:
            raise InterpreterError(
                f"{flag}: no Python in the folder {path}", "name an executable or the folder of a virtual environment"
            )
        return found
    if not path.is_file():
        raise InterpreterError(f"{flag}: there is no file {path}", "name an executable, e.g. .venv/bin/python")
    if not os.access(path, os.X_OK):
        raise InterpreterError(f"{flag}: {path} cannot be executed")
    return str(path)


def _python_in(folder: Path) -> str | None:
    """The Python of a virtual environment, a conda prefix or an installation; None where there is none."""
    names = ("Scripts/python.exe", "python.exe") if os.name == "nt" else ("bin/python", "bin/python3")
    for name in names:
        path = folder.absolute() / name
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def check_interpreter(interpreter: Interpreter, project: Path) -> Interpreter:
    """The interpreter with its version, if it can run the host.

    It is started once, in `project` and with this process's environment, so that it finds what the host
    would find. The studio's own interpreter is not started: it has ai-runner-base, the studio depends on it.

    Raises:
        InterpreterError: it is no Python, too old, or has no fitting ai-runner-base.
    """
    if _is_own(interpreter.path):
        return replace(interpreter, version=_dotted(sys.version_info[:3]))
    found = _ask(interpreter, project)
    if found.python < OLDEST_PYTHON:
        raise InterpreterError(
            f"{interpreter.path} is Python {_dotted(found.python)} ({interpreter.reason})",
            f"Python {_dotted(OLDEST_PYTHON)} or newer is needed; name another one with --python",
        )
    _check_runner(interpreter, found)
    return replace(interpreter, version=_dotted(found.python))


def _is_own(path: str) -> bool:
    if os.path.abspath(path) == os.path.abspath(sys.executable):
        return True
    # `python` and `python3` of the environment that the studio itself runs in.
    return sys.prefix != sys.base_prefix and Path(path).parent == Path(sys.executable).parent


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _ask(interpreter: Interpreter, project: Path) -> _Found:
    path = interpreter.path
    unusable = f"{path} does not work as a Python ({interpreter.reason})"
    try:
        done = subprocess.run(
            [path, "-c", _CHECK],
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InterpreterError(f"{path} gave no answer in {CHECK_TIMEOUT_S:.0f} s ({interpreter.reason})") from error
    except OSError as error:
        raise InterpreterError(f"{unusable}: {error.strerror or error}", _OTHER) from error
    try:
        answer = json.loads(done.stdout)
        return _Found(tuple(answer["python"]), answer["runner"], answer["file"], answer["ours"])
    except (ValueError, KeyError, TypeError) as error:
        last = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
        raise InterpreterError(f"{unusable}: {last[0] if last else 'no output'}", _OTHER) from error


def _check_runner(interpreter: Interpreter, found: _Found) -> None:
    import runner

    path = interpreter.path
    install = f"{path} -m pip install ai-runner-base"
    if not found.ours:
        other = f" (the package 'runner' it has, {found.file}, is another one)" if found.file else ""
        raise InterpreterError(
            f"{path} has no ai-runner-base{other}; it was chosen as {interpreter.reason}", f"install it: {install}"
        )
    # Before 1.0 a new minor version may change what host and studio say to each other.
    if _minor(found.runner) != _minor(runner.__version__):
        raise InterpreterError(
            f"{path} has ai-runner-base {found.runner}, this studio needs {_minor(runner.__version__)}",
            f"install a fitting one: {install}~={_minor(runner.__version__)}.0",
        )


def _minor(version: str | None) -> str:
    return ".".join((version or "").split(".")[:2])
