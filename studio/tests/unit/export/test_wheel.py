"""Wheels: written the same each time, read back, and installable."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from ai_runner_studio.export.wheel import files_of, normalise, read_wheel, write_wheel

FILES = {"tint/__init__.py": b"NAME = 'tint'\n", "tint/table.txt": b"1 2 3\n"}


def written(folder: Path) -> Path:
    folder.mkdir()
    scripts = {"tint-runner": "tint:main"}
    return write_wheel(folder, "Tint.Pipe", "1.0+abc", FILES, ("numpy>=1", "ai-runner-base"), scripts).path


class TestWriting:
    def test_two_are_the_same_byte_for_byte(self, tmp_path: Path) -> None:
        one, other = written(tmp_path / "one"), written(tmp_path / "other")
        assert one.read_bytes() == other.read_bytes()

    def test_what_was_written_is_read(self, tmp_path: Path) -> None:
        wheel = read_wheel(written(tmp_path / "one"))
        assert wheel.path.name == "tint_pipe-1.0+abc-py3-none-any.whl"
        assert (wheel.name, wheel.version, wheel.pure) == ("tint-pipe", "1.0+abc", True)
        assert wheel.requires == ("numpy>=1", "ai-runner-base")
        assert wheel.scripts == {"tint-runner": "tint:main"}
        assert FILES.items() <= files_of(wheel.path).items()

    def test_pip_installs_it(self, tmp_path: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--no-index",
            "--target",
            str(tmp_path / "to"),
        ]
        done = subprocess.run([*command, str(written(tmp_path / "one"))], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "to/tint/table.txt").read_bytes() == FILES["tint/table.txt"]


class TestNormalising:
    def test_order_times_and_modes_do_not_matter_any_more(self, tmp_path: Path) -> None:
        made = []
        for name, order, year in (("one", 1, 2001), ("other", -1, 2026)):
            source = written(tmp_path / name)
            path = tmp_path / name / "again-1.0-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as wheel:
                for member, data in list(files_of(source).items())[::order]:
                    item = zipfile.ZipInfo(member, (year, 1, 2, 3, 4, 6))
                    item.external_attr = (0o100600 if year == 2001 else 0o100664) << 16
                    wheel.writestr(item, data)
            normalise(path)
            made.append(path.read_bytes())
        assert made[0] == made[1]

    def test_programs_stay_programs(self, tmp_path: Path) -> None:
        path = tmp_path / "a-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            item = zipfile.ZipInfo("a-1.0.data/scripts/go")
            item.external_attr = 0o100700 << 16
            wheel.writestr(item, b"#!/bin/sh\n")
        normalise(path)
        assert zipfile.ZipFile(path).infolist()[0].external_attr >> 16 == 0o100755
