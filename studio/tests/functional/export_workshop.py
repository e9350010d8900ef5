"""What an export needs, small and real: an environment with a runtime in it, an index of wheels, projects.

The runtime is a package of that name, without its gigabyte of dependencies: a plan asks only for metadata and files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import runner
from ai_runner_studio.export.wheel import WheelFile, write_wheel

PATIENCE_S = 100.0
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"

# Says what it was asked to serve, and ends.
START_APP = "import json\ndef start_app(spec): print(json.dumps(vars(spec)))\n"
RUNTIME = {
    "runner/__init__.py": f"__version__ = {runner.__version__!r}\n",
    "runner/app.py": START_APP,
    "runner/live/__init__.py": "",
    "runner/live/infer.py": "",
    "runner/live/events.py": "",
    "runner/live/pipelines/__init__.py": "class PipelineSpec:\n    def __init__(self, **said): self.__dict__ = said\n",
}
# A build backend in a dozen lines: it needs nothing installed and no index.
BACKEND = """
import pathlib, zipfile
try: import tomllib
except ImportError: import tomli as tomllib
def build_wheel(folder, settings=None, metadata=None):
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
    name = f"{project['name'].replace('-', '_')}-{project['version']}"
    inside = f"{name}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\\n" for line in project.get("dependencies", []))
    scripts = "".join(f"{key} = {value}\\n" for key, value in project.get("scripts", {}).items())
    with zipfile.ZipFile(pathlib.Path(folder, f"{name}-py3-none-any.whl"), "w") as wheel:
        for path in pathlib.Path(project["name"]).rglob("*"):
            if path.is_file():
                wheel.write(path)
        wheel.writestr(f"{inside}/METADATA", f"Metadata-Version: 2.1\\nName: {project['name']}\\nVersion: {project['version']}\\n{needs}")
        wheel.writestr(f"{inside}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{inside}/entry_points.txt", f"[console_scripts]\\n{scripts}")
        wheel.writestr(f"{inside}/RECORD", "")
    pathlib.Path("left-by-the-build.txt").write_text("as backends do")
    return f"{name}-py3-none-any.whl"
"""
BUILD_SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@dataclass
class Workshop:
    """A folder with an index of wheels, an environment, and the installer in a cache.

    Attributes:
        index: folder of wheels, all that pip can find. python: of the environment. cache: the user's cache.
    """

    index: Path
    python: str
    cache: Path
    wheels: dict[str, WheelFile] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """Variables with which an export sees this workshop alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "AI_RUNNER_"))}
        for name in ("PIPELINE_IMPORT", "PARAMS_IMPORT", "VIRTUAL_ENV", "MODEL_ID"):
            kept.pop(name, None)
        return kept | {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "AI_RUNNER_STUDIO_PYTHON": self.python,
            "XDG_CACHE_HOME": str(self.cache),
            "NO_COLOR": "1",
        }

    def publish(self, name: str, version: str, *requires: str, tag: str = "", module: str = "") -> WheelFile:
        """Put a wheel into the index; with `tag` it is one for some machines alone."""
        files = {f"{module or name}/__init__.py": f"VERSION = {version!r}\n".encode()}
        wheel = write_wheel(self.index, name, version, files, requires)
        if tag:
            wheel.path.replace(wheel.path.with_name(wheel.path.name.replace("py3-none-any", tag)))
        self.wheels[name] = wheel
        return wheel

    def install(self, wheel: WheelFile, direct_url: dict[str, Any] | None = None) -> None:
        """Unpack a wheel into the environment."""
        with zipfile.ZipFile(wheel.path) as archive:
            archive.extractall(self.packages)
            inside = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        if direct_url:
            (self.packages / inside / "direct_url.json").write_text(json.dumps(direct_url))

    def install_folder(self, folder: Path, name: str, version: str, *requires: str) -> None:
        """As an editable install: metadata, and a path to the sources."""
        wheel = write_wheel(self.index.parent, name, version, {}, requires)
        self.install(wheel, {"url": folder.as_uri(), "dir_info": {"editable": True}})
        wheel.path.unlink()
        (self.packages / f"__editable__.{name}.pth").write_text(f"{folder}\n")

    def uninstall(self, *names: str) -> None:
        """Take packages out of the environment."""
        for name in names:
            for path in [*self.packages.glob(f"{name}*"), *self.packages.glob(f"__editable__.{name}*")]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @property
    def packages(self) -> Path:
        folder = Path(self.python).parents[1]
        return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))

    def export(self, project: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """The command, as a process, in the project's folder."""
        return subprocess.run(
            [sys.executable, "-m", "ai_runner_studio", "export-image", *arguments],
            cwd=project,
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )


def make_workshop(folder: Path) -> Workshop:
    """An environment with the runtime and two small packages, and the index that they are from."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True, timeout=PATIENCE_S)
    shop = Workshop(folder / "index", str(folder / "env/bin/python"), folder / "cache")
    shop.index.mkdir()
    runtime = {name: text.encode() for name, text in RUNTIME.items()}
    shop.wheels["ai-runner-base"] = write_wheel(
        shop.index, "ai-runner-base", runner.__version__, runtime, ("smallthing",)
    )
    shop.publish("smallthing", "1.5")
    shop.publish("colours", "2.0", "smallthing>=1")
    shop.publish("unused", "1.0")
    for wheel in shop.wheels.values():
        shop.install(wheel)
    fetch = (
        "import sys; from pathlib import Path; from ai_runner_studio.export.installer import fetch_installer;"
        "from ai_runner_studio.export.package_index import PackageIndex; from ai_runner_studio.export.target import Target;"
        "fetch_installer('linux/amd64', PackageIndex(sys.executable, Target('3.11', 'linux/amd64'), Path()))"
    )
    environ = os.environ | {"XDG_CACHE_HOME": str(shop.cache)}
    subprocess.run([sys.executable, "-c", fetch], env=environ, check=True, timeout=PATIENCE_S)
    return shop


def write(folder: Path, files: dict[str, str]) -> Path:
    """Files with these texts below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


LOOSE = {
    "mine/__init__.py": "",
    "mine/pipeline.py": "import colours\nimport shared\n\nclass Mine:\n    def transform(self, frame, params): return frame\n",
    "shared.py": "LEVEL = 1\n",
    "notes.md": "what I think of it\n",
    "tests/test_mine.py": "def test(): pass\n",
}


def loose_project(folder: Path, **more: str) -> Path:
    """A folder of modules that is no package."""
    return write(folder, {**LOOSE, **more})


def packaged_project(folder: Path, *dependencies: str, scripts: str = "", **more: str) -> Path:
    """A package ``tint`` which builds itself."""
    needs = ", ".join(f'"{one}"' for one in ("ai-runner-base", *dependencies))
    pyproject = f'{BUILD_SYSTEM}[project]\nname = "tint"\nversion = "1.2.0"\ndescription = "Red."\ndependencies = [{needs}]\n{scripts}'
    return write(
        folder,
        {
            "pyproject.toml": pyproject,
            "backend.py": BACKEND,
            "tint/__init__.py": "",
            "tint/pipeline.py": "class Tint:\n    def transform(self, frame, params): return frame\n",
            **more,
        },
    )


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Path -> mode and content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mode, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
