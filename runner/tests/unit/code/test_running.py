"""Code that is being executed, the pipeline's own ways, and files that are more than a module's text."""

from __future__ import annotations

import asyncio
import gc
import importlib.machinery
import importlib.util
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from runner.live.code.patch import CodePatch, PatchBusy, PatchRefused, plan_patch
from runner.live.pipelines.transform import pipeline_from_transform

from .conftest import Live


def refusal(live: Live, pipeline: object = None) -> str:
    with pytest.raises(PatchRefused) as caught:
        live.plan(pipeline)
    return caught.value.reason


# ---- what is being executed ----------------------------------------------------------------------


def test_a_function_that_runs_in_another_thread_is_refused_until_it_returns(live: Live) -> None:
    module = live.load("def f(begun, event):\n    begun.set()\n    event.wait(60)\n    return 1\n")
    begun, event = threading.Event(), threading.Event()
    thread = threading.Thread(target=module.f, args=(begun, event))
    thread.start()
    begun.wait(60)
    live.write("def f(begun, event):\n    return 2\n")
    with pytest.raises(PatchBusy, match=r"f\(\) is running right now"):
        live.plan()
    event.set()
    thread.join(60)
    live.apply()
    assert module.f(None, None) == 2


def test_a_function_below_the_one_that_runs_may_change(live: Live) -> None:
    source = "def g(): return {}\ndef f(begun, event):\n    begun.set()\n    event.wait(60)\n    return g()\n"
    module = live.load(source.format(1))
    begun, event, seen = threading.Event(), threading.Event(), []
    thread = threading.Thread(target=lambda: seen.append(module.f(begun, event)))
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
    module = live.load(sources[kind].format(30))
    made = module.f()
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
        live.plan()
    if kind == "task":
        assert not plan_patch(live.sources, None, [held]).empty  # the asker's own
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
    elif kind == "asynchronous generator":
        await made.aclose()
    else:
        made.close()
    assert not live.plan().empty


async def test_a_task_of_the_askers_is_not_looked_into_where_it_waits_for_changed_code(live: Live) -> None:
    source = "import asyncio\nclass P:\n    def __init__(self): self.queue = asyncio.Queue()\n    async def get(self): return await self.queue.get() + {}\n"
    module = live.load(source.format(1))
    pipe = module.P()

    async def drain() -> Any:
        return await pipe.get()

    waiting = asyncio.create_task(drain())
    await asyncio.sleep(0)
    live.write(source.format(2))
    with pytest.raises(PatchBusy):
        live.plan(pipe)
    patch = plan_patch(live.sources, pipe, [waiting])
    await patch.apply()
    pipe.queue.put_nowait(10)
    assert await waiting == 11
    pipe.queue.put_nowait(10)
    assert await drain() == 12


def test_a_function_frozen_out_of_the_garbage_collector_is_found(live: Live) -> None:
    module = live.load("def make():\n    def inner(): return 1\n    return inner\n")
    kept = module.make()
    gc.freeze()
    try:
        live.edit("def make():\n    def inner(): return 2\n    return inner\n")
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    assert kept() == 2


# ---- pipelines -----------------------------------------------------------------------------------


def transform_pipeline(target: Any) -> Any:
    pipeline = pipeline_from_transform(target)()
    asyncio.run(pipeline.initialize())
    return pipeline


def test_a_transform_function_is_patched_where_the_runner_holds_it(live: Live) -> None:
    module = live.load("def helper(x): return x\ndef invert(frame): return helper(frame)\n")
    pipeline = transform_pipeline(module.invert)
    live.edit("def helper(x): return -x\ndef invert(frame): return helper(frame) + 1\n", pipeline)
    assert pipeline._transform(5) == -4


