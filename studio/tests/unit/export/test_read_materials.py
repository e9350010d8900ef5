"""What an interpreter holds, read as it is inside an image: by a program of the standard library."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

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
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: Apache-2.0

Files: debian/*
License: Apache-2.0

Files: crypto/*
License: GPL-1+ or Artistic
 The text of it.
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
    (tmp_path / "libssl3").mkdir()
    (tmp_path / "libssl3/copyright").write_text(COPYRIGHT)
    found = {"kind": "deb", "name": "libssl3", "version": "3.0.17-1", "architecture": "amd64"}
    names = ["Apache-2.0", "GPL-1+ or Artistic"]
    assert list(read_materials.system_packages(str(status), str(tmp_path))) == [found | {"licences": names}]
    assert list(read_materials.system_packages(str(status), str(tmp_path / "none"))) == [found | {"licences": []}]
    assert list(read_materials.system_packages(str(tmp_path / "none"))) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "the GPL: `/usr/share/common-licenses/GPL-2'.\nAlso see /usr/share/common-licenses/LGPL-2.1.",
            ["GPL-2", "LGPL-2.1"],
        ),
        ("License: named in prose\n", []),
        ("Format: x\n\nLicense:\n a whole text\n", []),
        (f"Format: x\n\nLicense: {'a' * 300}\n", ["a" * 100]),
    ],
)
def test_licences_of_a_debian_copyright_file(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "copyright").write_text(text)
    assert read_materials.copyright_licences(str(tmp_path / "copyright")) == names


def test_the_system_is_named(tmp_path: Path) -> None:
    release = tmp_path / "os-release"
    release.write_text('PRETTY_NAME="Debian 12"\nID=debian\nVERSION_ID="12"\n')
    assert read_materials.system(str(release)) == "debian 12"
    assert read_materials.system(str(tmp_path / "none")) == ""
