"""ErrorReport and events: whatever an exception or a value of user code is, it becomes plain, readable data."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RunnerError
from runner.live.events import LogWritten, MetricsTaken, ParamsChanged, PipelineFailed, decode, encode
from runner.live.pipelines import BaseParams
from runner.live.plain_json import DEEPEST, plain, plain_json, plain_text
from runner.live.report import MESSAGE_LIMIT, TRACEBACK_LIMIT, EscapedException, is_user_file, report_exception

from ..conftest import WriteModule


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    """Other tests take this repository for code that is not the user's."""
    is_user_file.cache_clear()
    yield
    is_user_file.cache_clear()


class _Odd(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    @property
    def says_all(self) -> bool:
        raise RuntimeError


class _Limit(BaseParams):
    limit: float = 0.0


class _Text(str):
    """Of a module that the host does not have."""

    def __reduce__(self) -> Any:
        raise TypeError("not for pickling")


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (_Odd(), "_Odd", "(its text cannot be shown: __str__ raised KeyboardInterrupt)"),
        (ValueError("caf\udce9"), "ValueError", "caf\\udce9"),
        (ValueError(_Text("odd")), "ValueError", "odd"),
        (asyncio.CancelledError(), "CancelledError", "a cancelled task or future was awaited"),
        (SyntaxError("odd", (5, "x", 1, None)), "SyntaxError", "odd"),  # type: ignore[arg-type]
    ],
)
def test_any_exception_is_reported_with_its_place(error: BaseException, kind: str, message: str) -> None:
    report = report_exception(_raised(error), "frame")
    assert (report.kind, report.message, report.file) == (kind, message, __file__)
    assert "_raised" in report.traceback
    pickle.dumps(report)


def test_long_text_is_cut_in_the_middle() -> None:
    report = report_exception(ValueError("a" * MESSAGE_LIMIT + "b" * 5), "frame")
    assert report.message.startswith("aaa")
    assert report.message.endswith("bbbbb")
    assert "5 characters omitted" in report.message


def test_every_text_of_a_report_is_bounded(tmp_path: Path) -> None:
    huge = "x" * 3_000_000
    source = tmp_path / "generated.py"
    source.write_text(f"def fail():\n    raise kind('{huge}')\n")
    kind = type(f"Kind{huge}", (ModuleNotFoundError,), {"name": huge})
    space: dict[str, Any] = {"kind": kind}
    exec(compile(source.read_text(), str(source), "exec"), space)
    with pytest.raises(kind) as caught:
        space["fail"]()
    report = report_exception(caught.value, "frame")
    assert report.line == 2
    assert len(plain_json(report)) < MESSAGE_LIMIT + TRACEBACK_LIMIT + 20_000
    assert [line.text[:10] for line in report.code] == ["def fail()", "    raise "]


async def test_what_python_wraps_is_reported_as_it_was_raised() -> None:
    async def exhausted() -> None:
        next(iter(()))

    with pytest.raises(RuntimeError) as wrapped:
        await exhausted()
    report = report_exception(wrapped.value, "frame")
    assert (report.kind, report.function) == ("StopIteration", "exhausted")


def test_an_escaped_exception_is_reported_as_it_was_raised() -> None:
    error = EscapedException()
    error.__cause__ = _raised(SystemExit(3))
    report = report_exception(error, "frame")
    assert (report.kind, report.message, report.function) == ("SystemExit", "3", "_raised")


def test_the_place_is_that_of_the_cause_where_a_library_raises() -> None:
    error = RuntimeError("of a library")
    error.__cause__ = _raised(ValueError())
    assert report_exception(error, "frame").function == "_raised"


def test_a_lack_of_descriptors_has_a_way_out() -> None:
    report = report_exception(OSError(errno.EMFILE, "Too many open files"), "frame")
    assert "No file descriptors are left" in report.hint


@pytest.mark.parametrize(
    "text", ["caf\udce9.png", "\ud83d alone", "\U0001f600 whole", "two\u2028lines", "nul \0", "\x1b[31m"]
)
def test_events_with_any_text_are_read_back(text: str) -> None:
    event = LogWritten(level="INFO", source="stdout", message=text)
    line = encode(event)
    assert len(line.splitlines()) == 1
    back = decode(line)
    assert isinstance(back, LogWritten)
    assert back.message == plain_text(text)


@pytest.mark.parametrize(
    "value",
    [10**5000, float("inf"), {"a": {1: _Text("x")}}, Path("x"), _Odd()],
    ids=["digits", "infinity", "nested", "path", "unprintable"],
)
def test_events_with_any_value_are_read_back(value: Any) -> None:
    back = decode(encode(ParamsChanged(params={"value": value}, params_schema={})))
    assert isinstance(back, ParamsChanged)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_events_with_nan_and_infinity_are_json_and_read_back(value: float) -> None:
    line = encode(ParamsChanged(params={"value": value, "many": [value]}, params_schema={"default": value}))
    json.loads(line, parse_constant=pytest.fail)
    back = decode(line)
    assert isinstance(back, ParamsChanged)
    assert str(_Limit(limit=back.params["value"]).limit) == str(value)
    metrics = decode(encode(MetricsTaken(fps_in=value)))
    assert isinstance(metrics, MetricsTaken)
    assert str(metrics.fps_in) == str(value)


def test_events_of_failures_are_read_back() -> None:
    report = report_exception(_raised(ValueError("m\udcffn")), "frame")
    assert isinstance(decode(encode(PipelineFailed(revision=1, report=report))), PipelineFailed)


def test_plain_values_are_of_built_in_types() -> None:
    nested: Any = "end"
    for _ in range(2 * DEEPEST):
        nested = [nested]
    plain_nested = plain(nested)
    for _ in range(DEEPEST):
        [plain_nested] = plain_nested
    assert type(plain_nested) is str
    assert plain({_Text("k"): (True, None, 1.5, 2)}) == {"k": [True, None, 1.5, 2]}
    assert type(next(iter(plain({_Text("k"): 1})))) is str


@pytest.mark.parametrize("code", ["from types import Thing", "import types; types.Thing", "import types.thing"])
def test_the_hint_names_a_file_that_is_named_like_a_module_of_the_standard_library(
    write: WriteModule, code: str
) -> None:
    file = write("types", "class Thing: pass")
    with pytest.raises((ImportError, AttributeError)) as caught:
        exec(code, {})
    assert str(file) in report_exception(caught.value, "import").hint


class _Lost(RunnerError):
    says_all = True

    def __init__(self) -> None:
        super().__init__("the server is gone")
        self.hint = "Start it again."


def test_an_error_may_bring_its_own_way_out() -> None:
    report = report_exception(_raised(_Lost()), "frame")
    assert (report.message, report.hint, report.file) == ("the server is gone", "Start it again.", "")
    assert report.headline_with_hint == "_Lost: the server is gone. Start it again."
