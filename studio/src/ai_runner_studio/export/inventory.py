"""Inventory: what the project's interpreter has installed. It is asked in a process; no user code is imported."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runner.module_command import SAFE_PATH

from ..errors import InterpreterError
from ..interpreter import Interpreter

ASK_TIMEOUT_S = 60.0  # some hundred distributions on a cold disk

# Runs in the project's interpreter and folder. Modules are looked for as the host would, and none is imported: only
# the top-level name is asked for.
_ASK = (
    f"{SAFE_PATH}\n"
    + """
import importlib.metadata, json, platform
sys.path.insert(0, os.getcwd())
found, seen = [], set()
for dist in importlib.metadata.distributions():
    name = dist.metadata["Name"]
    if not name or name.lower().replace("_", "-") in seen:
        continue
    seen.add(name.lower().replace("_", "-"))
    top = dist.read_text("top_level.txt")
    modules = set(top.split()) if top else set()
    for file in dist.files or ():
        first = file.parts[0]
        if len(file.parts) > 1:
            if first not in ("..", "__pycache__") and not first.endswith((".dist-info", ".egg-info")):
                modules.add(first)
        elif first.endswith((".py", ".so")):
            modules.add(first.split(".")[0])
    direct = dist.read_text("direct_url.json")
    found.append({
        "name": name,
        "version": dist.version,
        "requires": list(dist.requires or ()),
        "direct_url": json.loads(direct) if direct else None,
        "scripts": {e.name: e.value for e in dist.entry_points if e.group == "console_scripts"},
        "script_files": {},
        "modules": sorted(modules),
    })
def place(name):
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return (list(spec.submodule_search_locations or ()) or [spec.origin])[0]
origins = {name: place(name) for name in json.loads(sys.argv[1])}
for one in found:
    # Entrypoints: who may start a runner. Others' scripts are not looked at.
    if any(line.lower().replace("_", "-").startswith("ai-runner-base") for line in one["requires"]):
        for script, value in one["scripts"].items():
            parts = value.split(":")[0].strip().split(".")
            top = place(parts[0])
            if top and os.path.isdir(top):
                inside = os.path.join(top, *parts[1:])
                top = inside + ".py" if os.path.isfile(inside + ".py") else os.path.join(inside, "__init__.py")
            if top and os.path.isfile(top):
                one["script_files"][script] = top
torch_file = None
for folder in sys.path:
    if os.path.isfile(os.path.join(folder or ".", "torch", "version.py")):
        torch_file = open(os.path.join(folder or ".", "torch", "version.py"), encoding="utf-8").read()
        break
json.dump({
    "python": "%d.%d" % sys.version_info[:2],
    "prefix": sys.prefix,
    "system": sys.platform,
    "machine": platform.machine(),
    "standard": sorted(getattr(sys, "stdlib_module_names", ())),
    "distributions": found,
    "origins": origins,
    "torch": torch_file,
}, sys.stdout)
"""
)


def canonical(name: str) -> str:
    """A distribution's name in the one form that all its spellings share (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True)
class Installed:
    """A distribution of the project's environment.

    Attributes:
        name: canonical. requires: as its metadata says.
        direct_url: PEP 610, where it did not come from an index.
        scripts: console script -> ``module:function``. script_files: the files of those modules, where the
            distribution needs ai-runner-base. modules: top-level names that it installs.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    direct_url: dict[str, object] | None = None
    scripts: dict[str, str] = field(default_factory=dict)
    script_files: dict[str, str] = field(default_factory=dict)
    modules: tuple[str, ...] = ()

    @property
    def local_folder(self) -> Path | None:
        """The folder that it was installed from (editable or not), None where it was none."""
        return self._local_path() if "dir_info" in (self.direct_url or {}) else None

    @property
    def local_wheel(self) -> Path | None:
        """The wheel file that it was installed from, None where it was none."""
        path = self._local_path()
        return path if path and path.suffix == ".whl" else None

    def _local_path(self) -> Path | None:
        url = urlsplit(str((self.direct_url or {}).get("url", "")))
        return Path(unquote(url.path)) if url.scheme == "file" else None


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an interpreter said.

    Attributes:
        python: ``3.11``. prefix: of its environment. system, machine: ``linux``, ``x86_64``.
        standard: names of the standard library's modules.
        distributions: canonical name -> what is installed.
        origins: top-level module -> its file or folder, for those that were asked for; None: not there.
        torch_version: text of torch's ``version.py``, empty without torch.
    """

    python: str
    prefix: Path
    system: str
    machine: str
    standard: frozenset[str]
    distributions: dict[str, Installed]
    origins: dict[str, Path | None]
    torch_version: str

    def providing(self, module: str) -> Installed | None:
        """The distribution that installs a top-level module."""
        return next((one for one in self.distributions.values() if module in one.modules), None)


def take_inventory(interpreter: Interpreter, project: Path, modules: tuple[str, ...]) -> Inventory:
    """Ask the interpreter, in the project's folder.

    Args:
        modules: top-level names whose place is wanted.

    Raises:
        InterpreterError: it gives no answer that makes sense.
    """
    command = [interpreter.path, "-B", "-c", _ASK, json.dumps(modules)]
    try:
        done = subprocess.run(
            command, cwd=project, stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_TIMEOUT_S, check=False
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise InterpreterError(
            f"{interpreter.path} does not say what is installed in it: {error}", "name another one with --python"
        ) from error
    installed = [
        Installed(
            **{
                **one,
                "name": canonical(one["name"]),
                "requires": tuple(one["requires"]),
                "modules": tuple(one["modules"]),
            }
        )
        for one in answer["distributions"]
    ]
    return Inventory(
        python=answer["python"],
        prefix=Path(answer["prefix"]),
        system=answer["system"],
        machine=answer["machine"],
        standard=frozenset(answer["standard"]),
        distributions={one.name: one for one in installed},
        origins={name: Path(place) if place else None for name, place in answer["origins"].items()},
        torch_version=answer["torch"] or "",
    )
