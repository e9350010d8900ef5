"""Capture devices by name, without opening one for capture."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

SYSTEM_FOLDER = Path("/sys/class/video4linux")
DEVICE_FOLDER = Path("/dev")

# From linux/videodev2.h: VIDIOC_QUERYCAP is _IOR('V', 0, 104 bytes).
_QUERY_CAPABILITIES = 0x80685600
_CAPABILITIES = struct.Struct("=16s32s32sIII3I")  # driver, card, bus, version, capabilities, device's own, reserved
_CAN_CAPTURE_VIDEO = 0x1


@dataclass(frozen=True, slots=True)
class Camera:
    """One capture device.

    Attributes:
        input: what to give as ``--input``.
        name: as the driver gives it.
        path: the device's node.
        problem: why it cannot be used now, else empty.
    """

    input: str
    name: str
    path: str
    problem: str = ""


def can_list() -> bool:
    """Whether cameras can be listed on this system without a capture library."""
    return sys.platform.startswith("linux")


def cameras(system: Path = SYSTEM_FOLDER, devices: Path = DEVICE_FOLDER) -> list[Camera]:
    """Capture devices that Linux knows, in the order of their numbers; nodes that give only metadata are left out."""
    found = []
    for entry in sorted(system.glob("video*"), key=lambda entry: _number(entry.name)):
        path = devices / entry.name
        captures, problem = _captures(path)
        if captures:
            found.append(Camera(f"webcam:{_number(entry.name)}", _name(entry), str(path), problem))
    return found


def _number(name: str) -> int:
    digits = name.removeprefix("video")
    return int(digits) if digits.isdigit() else 0


def _name(entry: Path) -> str:
    try:
        return (entry / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return entry.name


def _captures(path: Path) -> tuple[bool, str]:
    """Whether a node gives pictures, and what keeps us from using it; a node that cannot be asked is listed."""
    import fcntl

    answer = bytearray(_CAPABILITIES.size)
    try:
        with path.open("rb", buffering=0) as device:
            fcntl.ioctl(device, _QUERY_CAPABILITIES, answer)
    except PermissionError:
        return True, "no permission: add yourself to the group 'video'"
    except OSError as error:
        return True, error.strerror or str(error)
    return bool(_CAPABILITIES.unpack(answer)[5] & _CAN_CAPTURE_VIDEO), ""
