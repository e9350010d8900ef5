"""From what the user calls an input to the source string that the host opens (`StreamRequest.source`)."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from pathlib import Path

from ..errors import SourceNotFound
from .cameras import DEVICE_FOLDER, cameras, can_list
from .samples import default_input, sample_videos

URL_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "udp", "srt")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PATTERN = re.compile(r"([1-9]\d{0,4}x[1-9]\d{0,4})?(@\d+(\.\d+)?)?")


def resolve_input(text: str, project: Path) -> str:
    """The source string for an input.

    Args:
        text: a sample's name, a file or pipe, ``webcam`` or ``webcam:N``, ``pattern`` or ``pattern:WxH@FPS``, or a
            URL; empty for the default. A bare word is a sample if there is one of that name, else a file.
        project: folder in which a relative path is looked for when the working directory has no such file.

    Raises:
        SourceNotFound: there is no such thing, or no source of that kind.
    """
    text = text.strip() or default_input()
    url = _URL.match(text)
    if url:
        return _url(text, url.group(1).lower())
    kind, _, rest = text.partition(":")
    named = _NAMED.get(kind)
    return named(rest) if named else _sample_or_file(text, project)


def _url(text: str, scheme: str) -> str:
    if scheme == "file":
        raise SourceNotFound(f"input '{text}': files are named by their path", "leave file:// out")
    if scheme not in URL_SCHEMES:
        raise SourceNotFound(f"input '{text}': URLs of the kind '{scheme}' cannot be read", _allowed_urls())
    return text


def _allowed_urls() -> str:
    return "possible: " + ", ".join(URL_SCHEMES)


def _webcam(rest: str) -> str:
    name = rest or "0"
    # Elsewhere only the capture library knows; on Linux a look saves the time of loading the pipeline first.
    if can_list() and name.isdecimal() and not (DEVICE_FOLDER / f"video{name}").exists():
        found = ", ".join(camera.input for camera in cameras())
        raise SourceNotFound(
            f"there is no camera {DEVICE_FOLDER}/video{name}",
            f"there are: {found}" if found else "no camera is connected, or none is passed into this container",
        )
    return f"device:{name}"


def _pattern(rest: str) -> str:
    if not _PATTERN.fullmatch(rest):
        raise SourceNotFound(f"input 'pattern:{rest}' is not of the form pattern:WxH@FPS", "e.g. pattern:1280x720@30")
    return f"pattern:{rest}"


def _ring(rest: str) -> str:
    if not rest:
        raise SourceNotFound("input 'shm:' names no shared memory", "give shm:NAME")
    return f"shm:{rest}"


_NAMED: dict[str, Callable[[str], str]] = {"webcam": _webcam, "device": _webcam, "pattern": _pattern, "shm": _ring}


def _sample_or_file(text: str, project: Path) -> str:
    videos = {video.name: video.path for video in sample_videos()}
    path = Path(text).expanduser()
    # A bare word may name both; whoever means the file can say so with a suffix or a slash.
    if text in videos and not path.suffix and path.name == text:
        return str(videos[text])
    for candidate in (Path.cwd() / path, project / path):
        if candidate.is_dir():
            raise SourceNotFound(f"input '{text}' is a folder", "name a video file in it")
        if candidate.is_fifo():
            return _pipe(candidate)
        if candidate.is_char_device() and candidate.match("/dev/video*"):
            return f"device:{candidate}"
        if candidate.is_file():
            if not os.access(candidate, os.R_OK):
                raise SourceNotFound(f"input '{text}': no permission to read {candidate}")
            return os.path.abspath(candidate)
    raise SourceNotFound(_missing(text, path), _near(text, path, list(videos)))


def _pipe(path: Path) -> str:
    """The path by which the runner host can open a pipe: the numbers in /dev/fd are those of this process."""
    own = Path(f"/proc/{os.getpid()}/fd")
    link = path
    while link.is_symlink():
        if link.parent.resolve() == own:
            return str(own / link.name)
        link = link.parent / link.readlink()
    return os.path.abspath(path)


def _missing(text: str, path: Path) -> str:
    if path.suffix or path.name != text:
        return f"input '{text}': there is no such file"
    return f"input '{text}': there is no sample and no file of that name"


def _near(text: str, path: Path, samples: list[str]) -> str:
    """What it may have been meant to be, and what there is."""
    folder = path.parent if path.parent.is_dir() else Path()
    try:
        beside = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        beside = []
    near = difflib.get_close_matches(text, samples, n=2)
    near += [str(folder / name) for name in difflib.get_close_matches(path.name, beside, n=2)]
    said = "did you mean " + " or ".join(f"'{name}'" for name in near) + "? " if near else ""
    listed = "samples: " + ", ".join(samples) if samples else "no samples are installed"
    return f"{said}{listed}; or pattern, webcam, a URL"
