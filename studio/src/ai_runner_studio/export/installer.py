"""The installer inside the build: uv, one version, fetched once for each platform and kept in the user's cache."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from ..errors import ExportError
from ..interruption import scratch_folder
from .package_index import PackageIndex
from .plan import Installer, Platform

VERSION = "0.13.9"
# Wheels of that version on PyPI: nothing else is run inside a build.
WHEELS: dict[Platform, str] = {
    "linux/amd64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "linux/arm64": "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
}


def fetch_installer(platform: Platform, index: PackageIndex) -> tuple[Installer, Path]:
    """The uv for a platform and where it lies on this machine.

    Raises:
        ExportError: it is not in the cache and the index does not give it.
    """
    from platformdirs import user_cache_path

    place = user_cache_path("ai-runner-studio", appauthor=False) / f"uv-{VERSION}-{platform.partition('/')[2]}"
    if not place.is_file():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _download(place, platform, index)
        except OSError as error:
            raise ExportError(f"{place} cannot be written: {error.strerror or error}") from error
    return Installer(version=VERSION, sha256=hashlib.sha256(place.read_bytes()).hexdigest()), place


def _download(place: Path, platform: Platform, index: PackageIndex) -> None:
    with scratch_folder(".uv-", place.parent) as folder:
        index.download([f"uv=={VERSION} --hash=sha256:{WHEELS[platform]}"], folder)
        wheel = next(folder.glob("uv-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            program = archive.read(f"uv-{VERSION}.data/scripts/uv")
        fresh = folder / "uv"
        fresh.write_bytes(program)
        fresh.chmod(0o755)
        fresh.replace(place)
