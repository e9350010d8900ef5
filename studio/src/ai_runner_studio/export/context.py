"""The build context: a folder that any builder makes the image from, without this tool and without the project."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from ..errors import ExportError, UsageError
from ..interruption import scratch_folder, uninterrupted
from .dockerfile import INDEX_SETTINGS, dockerfile
from .leaks import LeakScan
from .plan import EPOCH_S, ImagePlan
from .planner import Draft, Tell
from .readme import readme

PLAN_FILE = "image.json"
LEAKS_SHOWN = 10


def write_context(draft: Draft, folder: Path, scan: LeakScan, tell: Tell) -> None:
    """Write the context. It appears when it is whole; what was there before, if it is a context, gives way.

    Raises:
        UsageError: the folder holds something else.
        ExportError: something of the developer's would go out with it, or it cannot be written. Nothing is left behind.
    """
    with written_context(draft, folder, scan, tell):
        pass


@contextmanager
def written_context(draft: Draft, folder: Path, scan: LeakScan, tell: Tell) -> Iterator[None]:
    """Write the context, as `write_context`; if the block raises, the folder is again what it was before."""
    folder = Path(os.path.abspath(folder))
    check_output(folder)
    writing = True
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(f".{folder.name}.", folder.parent) as place:
            made = place / "context"
            _fill(draft, made, tell)
            tell("looking for what must not go out")
            _refuse_leaks(scan, made)
            _settle(made)
            with _in_place(made, folder, place / "before"):
                writing = False
                yield
    except OSError as error:
        if not writing:  # the block's own
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise ExportError(
            f"{folder} cannot be written: {error.strerror or error}", "make room and try again" if full else ""
        ) from error


def check_output(folder: Path) -> None:
    """Refuse a place that holds something else than a context.

    Raises:
        UsageError: it does.
    """
    other = "name another folder with --output, or remove that one"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"--output {folder} is not a folder", other)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        ImagePlan.from_json((folder / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise UsageError(f"--output {folder} holds something else than a build context", other) from error


def _fill(draft: Draft, folder: Path, tell: Tell) -> None:
    plan = draft.plan
    parts = ["req", "pkgs", "tools", *(["wheels"] if plan.offline else [])]
    for name in parts:
        (folder / name).mkdir(parents=True)
    texts = {
        "Dockerfile": dockerfile(plan),
        ".dockerignore": "".join(f"{line}\n" for line in ("*", *(f"!{name}" for name in parts))),
        ".gitignore": "*\n",  # it is made, and can be made again
        "README.md": readme(plan),
        PLAN_FILE: plan.to_json(),
        **{layer.file: "".join(f"{one.line}\n" for one in layer.requirements) for layer in plan.layers},
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for wheel in draft.wheels:
        shutil.copyfile(wheel, folder / "pkgs" / wheel.name)
    shutil.copyfile(draft.installer, folder / "tools" / "uv")
    if not plan.offline:
        shutil.copyfile(Path(__file__).with_name("index_settings.py"), folder / "tools" / INDEX_SETTINGS)
    if plan.offline:
        tell("downloading the wheels")
        _download(draft, folder / "wheels")


def _download(draft: Draft, folder: Path) -> None:
    foreign = [one for layer in draft.plan.layers for one in layer.requirements if one.origin != "own"]
    torch = [one.line for one in foreign if one.name == "torch"]
    others = [one.line for one in foreign if one.name != "torch"]
    if others:
        draft.index.download(others, folder)
    if torch:
        draft.index.download(torch, folder, draft.torch_index)


def _refuse_leaks(scan: LeakScan, folder: Path) -> None:
    leaks = scan.scan(folder)
    if not leaks:
        return
    shown = [f"  {leak.place}: {leak.what}" for leak in leaks[:LEAKS_SHOWN]]
    more = [f"  and {len(leaks) - LEAKS_SHOWN} more"] if len(leaks) > LEAKS_SHOWN else []
    raise ExportError(
        "\n".join(["the image would give away what is the developer's:", *shown, *more]),
        "take it out of the sources; a text that is meant to be there is named in allow = [...] of "
        "[tool.ai-runner-studio.image]",
    )


def _settle(folder: Path) -> None:
    """Modes and times that depend on nothing."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "tools" else 0o644)
        os.utime(path, (EPOCH_S, EPOCH_S))


@contextmanager
def _in_place(made: Path, folder: Path, before: Path) -> Iterator[None]:
    """Move the context to its folder; if that or the block fails, what was there comes back."""
    placed = False
    try:
        with uninterrupted():
            if folder.is_dir():
                folder.replace(before)
            made.replace(folder)
            placed = True
        yield
    except BaseException:
        with uninterrupted():
            if placed:
                folder.replace(made)
            if before.is_dir():
                before.replace(folder)
        raise
