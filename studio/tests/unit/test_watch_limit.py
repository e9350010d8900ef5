"""Why changes are not reported, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.reload import watch_limit
from ai_runner_studio.reload.watch_limit import why_not_watched


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max_user_watches").write_text("8192\n")
    (tmp_path / "max_user_instances").write_text("4096\n")
    monkeypatch.setattr(watch_limit, "INOTIFY", tmp_path)


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError("OS file watch limit reached. about [...]")]
)
def test_the_limit_of_watches_is_named_with_the_way_out(error: Exception) -> None:
    assert why_not_watched(error) == (
        "the limit of inotify watches, 8192, is reached: sudo sysctl fs.inotify.max_user_watches=524288 raises it"
    )


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(
    "error", [OSError(24, "Too many open files"), RuntimeError("Error creating: Too many open files (os error 24)")]
)
def test_a_limit_above_what_is_usual_is_doubled(error: Exception) -> None:
    assert why_not_watched(error) == (
        "the limit of inotify instances, 4096, is reached: sudo sysctl fs.inotify.max_user_instances=8192 raises it"
    )


def test_anything_else_is_said_in_its_own_words() -> None:
    assert why_not_watched(RuntimeError("the watch has ended")) == "the watch has ended"
