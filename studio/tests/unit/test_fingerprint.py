"""Fingerprints of files: what counts as another content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ai_runner_studio.reload import fingerprint
from ai_runner_studio.reload.fingerprint import Fingerprints


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_text("1")
    return path


def of(*paths: Path) -> Fingerprints:
    fingerprints = Fingerprints()
    fingerprints.set_paths(paths)
    return fingerprints


def test_a_change_is_told_once(file: Path) -> None:
    fingerprints = of(file)
    file.write_text("22")
    assert fingerprints.changed() == {file}
    assert fingerprints.changed() == set()


def test_what_is_known_of_a_file_survives_a_new_set(file: Path) -> None:
    fingerprints = of(file)
    file.write_text("22")
    fingerprints.set_paths([file, file.with_name("b.py")])
    assert fingerprints.changed() == {file}


def test_the_same_stamp_is_looked_behind_only_when_the_file_was_named(file: Path) -> None:
    fingerprints = of(file)
    stamp = file.stat().st_mtime_ns
    file.write_text("2")
    os.utime(file, ns=(stamp, stamp))
    assert fingerprints.changed() == set()
    assert fingerprints.changed([str(file)]) == {file}


def test_gone_and_empty_files_wait_for_a_decision(file: Path) -> None:
    fingerprints = of(file)
    file.write_text("")
    assert fingerprints.changed() == set()
    assert fingerprints.unsettled() == {file}
    assert fingerprints.settle({file}) == {file}
    assert fingerprints.unsettled() == set()
    file.unlink()
    assert fingerprints.changed() == set()


def test_large_files_are_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "LARGEST_HASHED_BYTES", 4)
    file.write_bytes(b"12345")
    fingerprints = of(file)
    stamp = file.stat().st_mtime_ns
    file.write_bytes(b"54321")
    os.utime(file, ns=(stamp, stamp))
    assert fingerprints.changed([str(file)]) == set()
    os.utime(file, ns=(stamp, stamp + 1))
    assert fingerprints.changed() == {file}
