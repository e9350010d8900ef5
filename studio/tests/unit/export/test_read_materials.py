"""What an interpreter holds, read as it is inside an image: by a program of the standard library."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from ai_runner_studio.export import read_materials

STATUS = """Package: libssl3
Status: install ok installed
Architecture: amd64
Version: 3.0.17-1

Package: vim
Status: deinstall ok config-files
Architecture: amd64
Version: 9.0
"""


def test_it_names_the_packages_of_its_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-I", read_materials.__file__], capture_output=True, text=True, check=True, timeout=60
    )
    told = json.loads(done.stdout)
    assert told["python"] == sys.version.split()[0]
    [numpy] = [one for one in told["components"] if one["kind"] == "python" and one["name"] == "numpy"]
    assert numpy["version"] == importlib.metadata.version("numpy")


def test_only_installed_packages_of_the_system_count(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(STATUS)
    assert list(read_materials.system_packages(str(status))) == [
        {"kind": "deb", "name": "libssl3", "version": "3.0.17-1", "architecture": "amd64"}
    ]
    assert list(read_materials.system_packages(str(tmp_path / "none"))) == []


def test_the_system_is_named(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('PRETTY_NAME="Debian 12"\nID=debian\nVERSION_ID="12"\n')
    assert read_materials.system(str(release)) == "debian 12"
    assert read_materials.system(str(tmp_path / "none")) == ""
