"""Code that is running, the pipeline's own ways, and files that are more than a module's text."""

from __future__ import annotations

import asyncio
import gc
import importlib.machinery
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runner.live.code.patch import CodePatch
from runner.live.code.refusal import PatchBusy, PatchRefused
from runner.live.pipelines.transform import pipeline_from_transform

from .conftest import Live


def refusal(live: Live, pipeline: object = None) -> str:
    with pytest.raises(PatchRefused) as caught:
        live.apply(pipeline)
    return caught.value.reason


def test_a_link_that_leads_to_another_file_is_refused(live: Live) -> None:
    live.load_pipeline("def f(): return 1\n", entry="f")
    file = live.folder / "effects.py"
    (live.folder / "elsewhere.txt").write_text("def f(): return 2\n")
    file.unlink()
    file.symlink_to("elsewhere.txt")
    assert "another file now" in refusal(live)


# ---- what is being executed ----------------------------------------------------------------------


def test_a_function_that_runs_in_another_thread_is_refused_until_it_returns(live: Live) -> None:
    source = "def f(begun, event):\n    begun.set()\n    event.wait(60)\n    return 1\n"
    module = live.load_pipeline(source, entry="f")
    begun, event = threading.Event(), threading.Event()
    thread = threading.Thread(target=module, args=(begun, event))
    thread.start()
    begun.wait(60)
    live.write(source.replace("return 1", "return 2"))
    with pytest.raises(PatchBusy, match=r"f\(\) is running"):
        live.apply()
    event.set()
    thread.join(60)
    gc.collect()  # what pytest keeps of the exception
    live.apply()
    assert module(begun, event) == 2


def test_a_function_below_the_one_that_runs_may_change(live: Live) -> None:
    source = "def g(): return {}\ndef f(begun, event):\n    begun.set()\n    event.wait(60)\n    return g()\n"
    function = live.load_pipeline(source.format(1), entry="f")
    begun, event, seen = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=lambda: seen.append(function(begun, event)))
    thread.start()
    begun.wait(60)
    live.edit(source.format(2))
    event.set()
    thread.join(60)
    assert seen == [2]


@pytest.mark.parametrize("kind", ["task", "generator", "asynchronous generator", "coroutine that has not begun"])
async def test_a_suspended_function_is_refused(live: Live, kind: str) -> None:
    body = "\n    import asyncio\n    await asyncio.sleep({})\n"
    sources = {
        "task": f"async def f():{body}",
        "generator": "def f():\n    yield {}\n    yield 3\n",
        "asynchronous generator": "async def f():\n    yield {}\n    yield 3\n",
        "coroutine that has not begun": f"async def f():{body}",
    }
    made = live.load_pipeline(sources[kind].format(30), entry="f")()
    held: Any = made
    if kind == "task":
        held = asyncio.create_task(made)
        await asyncio.sleep(0)
    elif kind == "generator":
        next(made)
    elif kind == "asynchronous generator":
        await anext(made)
    live.write(sources[kind].format(31))
    with pytest.raises(PatchBusy):
        await live.plan().exchange()
    if kind == "task":
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        return
    if kind == "asynchronous generator":
        await made.aclose()
    else:
        made.close()
    del made, held
    gc.collect()
    await live.plan().exchange()


async def test_a_call_that_waits_for_the_next_output_may_be_in_changed_code(live: Live) -> None:
    source = "import asyncio\nclass P:\n    def __init__(self): self.queue = asyncio.Queue()\n    async def get(self): return await self.queue.get() + {}\n"
    pipe = live.load_pipeline(source.format(1), entry="P")

    async def drain() -> Any:
        return await pipe.get()

    waiting = asyncio.create_task(drain())
    await asyncio.sleep(0)
    live.write(source.format(2))
    with pytest.raises(PatchBusy):
        await live.plan(pipe).exchange()
    await live.plan(pipe).exchange([waiting.get_coro()])
    pipe.queue.put_nowait(10)
    assert await waiting == 11
    pipe.queue.put_nowait(10)
    assert await drain() == 12


