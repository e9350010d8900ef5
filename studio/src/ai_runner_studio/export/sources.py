"""Sources: a project's files, without those that no image must have; each of these is told with the reason."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .plan import LeftOut

WEIGHTS_FROM_BYTES = 1_000_000  # what is smaller is a test's or a table, and belongs to the code
LARGE_FROM_BYTES = 100_000_000

_WEIGHTS = (
    *("*.safetensors", "*.ckpt", "*.pt", "*.pth", "*.onnx", "*.onnx_data", "*.bin", "*.engine", "*.plan", "*.trt"),
    *("*.gguf", "*.h5", "*.tflite", "*.pkl", "*.npz"),
)
_SECRETS = (
    *(".env", ".env.*", ".netrc", "_netrc", ".pypirc", "pip.conf", "pip.ini", ".git-credentials", ".npmrc"),
    *(".dockercfg", ".docker", ".aws", ".ssh", ".gnupg", "*.pem", "*.key", "*.p12", "*.pfx", ".htpasswd"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "credentials.json", "service-account*.json"),
)
_CACHES = (
    *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".ipynb_checkpoints"),
    *(".tox", ".nox", ".eggs", "node_modules", ".cache", "*.egg-info", "*.pyc", ".coverage", ".hypothesis"),
    ".DS_Store",
)
_TOP_CACHES = ("build", "dist")
_VERSION_CONTROL = (".git", ".hg", ".svn", ".gitmodules")
CONTEXT_MARK = "image.json"
_COMPILED = re.compile(r"\.(cpython-[^/]*|cp\d[^/]*|abi3)\.(so|pyd)$")
# What Git LFS leaves in place of a file that was not fetched: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER = b"version https://git-lfs.github.com/spec/"
_LONGEST_POINTER_BYTES = 1024

WHY_WEIGHTS = "weights belong into the models folder, prepared on the machine that serves"
WHY_SECRET = "it may hold a secret"
WHY_CACHE = "a cache or the result of a build"
WHY_OUTSIDE = "outside of the package"
WHY_POINTER = "a Git LFS pointer, not the file itself; fetch it with git lfs pull"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the project that may be in the image. `path`: relative to the folder."""

    path: str
    bytes: int


def survey(folder: Path) -> tuple[list[Source], list[LeftOut]]:
    """The files below a folder that may be in an image, and what may not. Both sorted by path.

    A link inside of the folder is what it leads to.
    """
    left: list[LeftOut] = []
    files = _files(folder, folder, left, (folder.resolve(),))
    kept = [Source(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
    return sorted(kept, key=lambda one: one.path), sorted(left, key=lambda one: one.what)


def _files(root: Path, folder: Path, left: list[LeftOut], above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield files that may be in an image. `above`: the real folders that `folder` was reached through."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if _is_context(path):
            continue  # not told either: a second export of the same project is the same plan
        why = _refusal(root, path, above)
        if why:
            unknown = why == WHY_CACHE or path.is_symlink() or entry.name in _VERSION_CONTROL
            size = None if unknown or not (path.is_file() or path.is_dir()) else _size(path)
            left.append(LeftOut(what=_printable(path.relative_to(root)), why=why, bytes=size))
        elif path.is_dir():
            yield from _files(root, path, left, (*above, path.resolve()))
        else:
            yield path


def _printable(path: Path) -> str:
    """Return the path with bytes that are not UTF-8 as escapes."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _is_context(path: Path) -> bool:
    """Whether it is a build context, which an earlier export has written."""
    return (path / CONTEXT_MARK).is_file() and (path / "Dockerfile").is_file()


def _refusal(root: Path, path: Path, above: tuple[Path, ...]) -> str:
    """Why a file or folder must not be in the image; empty: it may."""
    name = path.name
    if why := _link_refusal(root, path, above) if path.is_symlink() else _name_refusal(name):
        return why
    if not _is_utf8(name):
        return "its name is not UTF-8, which a wheel cannot have"
    if path.parent == root and name in _TOP_CACHES and path.is_dir():
        return WHY_CACHE
    if path.is_dir() and ((path / "pyvenv.cfg").is_file() or (path / "conda-meta").is_dir()):
        return "an environment"
    if path.is_file():
        size = path.stat().st_size
        if size <= _LONGEST_POINTER_BYTES and path.read_bytes().startswith(_POINTER):
            return WHY_POINTER
        if size >= WEIGHTS_FROM_BYTES and _matches(name.lower(), _WEIGHTS):
            return WHY_WEIGHTS
        if size >= LARGE_FROM_BYTES:
            return "large data belongs into the models folder"
    return "" if path.is_file() or path.is_dir() else "neither a file nor a folder"


def _name_refusal(name: str) -> str:
    if name in _VERSION_CONTROL:
        return "version control"
    if sounds_secret(name):
        return WHY_SECRET
    return WHY_CACHE if _matches(name, _CACHES) else ""


def _link_refusal(root: Path, path: Path, above: tuple[Path, ...]) -> str:
    if why := _name_refusal(path.name):
        return why
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return "a link to nothing"
    if not target.is_relative_to(root.resolve()):
        return "a link that leads out of the project"
    if any(folder.is_relative_to(target) for folder in above):
        return "a link to a folder that it is in"
    return next(filter(None, map(_name_refusal, target.relative_to(root.resolve()).parts)), "")


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_compiled(path: str) -> bool:
    """Whether a file is a module of compiled code; a library that `ctypes` loads is none."""
    return bool(_COMPILED.search(path))


def sounds_secret(name: str) -> bool:
    """Whether files or folders of this name usually hold secrets."""
    name = name.lower()
    return _matches(name, _SECRETS) and not name.endswith((".py", ".example", ".sample", ".template"))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())


def copy_sources(folder: Path, kept: list[Source], to: Path) -> None:
    """Copy files below `folder` to below `to`: a build may write beside them there.

    Raises:
        OSError: one cannot be read or written.
    """
    for source in kept:
        copy = to / source.path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / source.path, copy)


def outside(folder: Path, kept: list[Source], packaged: set[str]) -> list[LeftOut]:
    """What of `kept` is not in the package: whole folders where nothing in them is.

    Args:
        packaged: SHA-256 (hex) of each file of the package: a build may have put it to another place.
    """
    missing = [
        one
        for one in kept
        if one.bytes and hashlib.sha256((folder / one.path).read_bytes()).hexdigest() not in packaged
    ]
    inside = {parent for one in kept if one not in missing and one.bytes for parent in _parents(one.path)}
    sizes: dict[str, int] = {}
    for one in missing:
        whole = next((parent for parent in _parents(one.path) if parent not in inside), None)
        what = f"{whole}/" if whole else one.path
        sizes[what] = sizes.get(what, 0) + one.bytes
    return [LeftOut(what=what, why=WHY_OUTSIDE, bytes=size) for what, size in sorted(sizes.items())]


def _parents(path: str) -> list[str]:
    """Folders above a file, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]
