"""What of this machine a context could give away: its folders, pip's and uv's configuration, its environment."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from ..interpreter import Interpreter
from .leaks import LeakScan, leak_scan
from .package_index import run_pip


def scan_of_machine(interpreter: Interpreter, project: Path, workshop: Path, allowed: tuple[str, ...]) -> LeakScan:
    """The scan for a project's context on this machine.

    Args:
        allowed: texts that are meant to be in the image.
    """
    environment = Path(interpreter.path).parents[1]
    folders = [Path.home(), project, workshop, environment, Path(sys.prefix)]
    return leak_scan(folders, _configuration(interpreter, project), os.environ, allowed)


def _configuration(interpreter: Interpreter, project: Path) -> str:
    """Texts that name package indexes. They are looked into and forgotten."""
    from platformdirs import user_config_path

    texts = [run_pip(interpreter.path, ["config", "list"], project).stdout]
    texts += [value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))]
    files = [project / name for name in ("uv.toml", "pyproject.toml", "uv.lock")]
    for file in (user_config_path("uv") / "uv.toml", *files):
        if file.is_file():
            texts.append(_index_lines(file))
    return "\n".join(texts)


def _index_lines(file: Path) -> str:
    """Lines of a uv configuration or lock that name an index."""
    lines = set(file.read_text(encoding="utf-8", errors="replace").splitlines())
    return "\n".join(line for line in sorted(lines) if re.search(r"^\s*url\s*=|index|registry", line))