def test_the_exception_of_a_frame_does_not_hold_up_its_repair(live: Live) -> None:
    source = "def f(x):\n    return 1 / x\n"
    function = live.load_pipeline(source, entry="f")
    for _ in range(3):
        try:
            function(0)
        except ZeroDivisionError as error:
            error.again = error  # type: ignore[attr-defined]  # a cycle, as tasks make them
    live.edit(source.replace("1 / x", "1 / (x + 1)"))
    assert function(0) == 1


def test_what_a_compiler_has_made_of_a_function_keeps_it(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unchanged function whose code is held elsewhere is left alone, also when its lines have moved."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", ModuleType("torch._dynamo"))
    source = "def f(x): return x + 1\ndef g(x): return f(x) + 1\n"
    g = live.load_pipeline(source, entry="g")
    f = sys.modules["effects"].f
    held = f.__code__
    live.write("# moved\n" + source.replace("f(x) + 1", "f(x) + 2"))
    assert live.save(None, lambda: g(1)) == ""
    assert f.__code__ is held
    assert g(1) == 4
    del held
    live.edit("# moved\n# again\n" + source.replace("f(x) + 1", "f(x) + 2"))
    assert f.__code__.co_firstlineno == 3


def test_lines_of_tracebacks_follow(live: Live) -> None:
    source = "def f(x):\n    return 1 / x\ndef g(x): return 1\n"
    f = live.load_pipeline(source, entry="f")
    live.edit("# one\n# two\n" + source.replace("return 1\n", "return 2\n"))
    with pytest.raises(ZeroDivisionError) as caught:
        f(0)
    assert caught.traceback[-1].lineno + 1 == 4


def test_marked_code_shows_the_lines_of_the_file(live: Live) -> None:
    source = "def f(x):\n    y = x\n    return 1 / y\n"
    f = live.load_pipeline(source, entry="f")
    patch = live.edit(source.replace("1 / y", "2 / y"))
    with pytest.raises(ZeroDivisionError) as caught:
        f(0)
    assert caught.traceback[-1].lineno + 1 == 3
    assert patch.marks


def test_a_second_edit_builds_on_the_first_and_undo_goes_one_back(live: Live) -> None:
    source = "def f(x): return x + {}\n"
    f = live.load_pipeline(source.format(1), entry="f")
    live.write(source.format(2))
    assert live.save(None, lambda: f(0)) == ""
    second = live.edit(source.format(3))
    assert f(0) == 3
    second.undo()
    assert f(0) == 2
    assert "x + 2" in live.sources.text(str(live.folder / "effects.py"))


def test_a_patch_is_put_in_once(live: Live) -> None:
    live.load_pipeline("def f(): return 1\n", entry="f")
    patch = live.edit("def f(): return 2\n")
    with pytest.raises(RuntimeError, match="already"):
        asyncio.run(patch.exchange())


def test_a_syntax_error_is_passed_on_with_its_place(live: Live) -> None:
    live.load("X = 1\n")
    live.write("X = 1\ndef f(:\n")
    with pytest.raises(SyntaxError) as caught:
        live.plan()
    assert caught.value.lineno == 2


def test_without_a_trace_of_the_load_nothing_goes_in(live: Live) -> None:
    live.load("def f(): return 1\n")
    live.write("def f(): return 2\n")
    assert "ran while the pipeline was loaded" in refusal(live)


def test_a_module_that_is_imported_on_a_frame_can_change(live: Live) -> None:
    live.write("def h(): return 1\ndef made(): return 5\nTABLE = made()\n", "late")
    f = live.load_pipeline("def f():\n    import late\n    return late.h()\n", entry="f")
    assert f() == 1
    live.write("def h(): return 2\ndef made(): return 5\nTABLE = made()\n", "late")
    assert live.save(None, f) == ""
    assert f() == 2
    live.write("def h(): return 2\ndef made(): return 6\nTABLE = made()\n", "late")
    assert "made() ran while the pipeline was loaded" in live.save(None, f)


