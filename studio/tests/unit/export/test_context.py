"""The folder of a build context: taken only where it is safe, and replaced as a whole or not at all."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from ai_runner_studio.errors import BuildError, ExportError, UsageError
from ai_runner_studio.export.context import LEAKS_SHOWN, _in_place, _refuse_leaks, check_output
from ai_runner_studio.export.leaks import leak_scan
from ai_runner_studio.interruption import Interrupted, interruptible


class TestInPlace:
    @pytest.fixture(autouse=True)
    def _folders(self, tmp_path: Path) -> None:
        for name in ("made", "image"):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"{name}.txt").touch()

    @staticmethod
    def places(folder: Path) -> tuple[Path, Path, Path]:
        return folder / "made", folder / "image", folder / "before"

    @staticmethod
    def held(folder: Path) -> list[str]:
        return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.txt"))]

    def test_the_new_context_takes_the_place_of_the_old_one(self, tmp_path: Path) -> None:
        with _in_place(*self.places(tmp_path)):
            assert self.held(tmp_path) == ["before/image.txt", "image/made.txt"]
        assert self.held(tmp_path) == ["before/image.txt", "image/made.txt"]

    def test_the_old_context_stays_if_the_new_one_cannot_take_its_place(self, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "made")
        with pytest.raises(FileNotFoundError), _in_place(*self.places(tmp_path)):
            raise AssertionError("it is not in place")
        assert self.held(tmp_path) == ["image/image.txt"]

    @pytest.mark.parametrize("ending", [Interrupted(signal.SIGINT), BuildError("it failed"), OSError("of the builder")])
    def test_the_old_context_comes_back_if_what_follows_does_not_succeed(
        self, tmp_path: Path, ending: Exception
    ) -> None:
        with pytest.raises(type(ending)), _in_place(*self.places(tmp_path)):
            raise ending
        assert self.held(tmp_path) == ["image/image.txt", "made/made.txt"]

    def test_without_an_old_one_nothing_is_left(self, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "image")
        with pytest.raises(Interrupted), _in_place(*self.places(tmp_path)), interruptible():
            signal.raise_signal(signal.SIGINT)
        assert not (tmp_path / "image").exists()


class TestOutput:
    @pytest.mark.parametrize("content", ["", "{}", "not JSON", "\udcff"])
    def test_a_folder_that_holds_something_else_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "image.json").write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(UsageError, match="something else"):
            check_output(tmp_path)

    def test_a_file_and_a_link_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "folder")
        for name in ("file", "link"):
            with pytest.raises(UsageError, match="is not a folder"):
                check_output(tmp_path / name)

    def test_an_empty_and_a_missing_folder_are_taken(self, tmp_path: Path) -> None:
        check_output(tmp_path)
        check_output(tmp_path / "missing")


def test_leaks_fail_the_export_with_their_places_and_a_count_of_the_rest(tmp_path: Path) -> None:
    scan = leak_scan([], "", {"MY_TOKEN": "s3cr3t-value"})
    _refuse_leaks(scan, tmp_path)
    for number in range(LEAKS_SHOWN + 3):
        (tmp_path / f"{number:02}.txt").write_text("s3cr3t-value")
    with pytest.raises(ExportError) as raised:
        _refuse_leaks(scan, tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[1] == "  00.txt: the value of the environment variable MY_TOKEN"
    assert len(lines) == LEAKS_SHOWN + 2
    assert lines[-1] == "  and 3 more"
    assert "s3cr3t" not in str(raised.value)
