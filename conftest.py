"""Imports the packages under test before pytest names the folders beside them, and marks the quick tier.

With import mode ``importlib`` a test in ``runner/tests`` is called ``runner.tests…``; had nobody imported the
package `runner` before, an empty namespace of that name would take its place.

The quick tier (`make test-quick`) is every test in a folder ``unit`` that is not marked ``slow``, and whatever is
marked ``quick``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import ai_runner_studio  # noqa: F401
import runner  # noqa: F401

UNIT = "unit"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest's own, which deselects by marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        if UNIT in item.path.parts and not _is_slow(item):
            item.add_marker("quick")
    yield
    items[:] = _slow_first(items, workers=getattr(config, "workerinput", {}).get("workercount", 1))


def _slow_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Start each test process with its share of the slow tests, so that none is left to one process at the end.

    pytest-xdist first gives each process one stretch of the list. The slow tests of a file stay together: they
    share what is slow to make.
    """
    slow = [item for item in items if _is_slow(item)]
    others = [item for item in items if not _is_slow(item)]
    files = list(dict.fromkeys(item.path for item in slow))
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        stretch = (len(items) - len(ordered)) // (workers - worker)  # as pytest-xdist cuts it
        first = [item for item in slow if files.index(item.path) % workers == worker]
        more = max(0, stretch - len(first))
        ordered += first + others[:more]
        del others[:more]
    return ordered + others


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip files of the other tier: importing them takes longer than many tests."""
    if config.option.markexpr not in ("quick", "not quick") or collection_path.suffix != ".py":
        return None
    if config.option.markexpr == "quick":
        in_tier = UNIT in collection_path.parts or "mark.quick" in collection_path.read_text(encoding="utf-8")
    else:
        in_tier = UNIT not in collection_path.parts or "mark.slow" in collection_path.read_text(encoding="utf-8")
    return None if in_tier else True
