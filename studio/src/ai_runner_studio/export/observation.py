"""Observation: which files of a project the processes of a local run have opened or imported."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from .plan import LeftOut
from .sources import WHY_OUTSIDE

# Every Python process that finds it on its path runs it before anything else. It makes way for one of the user's.
_HOOK = """
import os, sys
project, noted, seen = {project!r}, {noted!r}, set()
def opened(event, arguments):
    if event != "open" or isinstance(arguments[0], int):
        return
    try:
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path in seen or not path.startswith(project) or arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        seen.add(path)
        with open(noted, "ab") as file:
            file.write(os.fsencode(path) + b"\\0")
    except Exception:  # of a path of another kind: the pipeline must not notice that it is observed
        pass
sys.addaudithook(opened)
this = sys.modules.pop("sitecustomize")
sys.path.remove(os.path.dirname(__file__))
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = this
"""


class Observation:
    """Notes what Python processes with its `environment` open for reading, below a project's folder.

    What code in other languages opens is not seen.
    """

    def __init__(self, project: Path, folder: Path) -> None:
        """`folder`: an empty one, which must outlive the processes."""
        self._project = project
        self._noted = folder / "noted"
        self._site = folder / "site"
        self._site.mkdir()
        hook = _HOOK.format(project=str(project) + os.sep, noted=str(self._noted))
        (self._site / "sitecustomize.py").write_text(hook, encoding="utf-8")

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the processes, on top of this one's."""
        places = [str(self._site), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(places)}

    def files(self) -> tuple[str, ...]:
        """Paths in the project, sorted; of a compiled module its source's."""
        noted = self._noted.read_bytes().split(b"\0")[:-1] if self._noted.exists() else []
        paths = {Path(_source(os.fsdecode(path))) for path in noted}
        return tuple(sorted(path.relative_to(self._project).as_posix() for path in paths if path.is_file()))


def _source(path: str) -> str:
    try:
        return importlib.util.source_from_cache(path) if path.endswith(".pyc") else path
    except ValueError:  # a .pyc of its own
        return path


def missing_files(opened: Iterable[str], left_out: Iterable[LeftOut]) -> list[LeftOut]:
    """Return those opened files that are not in an image, each with the reason.

    Caches, environments and the like do not count: nobody has looked at how large they are.
    """
    left = [one for one in left_out if one.bytes is not None]
    return [
        LeftOut(what=file, why=one.why, bytes=one.bytes)
        for file in opened
        for one in left
        if file == one.what or file.startswith(f"{one.what.rstrip('/')}/")
    ]


def warning_of(missing: LeftOut, packaged: bool) -> str:
    """Return a line for the user. `packaged`: the project's own build decides what is in its package."""
    remedy = "let the package's pyproject.toml take it in" if packaged else f"--include {missing.what} takes it in"
    way_out = f"; {remedy}" if missing.why == WHY_OUTSIDE else ""
    return f"warning: the pipeline opens {missing.what} here, and the image lacks it ({missing.why}){way_out}"
