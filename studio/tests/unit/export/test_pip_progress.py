"""What is reported while pip works."""

from __future__ import annotations

from ai_runner_studio.export.pip_progress import PipProgress


def test_packages_are_reported_now_and_then_and_what_takes_long_at_once() -> None:
    now, told = [0.0], []  # type: tuple[list[float], list[str]]
    progress = PipProgress(told.append, 4, lambda: now[0])
    for at, line in (
        (1.0, "Collecting numpy==2.0 (from -r requirements.txt (line 1))"),
        (2.0, "  Downloading https://index/numpy-2.0-cp311.whl (18 MB)"),
        (6.0, "Collecting torch==2.9"),
        (6.5, "  Downloading torch-2.9-cp311.whl (780.5 MB)"),
        (7.0, "Collecting pillow==12"),
        (8.0, "WARNING: Retrying (Retry(total=1, connect=None)) after connection broken by 'ReadTimeoutError'"),
        (30.0, "Collecting av==16"),
        (60.0, "Saved ./x"),
    ):
        now[0] = at
        progress.read(line)
    assert told == [
        "asking the package index: 2 of 4 packages, torch",
        "downloading torch-2.9-cp311.whl (780.5 MB)",
        "the package index is not responding; trying again (2 tries left)",
        "asking the package index: 4 of 4 packages, av",
    ]
