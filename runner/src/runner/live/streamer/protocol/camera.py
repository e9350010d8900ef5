"""Cameras: what there is, how the system calls it, and opening one."""

from __future__ import annotations

import errno
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import SourceError
from .media_source import MediaSource

if TYPE_CHECKING:
    import av.error

    from ...trickle.decoder import Decoder

_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
_CAPTURE_SIZES = ((640, 480), (1280, 720), (1920, 1080))  # those that nearly every camera has
_CAPTURE_FPS = 30
_OPEN_TIMEOUT_S = 10.0
_PATIENCE_S = 8.0  # cameras pause for a second or two when they adjust themselves or the bus is busy
# Without it a read blocks in the kernel as long as the camera gives no frame: nothing could close it any more, and
# while it is open no other attempt succeeds. By its number, because FFmpeg has no name for it.
_NONBLOCKING = ("fflags", "+4")


def open_camera(text: str, width: int, height: int, stop: threading.Event) -> MediaSource:
    """Open a camera by number (``0``), node (``/dev/video0``) or a part of its name.

    Raises:
        SourceError: none of that name, no permission, in use, not a camera.
    """
    container_format = _FORMATS.get(sys.platform)
    if container_format is None:
        raise SourceError(f"Cameras cannot be opened on this system ({sys.platform})")
    url, name = _find_node(text) if container_format == "v4l2" else _find_elsewhere(text, container_format)
    decoder = _open(url, name, container_format, (width, height), stop)
    return MediaSource(decoder, name, live=True, label=f"camera {name}", patience_s=_PATIENCE_S)


def _open(url: str, name: str, container_format: str, size: tuple[int, int], stop: threading.Event) -> Decoder:
    """Open with the settings that suit best; where the camera refuses some, with fewer."""
    import av.error

    from ...trickle.decoder import Decoder, Location

    attempts = _settings(container_format, *size)
    for settings in attempts:
        location = Location(url, f"camera {name}", container_format, settings, _OPEN_TIMEOUT_S, live=True)
        try:
            return Decoder(location, *size, stop)
        except av.error.FFmpegError as error:
            if error.errno != errno.EINVAL or settings is attempts[-1]:
                raise SourceError(_camera_message(url, name, error)) from error
    raise AssertionError("there is always a last attempt")


def _settings(container_format: str, width: int, height: int) -> list[tuple[tuple[str, str], ...]]:
    """Options to try, best first: the smallest usual size that covers the target, at a full frame rate."""
    wide, high = next(
        ((w, h) for w, h in _CAPTURE_SIZES if w >= width and h >= height),
        _CAPTURE_SIZES[-1],
    )
    size = ("video_size", f"{wide}x{high}")
    rate = ("framerate", str(_CAPTURE_FPS))
    if container_format == "v4l2":
        # Uncompressed pictures of this size do not go through USB 2 at a full rate.
        attempts: list[tuple[tuple[str, str], ...]] = [(("input_format", "mjpeg"), size, rate), (size, rate), ()]
        return [(*attempt, _NONBLOCKING) for attempt in attempts]
    return [(size, rate), (rate,), ()]


def _camera_message(url: str, name: str, error: av.error.FFmpegError) -> str:
    import av.error

    if isinstance(error, av.error.ExitError):
        return f"Camera {name}: no frame within {_OPEN_TIMEOUT_S:g} s; unplug it and plug it in again"
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"There is no camera {name}. {_what_there_is()}"
    if error.errno in (errno.EACCES, errno.EPERM):
        way_out = (
            "add yourself to the group that owns it (sudo usermod -aG video $USER, then log in again)"
            if sys.platform == "linux"
            else "allow it in the system's privacy settings"
        )
        return f"No permission to use camera {name}: {way_out}"
    if error.errno == errno.EBUSY:
        return f"Camera {name} is in use by another program; close that one first"
    if error.errno in (errno.ENOTTY, errno.EINVAL):
        return f"{url} is not a camera that gives pictures. {_what_there_is()}"
    return f"Camera {name} cannot be opened: {error.strerror}. {_what_there_is()}"


def _what_there_is() -> str:
    cameras = list_cameras()
    if not cameras:
        return "No camera is connected (or none is passed into this container)"
    return "There is: " + ", ".join(f"{node} ({name})" if name != node else node for node, name in cameras)


def list_cameras() -> list[tuple[str, str]]:
    """(what to open, name for people) of every camera that the system knows."""
    if sys.platform == "linux":
        nodes = sorted(Path("/dev").glob("video*"), key=lambda node: int(re.sub(r"\D", "", node.name) or 0))
        return [(str(node), _node_name(node)) for node in nodes]
    import av
    import av.error

    enumerate_devices = getattr(av, "enumerate_input_devices", None)  # newer versions of av
    if enumerate_devices is None:
        return []
    try:
        devices = enumerate_devices(_FORMATS[sys.platform])
    except (av.error.FFmpegError, ValueError):
        return []
    return [(device.name, device.description) for device in devices if "video" in device.media_types]


def _node_name(node: Path) -> str:
    try:
        return Path("/sys/class/video4linux", node.name, "name").read_text().strip()
    except OSError:
        return str(node)


def _find_node(text: str) -> tuple[str, str]:
    """(node, name for people) of the V4L2 camera that is meant."""
    if text.isdigit() or not text:
        text = f"/dev/video{text or 0}"
    if text.startswith("/"):
        return text, _node_name(Path(text))
    for node, name in list_cameras():
        if text.lower() in name.lower():
            return node, name
    raise SourceError(f"There is no camera named {text!r}. {_what_there_is()}")


def _find_elsewhere(text: str, container_format: str) -> tuple[str, str]:
    """(FFmpeg's name, name for people) of the camera that is meant, on macOS and Windows."""
    cameras = list_cameras()
    number = int(text or 0) if text.isdigit() or not text else None
    if container_format == "avfoundation":
        # FFmpeg takes the number as well as the beginning of the name; ":none" leaves the microphone alone.
        name = dict(cameras).get(text, text)
        return f"{text or 0}:none", name
    if number is not None:
        if number >= len(cameras):
            raise SourceError(f"There is no camera {number}. {_what_there_is()}")
        name = cameras[number][1]
        return f"video={cameras[number][0]}", name
    return f"video={text}", text
