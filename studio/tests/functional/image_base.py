"""The base image of tests: a file system of Debian packages with Python, 177 MB, from this machine's package sources.

`make image-tools` runs this file with any Python: it needs nothing installed, so that it can run beside the installs.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = ("buildah", "podman", "runc", "mmdebstrap")
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}  # of Debian's releases
SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_LEAVE_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
# What of this machine would get into the image.
_CLEAN = (
    'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*; '
    ': > "$1"/etc/resolv.conf; : > "$1"/etc/hostname'
)


def why_not() -> str:
    """What is missing to build and run images here; empty if nothing is."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "building an image from Debian packages needs root on Linux"
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SEARCH_PATH) is None]
    if missing:
        return f"{', '.join(missing)} not installed: make image-tools"
    if codename() not in PYTHONS:
        return f"the base image is made of this machine's Debian, and this is {codename() or 'none'}"
    return ""


def codename() -> str:
    """Of this machine's Debian."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def base_archive(place: Path) -> Path:
    """The archive in that folder, made if it is not there yet."""
    archive = place / f"{codename()}.tar"
    if archive.exists():
        return archive
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        made = Path(folder) / "rootfs.tar"
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEAVE_OUT]
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                "--include=ca-certificates,python3-minimal,python3-venv",
                '--aptopt=APT::Install-Recommends "false"',
                *options,
                "--dpkgopt=path-include=/usr/share/doc/*/copyright",  # as Debian's slim images
                f"--customize-hook={_CLEAN}",
                codename(),
                str(made),
                *map(str, _sources()),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            umask=0o022,
            env=os.environ | {"PATH": SEARCH_PATH},
        )
        os.replace(made, archive)
    return archive


def _sources() -> list[Path]:
    """Where this machine gets Debian's own packages from."""
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("debian.*"))]
    return [place for place in places if place.is_file() and place.suffix in (".list", ".sources")]


if __name__ == "__main__":
    if not why_not():
        base_archive(Path(sys.argv[1]))
