"""Makes the build context of these images: ``python docker/context.py [--torch ...] [--app NAME ...]``.

The context has all that a build needs, so that it asks nobody: wheels from the index and of our own packages, uv,
and for each layer a requirement file with hashes. Those files are the builders' cache keys. It is made by the pip of
the Python that runs this, for that Python's version and this platform, with pip's own settings.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
IGNORE = "*\n!wheels\n!req\n!tools\n"
TORCH = "torch==2.13.0"  # as in constraints.txt
UV = "uv==0.13.9"


class ContextError(Exception):
    """The context cannot be made; says why."""


def main() -> int:
    """Make the context; the exit code."""
    parser = argparse.ArgumentParser(description="Make the build context of the images in this folder.")
    parser.add_argument("--torch", default=TORCH, metavar="REQUIREMENT", help="build of torch (default: %(default)s)")
    parser.add_argument("--torch-index", metavar="URL", help="where that is, e.g. download.pytorch.org/whl/cu130")
    parser.add_argument("--app", action="append", metavar="NAME", help="pipelines/NAME-entrypoint; default: noop")
    parser.add_argument(
        "--with",
        action="append",
        default=[],
        dest="extra",
        metavar="REQUIREMENT",
        help="also in the last app's layer, built from source if need be: what no index has",
    )
    parser.add_argument("--output", type=Path, default=HERE / "context", metavar="DIR", help="default: %(default)s")
    options = parser.parse_args()
    apps = options.app or ["noop"]
    try:
        for app in apps:
            _packages(app)
        with tempfile.TemporaryDirectory(dir=options.output.parent, prefix=".context-") as folder:
            context = Context(Path(folder) / "context")
            context.base(options.torch, options.torch_index)
            for app in apps:
                context.app(app, *(options.extra if app == apps[-1] else ()))
            shutil.rmtree(options.output, ignore_errors=True)
            context.folder.rename(options.output)
    except (ContextError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"made: {options.output}, for Python {sys.version_info[0]}.{sys.version_info[1]}")
    return 0


class Context:
    """A build context that grows by layers: ``req/LAYER.txt`` pins what is in ``wheels/LAYER/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "req").mkdir(parents=True)
        (folder / "tools").mkdir()
        (folder / ".dockerignore").write_text(IGNORE)
        shutil.copy(HERE / "install", folder / "tools/install")
        self._uv()

    def base(self, torch: str, torch_index: str | None) -> None:
        """What live-base has: torch with all that it needs, what the runner needs, the runner."""
        self._fetch("base-torch", torch, *(["--index-url", torch_index] if torch_index else []))
        self._fetch("base-dependencies", *self._build("base-runner", ROOT / "runner"))

    def app(self, name: str, *extra: str) -> None:
        """What live-app-NAME has on top of that: its library if there is one, entrypoint, `extra`, what they need."""
        own = self._build(name, *_packages(name), *extra)
        self._fetch(f"{name}-dependencies", *own)

    def _build(self, layer: str, *packages: Path | str) -> list[Path]:
        """A layer of wheels of this repository's packages."""
        place = self._place(layer)
        _pip("wheel", "--no-deps", "--wheel-dir", str(place), *map(str, packages))
        self._pin(layer)
        return sorted(place.iterdir())

    def _fetch(self, layer: str, *wanted: str | Path) -> None:
        """A layer of what these need beyond live-base and their own layer; the versions in those stay."""
        place = self._place(layer)
        below = [*self.folder.glob("wheels/base-*"), self.folder / "wheels" / layer.removesuffix("-dependencies")]
        there = {wheel.name: wheel for folder in below for wheel in folder.glob("*.whl")}
        constraints = self.folder.parent / "constraints.txt"
        constraints.write_text("".join(f"{_name(wheel)}=={_version(wheel)}\n" for wheel in there.values()))
        links = [f"--find-links={folder}" for folder in below]
        options = ["--only-binary=:all:", f"--dest={place}", f"--constraint={constraints}"]
        _pip("download", *options, *links, *map(str, wanted))
        for name in there.keys() & {wheel.name for wheel in place.iterdir()}:
            (place / name).unlink()
        self._pin(layer)

    def _place(self, layer: str) -> Path:
        place = self.folder / "wheels" / layer
        place.mkdir(parents=True)
        return place

    def _pin(self, layer: str) -> None:
        wheels = (self.folder / "wheels" / layer).iterdir()
        lines = [f"{_name(wheel)}=={_version(wheel)} --hash=sha256:{_digest(wheel)}\n" for wheel in wheels]
        (self.folder / "req" / f"{layer}.txt").write_text("".join(sorted(lines)))

    def _uv(self) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as folder:
            _pip("download", "--no-deps", "--only-binary=:all:", "--dest", folder, UV)
            with zipfile.ZipFile(next(Path(folder).glob("uv-*.whl"))) as wheel:
                packed = next(name for name in wheel.namelist() if name.endswith("/scripts/uv"))
                (self.folder / "tools/uv").write_bytes(wheel.read(packed))
        (self.folder / "tools/uv").chmod(0o755)


def _packages(app: str) -> list[Path]:
    """The folders of an app's own packages."""
    library, entrypoint = (ROOT / "pipelines" / name / "pyproject.toml" for name in (app, f"{app}-entrypoint"))
    if not entrypoint.is_file():
        raise ContextError(f"--app {app}: there is no package pipelines/{app}-entrypoint")
    return [file.parent for file in (library, entrypoint) if file.is_file()]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        raise ContextError(f"pip {arguments[0]} failed: {' '.join(told[-3:])}")


def _name(wheel: Path) -> str:
    return wheel.name.split("-")[0].replace("_", "-").lower()


def _version(wheel: Path) -> str:
    return wheel.name.split("-")[1]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
