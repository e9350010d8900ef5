"""Fingerprints of files: what counts as another content."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ai_runner_studio.reload import fingerprint
from ai_runner_studio.reload.fingerprint import Fingerprints, Look


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
    assert fingerprints.look().changed == {file}
    assert fingerprints.look().changed == set()


def test_what_is_known_of_a_file_survives_a_new_set(file: Path) -> None:
    fingerprints = of(file)
    file.write_text("22")
    fingerprints.set_paths([file, file.with_name("b.py")])
    assert fingerprints.look().changed == {file}


def test_the_same_stamp_is_looked_behind_only_when_the_file_was_named(file: Path) -> None:
    fingerprints = of(file)
    stamp = file.stat().st_mtime_ns
    file.write_text("2")
    os.utime(file, ns=(stamp, stamp))
    assert fingerprints.look().changed == set()
    assert fingerprints.look(named=[file]).changed == {file}


def test_gone_and_empty_files_wait_for_a_decision(file: Path) -> None:
    fingerprints = of(file)
    file.write_text("")
    assert fingerprints.look() == Look(hollow={file})
    assert fingerprints.settle({file}) == {file}
    assert fingerprints.look() == Look()
    file.unlink()
    assert fingerprints.look() == Look()
    file.write_text("1")
    assert fingerprints.look() == Look(changed={file})


def test_a_file_that_has_come_back_meanwhile_is_not_settled(file: Path) -> None:
    fingerprints = of(file)
    content = file.read_text()
    file.unlink()
    assert fingerprints.look().hollow == {file}
    file.write_text(content)
    assert fingerprints.settle({file}) == set()
    assert fingerprints.look() == Look()


def test_a_new_file_is_a_change_if_it_was_written_after_the_load_started(file: Path) -> None:
    written_at = time.time() - 1000
    os.utime(file, (written_at, written_at))
    for load_started_at, changed in ((written_at + 10, set()), (written_at - 10, {file})):
        fingerprints = Fingerprints()
        fingerprints.set_paths([file], newer_than=load_started_at)
        assert fingerprints.look().changed == changed


def test_a_time_in_the_future_makes_no_file_newer_than_the_load(file: Path) -> None:
    fingerprints = Fingerprints()
    later = time.time() + 10_000
    os.utime(file, (later, later))
    fingerprints.set_paths([file], newer_than=time.time() - 10)
    assert fingerprints.look().changed == set()


def test_a_look_at_some_files_leaves_the_others_for_later(file: Path) -> None:
    other = file.with_name("b.py")
    other.write_text("1")
    fingerprints = of(file, other)
    file.write_text("22")
    other.write_text("22")
    assert fingerprints.look([other]).changed == {other}
    assert fingerprints.look().changed == {file}


def test_large_files_are_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "LARGEST_HASHED_BYTES", 4)
    file.write_bytes(b"12345")
    fingerprints = of(file)
    stamp = file.stat().st_mtime_ns
    file.write_bytes(b"54321")
    os.utime(file, ns=(stamp, stamp))
    assert fingerprints.look(named=[file]).changed == set()
    os.utime(file, ns=(stamp, stamp + 1))
    assert fingerprints.look().changed == {file}
