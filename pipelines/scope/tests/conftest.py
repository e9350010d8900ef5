"""Fixtures: a double of Scope that can be imported, and a pipeline that is fed as the runner feeds it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import torch

from .driver import Driver

DOUBLE = Path(__file__).parent / "data" / "scope_double"
torch.set_num_threads(1)


def forget_scope() -> None:
    """Its registry is filled when it is imported: each test begins with none."""
    for name in [name for name in sys.modules if name == "scope" or name.startswith("scope.")]:
        del sys.modules[name]


@pytest.fixture
def no_scope(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The folder for models, in an interpreter without Scope."""
    before = {name: value for name, value in os.environ.items() if name.startswith(("DAYDREAM_SCOPE", "SCOPE_"))}
    for name in before:
        del os.environ[name]
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "models"))
    forget_scope()
    yield tmp_path / "models" / "Scope--models"
    forget_scope()
    for name in [name for name in os.environ if name.startswith(("DAYDREAM_SCOPE", "SCOPE_"))]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def scope(no_scope: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its folder for models; the double can be imported."""
    monkeypatch.syspath_prepend(str(DOUBLE))
    return no_scope


@pytest.fixture
async def driver(scope: Path) -> AsyncIterator[Driver]:  # noqa: ARG001  # must be importable
    driver = Driver()
    yield driver
    await driver.stop()


@pytest.fixture
def weights(scope: Path) -> None:
    """The files of the pipeline ``echo-files``."""
    (scope / "echo" / "tables").mkdir(parents=True)
    (scope / "echo" / "tables" / "a.txt").write_text("a")
    (scope / "echo" / "weights.bin").write_text("200")