TRANSFORM = """
    def load(): return 1
    def extra(): return 1
    class Invert:
        batch_size = 1
        def __init__(self): self.x = load()
        def on_ready(self): self.y = extra()
        def transform(self, frame): return frame + self.x
"""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("return frame + self.x", "return frame - self.x", ""),
        ("def load(): return 1", "def load(): return 2", "load() is called by __init__()"),
        ("def extra(): return 1", "def extra(): return 2", "extra() is called by on_ready()"),
        ("self.y = extra()", "self.y = extra() + 1", "on_ready() has changed"),
        ("batch_size = 1", "batch_size = 2", "batch_size is used by the runner"),
        ("def transform(self, frame): return frame + self.x", "pass", "Invert.transform() is the pipeline's"),
        (
            "def transform(self, frame)",
            "def transform(self, frame, params)",
            "the parameters of transform() have changed",
        ),
        (
            "batch_size = 1",
            "batch_size = 1\n        def on_update(self, params): ...",
            "on_update is used by the runner",
        ),
    ],
)
def test_a_transform_class_is_looked_at_like_a_pipeline(live: Live, old: str, new: str, reason: str) -> None:
    pipeline = transform_pipeline(live.load(TRANSFORM).Invert)
    live.write(TRANSFORM.replace(old, new))
    if reason:
        assert refusal(live, pipeline) == reason
    else:
        live.apply(pipeline)
        assert pipeline._transform(5) == 4


def test_a_builtin_that_initialize_uses_cannot_be_replaced(live: Live) -> None:
    source = "class Pipe:\n    def initialize(self): self.x = max(1, 2)\n"
    pipe = live.load(source).Pipe()
    live.write(source + "def max(a, b): return a\n")
    assert refusal(live, pipe) == "max is used by initialize()"


CALLS = {
    "a callable attribute": ("self.act = Net()\n        self.act(1)", "Net.forward() is called by initialize() > Net.__call__()"),
    "a local variable": ("net = Net()\n        net(1)", "Net.forward() is called by initialize() > Net.__call__()"),
    "something in a list": ("self.nets = [Net()]\n        self.nets[0](1)", "Net.forward() is called by initialize() > Net.__call__()"),
    "a tracer": ("self.net = torch.jit.trace(Net(), 1)", "Net.forward() is called by initialize() > Net.__call__()"),
    "getattr with a name": ("self.net = Net()\n        getattr(self.net, 'forward')(1)", "Net.forward() is called by initialize()"),
    "super": ("self.net = Sub()", "Net.forward() is called by initialize() > Sub.__init__()"),
    "a thread": ("threading.Thread(target=Net().forward, args=(1,)).start()", "Net.forward() is called by initialize()"),
    "a library that keeps it": ("self.net = Net()\n        self.step = functools.partial(self.net.forward, 1)", ""),
    "nobody": ("self.net = Net()", ""),
    "a loop that runs beside": ("threading.Thread(target=self.loop).start()", ""),
    "another class' method of that name": ("self.other = Other().forward(1)\n        self.net = Net()", "Net.forward() is called by initialize()"),
}  # fmt: skip


@pytest.mark.parametrize("case", CALLS)
def test_calls_of_objects_are_followed(live: Live, case: str) -> None:
    build, reason = CALLS[case]
    source = (
        "import functools, threading\nclass torch:\n    class jit:\n        @staticmethod\n        def trace(net, x): return net\n"
        "class Net:\n    def forward(self, x): return {}\n    def __call__(self, x): return self.forward(x)\n"
        "class Sub(Net):\n    def __init__(self): super().forward(1)\n"
        "class Other:\n    def forward(self, x): return 0\n"
        "class Pipe:\n    def initialize(self):\n        {}\n    def loop(self):\n        while self.__dict__.get('on'): self.net.forward(1)\n"
    )
    pipe = live.load(source.format(1, build)).Pipe()
    pipe.initialize()
    live.write(source.format(2, build))
    if reason:
        assert refusal(live, pipe) == reason
    else:
        live.apply(pipe)


def test_params_classes_are_made_before_the_pipeline_is(live: Live) -> None:
    source = (
        "from pydantic import BaseModel, field_validator\nclass P(BaseModel):\n    'doc'\n    x: int = 1\n"
        "    @field_validator('x')\n    def check(cls, value): return value\n    def double(self): return self.x * 2\n"
    )
    module = live.load(source)
    params = module.P(x=4)
    live.write(source.replace("return value", "return -value"))
    assert refusal(live) == "P.check() is called by the params"
    live.write(source.replace("'doc'", "'description'"))
    assert refusal(live) == "the description of params class P has changed"
    live.edit(source.replace("* 2", "* 3"))
    assert params.double() == 12


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
    module = live.load(source)
    pipe = module.Pipe()
    pipe.initialize()
    patch = live.edit(
        source.replace("TABLE = [1]", "TABLE = [5]").replace('{"a": 1}', '{"a": 2}').replace("SIZE = 2", "SIZE = 3"),
        pipe,
    )
    assert pipe.old == {"effects": {"TABLE": [1], "Pipe.LOOK": {"a": 1}}}
    assert (pipe.table, pipe.LOOK, module.SIZE) == ([5, 5], {"a": 2}, 3)
    patch.undo()
    assert (module.TABLE, module.Pipe.LOOK, module.SIZE) == ([1], {"a": 1}, 2)


