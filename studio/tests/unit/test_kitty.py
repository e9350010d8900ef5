"""Kitty graphics sequences, taken apart again."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ai_runner_studio.preview import kitty

_COMMAND = re.compile(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)


def commands(text: str) -> list[tuple[dict[str, str], str]]:
    """Keys and payload of every command; fails if there is anything else in the text."""
    assert _COMMAND.sub("", text) == ""
    return [(dict(pair.split("=") for pair in keys.split(",")), data) for keys, data in _COMMAND.findall(text)]


def unwrapped(text: str) -> str:
    """What tmux hands on."""
    parts = re.findall(r"\x1bPtmux;((?:\x1b\x1b|[^\x1b])*)\x1b\\", text)
    return "".join(parts).replace("\x1b\x1b", "\x1b")


class TestPlaced:
    def test_chunks_decode_to_the_picture(self, pixels: NDArray[np.uint8]) -> None:
        parts = commands(kitty.placed(pixels, 7, 20, 10, by_file=False))
        first = parts[0][0]
        assert (first["a"], first["i"], first["c"], first["r"], first["f"]) == ("T", "7", "20", "10", "24")
        assert (first["s"], first["v"], first["C"], first["q"]) == ("60", "40", "1", "2")
        assert [keys["m"] for keys, _ in parts] == ["1"] * (len(parts) - 1) + ["0"]
        assert all(len(data) <= 4096 for _, data in parts)
        data = zlib.decompress(base64.b64decode("".join(data for _, data in parts)))
        assert data == pixels.tobytes()

    def test_a_file_holds_the_picture_and_is_swept(self, pixels: NDArray[np.uint8]) -> None:
        ((keys, data),) = commands(kitty.placed(pixels[:, ::2], 7, 20, 10, by_file=True))
        path = Path(base64.b64decode(data).decode())
        assert keys["t"] == "t"
        assert "tty-graphics-protocol" in path.name
        assert path.read_bytes() == pixels[:, ::2].tobytes()
        kitty.sweep()
        assert not path.exists()

    def test_files_that_nobody_takes_do_not_pile_up(self, pixels: NDArray[np.uint8]) -> None:
        paths = []
        for _ in range(20):
            ((_, data),) = commands(kitty.placed(pixels, 7, 20, 10, by_file=True))
            paths.append(Path(base64.b64decode(data).decode()))
        assert sum(path.exists() for path in paths) <= 8
        kitty.sweep()
        assert not any(path.exists() for path in paths)


class TestTmux:
    def test_a_virtual_picture_passes_through_whole(self, pixels: NDArray[np.uint8]) -> None:
        parts = commands(unwrapped(kitty.virtual(pixels, 9, 20, 10, by_file=False)))
        assert parts[0][0]["U"] == "1"
        data = zlib.decompress(base64.b64decode("".join(data for _, data in parts)))
        assert data == pixels.tobytes()

    def test_placeholders_number_their_rows(self) -> None:
        rows = kitty.placeholder_rows(9, 5, 3)
        assert len(rows) == 3
        for number, row in enumerate(rows):
            assert row.count(kitty.PLACEHOLDER) == 5
            assert row.startswith("\x1b[38;5;9m")
            assert row.split(kitty.PLACEHOLDER)[1] == kitty.ROW_MARKS[number] + kitty.ROW_MARKS[0]

    def test_row_marks_differ_and_are_many_enough(self) -> None:
        assert len(set(kitty.ROW_MARKS)) == len(kitty.ROW_MARKS) >= 100
        assert kitty.ROW_MARKS[:3] == ("\u0305", "\u030d", "\u030e")


def test_deleting_frees_the_image() -> None:
    assert commands(kitty.deleted(7)) == [({"a": "d", "d": "I", "i": "7", "q": "2"}, "")]


def test_a_query_wants_an_answer() -> None:
    ((keys, _),) = commands(kitty.query(31, by_file=False))
    assert keys["a"] == "q"
    assert "q" not in keys


def test_files_of_a_killed_studio_are_swept_and_those_of_a_living_one_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kitty, "_FOLDERS", (str(tmp_path),))
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    left = tmp_path / f"tty-graphics-protocol-ai-runner-{ended.pid}-x"
    kept = tmp_path / f"tty-graphics-protocol-ai-runner-{os.getpid()}-x"
    foreign = tmp_path / "tty-graphics-protocol-other"
    for path in (left, kept, foreign):
        path.touch()
    kitty.sweep_abandoned()
    assert sorted(tmp_path.iterdir()) == sorted([kept, foreign])
