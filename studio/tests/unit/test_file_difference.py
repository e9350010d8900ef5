"""What is different in one file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ai_runner_studio.reload.file_difference import (
    LARGEST_COMPARED_BYTES,
    FileContent,
    FileDifference,
    compare,
)
from runner.live.code.store import digest_of

NAMES = ("revision 1", "on disk")


def difference(old: bytes | None, new: bytes | None, name: str = "pipeline.py") -> FileDifference | None:
    path = Path(name)
    sides = [None if side is None else FileContent.read(path, side, digest_of(side)) for side in (old, new)]
    return compare(path, sides[0], sides[1], NAMES)


def lines(old: bytes | None, new: bytes | None, name: str = "pipeline.py") -> tuple[str, ...]:
    found = difference(old, new, name)
    assert found is not None
    return found.lines


def test_a_changed_line_stands_in_a_unified_diff_with_the_names_of_both_sides() -> None:
    found = difference(b"a\nb\nc\n", b"a\nB\nc\n")
    assert found == FileDifference(
        Path("pipeline.py"),
        "changed",
        (
            "--- pipeline.py\trevision 1\n", "+++ pipeline.py\ton disk\n", "@@ -1,3 +1,3 @@\n",
            " a\n", "-b\n", "+B\n", " c\n",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("old", "new", "change"), [(None, b"a\n", "added"), (b"a\n", None, "removed")])
def test_a_file_that_only_one_side_has_is_added_or_removed(old: bytes | None, new: bytes | None, change: str) -> None:
    found = difference(old, new)
    assert found is not None
    assert found.change == change
    assert found.lines[-1] == ("+a\n" if change == "added" else "-a\n")


@pytest.mark.parametrize("content", [None, b"", b"a\n"])
def test_the_same_content_is_no_difference(content: bytes | None) -> None:
    assert difference(content, content) is None


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"\x89PNG\0\0", "mask.png"), (b"\xff\xfe", "notes.txt"), (b"red \x1b[31m\n", "log.txt"), (b"# \xe4\n", "a.py")],
)
def test_what_is_no_text_is_said_to_be_binary(content: bytes, name: str) -> None:
    assert lines(b"abc", content, name) == (f"binary, 3 → {len(content)} bytes\n",)
    assert lines(content, None, name) == (f"binary, {len(content)} bytes\n",)


def test_python_says_itself_how_it_is_encoded() -> None:
    source = "# -*- coding: latin-1 -*-\n# {}\n"
    shown = lines(source.format("ä").encode("latin-1"), source.format("ö").encode("latin-1"))
    assert shown[-2:] == ("-# ä\n", "+# ö\n")


def test_a_text_too_large_to_read_is_not_compared() -> None:
    large = b"x\n" * (LARGEST_COMPARED_BYTES // 2 + 1)
    assert lines(b"x\n", large, "table.csv") == (f"too large to compare, 2 → {len(large):,} bytes\n",)


def test_an_empty_file_is_said_to_be_empty() -> None:
    assert lines(None, b"") == ("empty\n",)


@pytest.mark.skipif(shutil.which("patch") is None, reason="there is no patch")
@pytest.mark.parametrize(
    ("old", "new"),
    [(b"a\nb", b"a\nb\n"), (b"a\n", b"a\nb"), (b"a\r\nb\r\n", b"a\r\nc\r\n"), (b"a\x0cb\nc\n", b"a\x0cb\nd\n"),
     (None, b"a\nb\n"), (b"", b"a\n"), (b"a\n", b"")],
)  # fmt: skip
def test_patch_makes_one_of_the_other(tmp_path: Path, old: bytes | None, new: bytes) -> None:
    file = tmp_path / "pipeline.py"
    if old is not None:
        file.write_bytes(old)
    diff = "".join(lines(old, new)).encode()
    command = ["patch", "--binary", "-p0", "--quiet", "--no-backup-if-mismatch"]
    done = subprocess.run(command, cwd=tmp_path, input=diff, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (file.read_bytes() if file.exists() else b"") == new