def test_a_hook_that_fails_undoes_everything(live: Live) -> None:
    source = HOOKED % ("def", "raise ValueError('not me')")
    module = live.load(source)
    pipe = module.Pipe()
    pipe.initialize()
    live.write(source.replace("TABLE = [1]", "TABLE = [5]").replace("x * 1", "x * 4"))
    with pytest.raises(ValueError, match="not me"):
        live.apply(pipe)
    assert (module.TABLE, module.scale(1)) == ([1], 1)
    assert "x * 1" in live.sources.text(str(live.folder / "effects.py"))


def test_a_hook_does_not_answer_for_functions_or_for_other_statements(live: Live) -> None:
    source = HOOKED % ("def", "pass") + "    DOUBLE = TABLE * 2\n"
    pipe = live.load(source).Pipe()
    pipe.initialize()
    live.write(source.replace("TABLE = [1]", "TABLE = [5]"))
    assert refusal(live, pipe) == "TABLE is used by the import of effects"
    live.write(source.replace("self.table, self.size =", "self.size, self.table ="))
    assert refusal(live, pipe) == "initialize() has changed"


# ---- modules that are more than text -------------------------------------------------------------


def test_a_library_that_is_not_loaded_yet_is_refused(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "site-packages"
    library.mkdir()
    (library / "hugelib.py").write_text("raise SystemExit\n")
    monkeypatch.syspath_prepend(str(library))
    live.load("X = 1\n")
    live.write("import hugelib\n", "fresh")
    for statement in ("import hugelib", "from hugelib import x", "import fresh"):
        live.write(f"{statement}\nX = 1\n")
        assert refusal(live) == f"'{statement}': hugelib is not loaded in this process yet"
    live.edit("import wave\nX = 1\n")  # of the standard library


def test_a_file_that_is_gone_is_refused(live: Live) -> None:
    live.load("X = 1\n")
    (live.folder / "effects.py").unlink()
    assert refusal(live) == "effects.py is gone"


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
    assert refusal(live) == "effects.py is loaded by Loader, which may change its code"


def test_a_module_without_source_is_refused_when_its_file_changes(live: Live) -> None:
    live.load("X = 1\n")
    extension = live.folder / "fast.so"
    extension.write_bytes(b"one")
    sys.modules["fast"] = fast = type(sys)("fast")
    fast.__file__ = str(extension)
    assert [file.module for file in live.sources.files()] == ["effects"]
    assert live.plan().empty
    extension.write_bytes(b"other")
    assert refusal(live) == "module fast has changed, and does not run from its source"


def test_a_name_that_another_module_imports_cannot_go(live: Live) -> None:
    live.write("from effects import f\n", "other")
    live.load("def f(): ...\nX = 1\n")
    live.load(name="other")
    live.write("X = 1\n")
    assert refusal(live) == "f is gone, and other imports it"


def test_names_of_a_module_that_is_imported_with_a_star_stay(live: Live) -> None:
    live.write("from effects import *\n", "other")
    live.load("def f(): return 1\nX = 1\n")
    live.load(name="other")
    live.write("def f(): return 1\nX = 2\n")
    assert refusal(live) == "X has changed, and other imports * from effects"
    live.edit("def f(): return 2\nX = 1\n")
    assert sys.modules["other"].f() == 2


def test_a_patch_of_nothing_can_be_applied_and_undone(live: Live) -> None:
    live.load("X = 1\n")
    patch = live.apply()
    assert isinstance(patch, CodePatch)
    assert (patch.empty, patch.modules, patch.changed) == (True, (), ())
    patch.undo()
