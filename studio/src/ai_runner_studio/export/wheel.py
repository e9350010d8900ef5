"""Wheel: written, read and made the same byte for byte wherever it was built."""

from __future__ import annotations

import base64
import configparser
import email.parser
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import parse_wheel_filename

from .inventory import canonical

# The oldest time that a zip can hold, for every file: when a wheel was built says nothing of what is in it.
_TIME = (1980, 1, 1, 0, 0, 0)
_WHEEL = b"Wheel-Version: 1.0\nGenerator: ai-runner-studio\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A wheel on the disk, and what its metadata says.

    Attributes:
        name: canonical. pure: it holds no compiled code, and fits every platform.
        scripts: console script -> ``module:function``.
    """

    path: Path
    name: str
    version: str
    requires: tuple[str, ...]
    scripts: dict[str, str]
    pure: bool

    @property
    def sha256(self) -> str:
        """Of the file, hex."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def read_wheel(path: Path) -> WheelFile:
    """What a wheel is.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read.
        KeyError: it has no metadata.
    """
    with zipfile.ZipFile(path) as wheel:
        inside = next(name.split("/")[0] for name in wheel.namelist() if name.split("/")[0].endswith(".dist-info"))
        metadata = email.parser.BytesParser().parsebytes(wheel.read(f"{inside}/METADATA"))
        points = configparser.RawConfigParser(delimiters=("=",))
        points.optionxform = str  # type: ignore[assignment, method-assign]  # names of scripts keep their case
        if f"{inside}/entry_points.txt" in wheel.namelist():
            points.read_string(wheel.read(f"{inside}/entry_points.txt").decode())
    scripts = dict(points["console_scripts"]) if points.has_section("console_scripts") else {}
    _, _, _, tags = parse_wheel_filename(path.name)
    return WheelFile(
        path=path,
        name=canonical(str(metadata["Name"])),
        version=str(metadata["Version"]),
        requires=tuple(str(line) for line in metadata.get_all("Requires-Dist") or ()),
        scripts=scripts,
        pure=all(tag.abi == "none" and tag.platform == "any" for tag in tags),
    )


def files_of(path: Path) -> dict[str, bytes]:
    """Name -> content of every file in a wheel."""
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/")}


def normalise(path: Path) -> None:
    """Write a wheel again with its files sorted, no times, and modes of two kinds. Its contents stay."""
    with zipfile.ZipFile(path) as wheel:
        members = {
            item.filename: (wheel.read(item), bool(item.external_attr >> 16 & 0o100))
            for item in wheel.infolist()
            if not item.is_dir()
        }
    _write(path, members)


def write_wheel(
    folder: Path,
    name: str,
    version: str,
    files: dict[str, bytes],
    requires: tuple[str, ...] = (),
    scripts: dict[str, str] | None = None,
) -> WheelFile:
    """A pure wheel of `files` (path in site-packages -> content), into `folder`."""
    plain = canonical(name).replace("-", "_")
    inside = f"{plain}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    metadata += [f"Requires-Dist: {line}\n" for line in requires]
    entries = "".join(f"{script} = {target}\n" for script, target in sorted((scripts or {}).items()))
    members = {
        **files,
        f"{inside}/METADATA": "".join(metadata).encode(),
        f"{inside}/WHEEL": _WHEEL,
    }
    if entries:
        members[f"{inside}/entry_points.txt"] = f"[console_scripts]\n{entries}".encode()
    record = [f"{path},sha256={_record_hash(data)},{len(data)}\n" for path, data in sorted(members.items())]
    members[f"{inside}/RECORD"] = "".join([*record, f"{inside}/RECORD,,\n"]).encode()
    path = folder / f"{plain}-{version}-py3-none-any.whl"
    _write(path, {name: (data, False) for name, data in members.items()})
    return read_wheel(path)


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _write(path: Path, members: dict[str, tuple[bytes, bool]]) -> None:
    fresh = path.with_name(f"{path.name}.new")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:
        # Metadata last, as the format recommends.
        for name in sorted(members, key=lambda name: (name.split("/")[0].endswith(".dist-info"), name)):
            data, executable = members[name]
            item = zipfile.ZipInfo(name, _TIME)
            item.compress_type = zipfile.ZIP_DEFLATED
            item.create_system = 3  # Unix: what the modes below are of
            item.external_attr = (0o100755 if executable else 0o100644) << 16
            wheel.writestr(item, data)
    fresh.replace(path)