def test_somebody_elses_profiler_makes_the_trace_unusable(live: Live) -> None:
    source = "import sys\ndef f(): return 1\nsys.setprofile(None)\n"
    live.load_pipeline(source, entry="f")
    assert not live.sources.traced
    live.write(source.replace("return 1", "return 2"))
    assert "ran while the pipeline was loaded" in refusal(live)


# ---- pipelines -----------------------------------------------------------------------------------


def transform_pipeline(target: Any) -> Any:
    pipeline = pipeline_from_transform(target)()
    asyncio.run(pipeline.initialize())
    return pipeline


def test_a_transform_function_is_patched_where_the_runner_holds_it(live: Live) -> None:
    function = live.load_pipeline("def helper(x): return x\ndef invert(frame): return helper(frame)\n", entry="invert")
    pipeline = transform_pipeline(function)
    live.edit("def helper(x): return -x\ndef invert(frame): return helper(frame) + 1\n", pipeline)
    assert pipeline._transform(5) == -4


def test_a_constant_that_the_runner_reads_needs_a_fresh_process(live: Live) -> None:
    source = "class Invert:\n    batch_size = 1\n    def transform(self, frame): return frame\n"
    live.load_pipeline(source, entry="Invert")
    live.write(source.replace("= 1", "= 2"))
    assert refusal(live) == "Invert.batch_size changed, and no function reads it"


def test_the_description_of_params_is_part_of_their_schema(live: Live) -> None:
    source = "from pydantic import BaseModel\nclass P(BaseModel):\n    'doc'\n    x: int = 1\n"
    live.load_pipeline(source, entry="P")
    live.write(source.replace("'doc'", "'description'"))
    assert refusal(live) == "the docstring of class P changed, which made use of it"


# ---- the pipeline's own hook ---------------------------------------------------------------------

HOOKED = """
    TABLE = [1]
    SIZE = 2
    def scale(x): return x * 1
    class Pipe:
        LOOK = {"a": 1}
        def initialize(self): self.table, self.size = TABLE * 2, SIZE
        %s on_code_reload(self, old):
            self.old = old
            self.table = TABLE * 2
            %s
"""


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_hook_gets_what_was_executed_again(live: Live, kind: str) -> None:
    source = HOOKED % (kind, "pass")
    pipe = live.load_pipeline(source)
    pipe.initialize()
    module = sys.modules["effects"]
    patch = live.edit(
        source.replace("TABLE = [1]", "TABLE = [5]").replace('{"a": 1}', '{"a": 2}').replace("SIZE = 2", "SIZE = 3"),
        pipe,
    )
    assert pipe.old == {"effects": {"TABLE": [1], "SIZE": 2, "Pipe.LOOK": {"a": 1}}}
    assert (pipe.table, pipe.LOOK, module.SIZE) == ([5, 5], {"a": 2}, 3)
    patch.undo()
    assert (module.TABLE, module.Pipe.LOOK, module.SIZE) == ([1], {"a": 1}, 2)


def test_a_hook_that_fails_undoes_everything(live: Live) -> None:
    source = HOOKED % ("def", "raise ValueError('not me')")
    pipe = live.load_pipeline(source)
    pipe.initialize()
    module = sys.modules["effects"]
    live.write(source.replace("TABLE = [1]", "TABLE = [5]").replace("x * 1", "x * 4"))
    with pytest.raises(ValueError, match="not me"):
        live.apply(pipe)
    assert (module.TABLE, module.scale(1)) == ([1], 1)
    assert "x * 1" in live.sources.text(str(live.folder / "effects.py"))


def test_a_hook_does_not_answer_for_what_ran_at_the_load(live: Live) -> None:
    source = HOOKED % ("def", "pass")
    with live.sources.tracing_load():
        pipe = live.load(source).Pipe()
        pipe.initialize()
    live.write(source.replace("self.table, self.size =", "self.size, self.table ="))
    assert refusal(live, pipe).startswith("Pipe.initialize() ran while the pipeline was loaded")


