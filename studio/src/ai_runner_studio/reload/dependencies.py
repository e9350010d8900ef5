"""Dependencies: what the project asks to be installed. A change of that needs more than a reload."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from ..settings_file import TABLE
from .fingerprint import Fingerprint, take

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT_FILE = "pyproject.toml"
# Lock file -> what brings the environment in line with it.
LOCKS = {
    "uv.lock": "uv sync",
    "poetry.lock": "poetry install",
    "pdm.lock": "pdm install",
    "pixi.lock": "pixi install",
    "Pipfile.lock": "pipenv sync",
}
ENVIRONMENTS = ("environment.yml", "environment.yaml")
_REQUIREMENTS = "requirements*.txt"
# In pyproject.toml: where dependencies, and where to find them, are written down.
_TABLES = (
    ("project", "dependencies"),
    ("project", "optional-dependencies"),
    ("build-system",),
    ("dependency-groups",),
    ("tool", "uv"),
    ("tool", "poetry", "dependencies"),
    ("tool", "poetry", "dev-dependencies"),
    ("tool", "poetry", "group"),
    ("tool", "poetry", "extras"),
    ("tool", "poetry", "source"),
    ("tool", "pdm", "dev-dependencies"),
    ("tool", "pdm", "source"),
    ("tool", "pixi", "dependencies"),
    ("tool", "pixi", "pypi-dependencies"),
    ("tool", "setuptools", "dynamic"),
)


class Dependencies:
    """Watches the files that say what to install, and the studio's own settings beside them.

    They are looked for in the project's folder and above it up to the top of its repository; without a repository,
    in the project's folder alone.
    """

    def __init__(self, project: Path) -> None:
        self._folders = _folders_upward(project)
        self._seen: dict[Path, Fingerprint] = {}
        self._asked: dict[Path, str] = {}
        self._settings: dict[Path, object] = {}

    @property
    def folders(self) -> list[Path]:
        """Where such files may lie, the project's first."""
        return self._folders

    def may_be(self, path: str) -> bool:
        """Whether a path has the name of such a file."""
        name = Path(path)
        return name.name in (PROJECT_FILE, *LOCKS, *ENVIRONMENTS) or name.match(_REQUIREMENTS)

    def look(self) -> list[str]:
        """Sentences for the user about what has changed since the last look; the first one tells nothing."""
        asking: list[Path] = []
        said: list[str] = []
        for path in self._files():
            known = self._seen.get(path)
            now = take(path, known)
            if now is None or now.empty or now == known:
                continue
            self._seen[path] = now
            tables = _tables(path) if path.name == PROJECT_FILE else {}
            if tables is None:  # half-written
                continue
            asked = _asked(path, tables)
            if self._asked.setdefault(path, asked) != asked:
                asking.append(path)
            settings = _at(tables, ("tool", TABLE))
            if self._settings.setdefault(path, settings) != settings:
                said.append(f"[tool.{TABLE}] in {path.name} has changed: start the studio again for it")
            self._asked[path], self._settings[path] = asked, settings
        return [self._advice(asking), *said] if asking else said

    def _files(self) -> list[Path]:
        names = (PROJECT_FILE, *LOCKS, *ENVIRONMENTS)
        fixed = [folder / name for folder in self._folders for name in names]
        return fixed + [path for folder in self._folders for path in _requirements(folder)]

    def _advice(self, asking: list[Path]) -> str:
        names = list(dict.fromkeys(path.name for path in asking))
        said = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        ask = "asks" if len(names) == 1 else "ask"
        return f"{said} {ask} for other dependencies now: install them ({self._command(asking[0])}), then press R"

    def _command(self, path: Path) -> str:
        """What installs what `path` asks for."""
        if path.name in LOCKS:
            return LOCKS[path.name]
        if path.name in ENVIRONMENTS:
            return f"conda env update -f {path.name}"
        if path.name != PROJECT_FILE:
            return f"pip install -r {path.name}"
        for folder in self._folders:
            for lock, command in LOCKS.items():
                if (folder / lock).is_file():
                    return command
        return "pip install -e ."


def _folders_upward(project: Path) -> list[Path]:
    folders = [project, *project.parents]
    top = next((i for i, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    return folders[: top + 1]


def _requirements(folder: Path) -> list[Path]:
    """None where the folder cannot be read just now: no file descriptors may be left, and the next look is soon."""
    try:
        return sorted(folder.glob(_REQUIREMENTS))
    except OSError:
        return []


def _tables(path: Path) -> dict[str, Any] | None:
    """What a TOML file holds; None where it does not parse."""
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return tables


def _asked(path: Path, tables: dict[str, Any]) -> str:
    """What a file asks for, without what does not matter: other tables, comments, empty lines."""
    if path.name == PROJECT_FILE:
        return json.dumps([_at(tables, keys) for keys in _TABLES], sort_keys=True, default=str)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    lines = (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in text.splitlines())
    return hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()


def _at(tables: Any, keys: tuple[str, ...]) -> object:
    for key in keys:
        tables = tables.get(key) if isinstance(tables, dict) else None
    return tables