# ---- modules that are more than text -------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of libraries that is on the import path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_library_that_is_not_loaded_yet_is_refused(live: Live, library: Path) -> None:
    (library / "hugelib.py").write_text("raise SystemExit\n")
    live.load("X = 1\n")
    for statement in ("import hugelib", "from hugelib import x"):
        live.write(f"{statement}\nX = 1\n")
        assert refusal(live) == f"'{statement}' is new in effects, and loads hugelib"
    live.edit("import wave\nX = 1\n")  # of the standard library


def test_a_file_that_is_gone_is_refused(live: Live) -> None:
    live.load("X = 1\n")
    (live.folder / "effects.py").unlink()
    assert refusal(live) == "effects.py was removed"


def test_a_module_that_an_import_hook_has_loaded_is_refused(live: Live) -> None:
    class Loader(importlib.machinery.SourceFileLoader):
        def source_to_code(self, data: Any, path: Any, **options: Any) -> Any:
            return super().source_to_code(data.replace(b"1", b"2"), path, **options)

    path = live.write("X = 1\n")
    spec = importlib.util.spec_from_file_location("effects", path, loader=Loader("effects", str(path)))
    assert spec is not None
    assert spec.loader is not None
    sys.modules["effects"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    live.write("X = 3\n")
    assert refusal(live) == "effects.py was loaded by Loader, so that other code of it may run"


def test_a_module_without_source_is_refused_when_its_file_changes(live: Live) -> None:
    live.load("X = 1\n")
    extension = live.folder / "fast.so"
    extension.write_bytes(b"one")
    sys.modules["fast"] = fast = type(sys)("fast")
    fast.__file__ = str(extension)
    assert [file.module for file in live.sources.files()] == ["effects"]
    assert live.plan().empty
    extension.write_bytes(b"other")
    assert refusal(live) == "module fast changed, and does not run from its source"


def test_a_module_that_runs_twice_is_refused(live: Live) -> None:
    live.load("class A:\n    def f(self): return 1\n")
    importlib.reload(sys.modules["effects"])
    live.write("class A:\n    def f(self): return 2\n")
    assert "was loaded by importlib.reload()" in refusal(live)


def test_a_file_that_was_not_imported_by_its_name_is_refused(live: Live) -> None:
    live.load("X = 1\n")
    other = live.write("Y = 1\n", "other")
    with pytest.raises(PatchRefused, match=r"other.py was not imported by its name"):
        live.plan(files=[str(other)])


def test_names_of_a_module_that_is_imported_with_a_star_stay(live: Live) -> None:
    live.write("from effects import *\n", "other")
    live.load("def f(): return X\nX = 1\n")
    live.load(name="other")
    live.write("def f(): return X\nX = 2\n")
    assert "which computes a name" in refusal(live)


def test_a_patch_of_nothing_can_be_applied_and_undone(live: Live) -> None:
    live.load("X = 1\n")
    patch = live.apply()
    assert isinstance(patch, CodePatch)
    assert (patch.empty, patch.modules, patch.changed) == (True, (), ())
    patch.undo()


def test_libraries_are_not_recorded_and_what_they_import_of_the_users_is(live: Live, library: Path) -> None:
    (library / "loader.py").write_text("def own(): return 1\nown()\nimport plugin\n")
    live.write("def built(): return [1]\nTABLE = built()\ndef free(): return 1\n", "plugin")
    f = live.load_pipeline("import loader, plugin\ndef f(): return plugin.TABLE, plugin.free()\n", entry="f")
    live.write("def built(): return [2]\nTABLE = built()\ndef free(): return 1\n", "plugin")
    assert "built() ran while the pipeline was loaded" in live.save(None, f)
    live.write("def built(): return [1]\nTABLE = built()\ndef free(): return 2\n", "plugin")
    assert live.save(None, f) == ""
    assert f() == ([1], 2)
