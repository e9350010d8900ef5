"""Edits that are put into a running process, and how they show there."""

from __future__ import annotations

import functools
import threading
from typing import Any, NamedTuple

import pytest

from .conftest import Live


class Edit(NamedTuple):
    """`kept` is evaluated before the edit and stands for references held elsewhere; `look` afterwards, with it."""

    before: str
    after: str
    look: str
    expected: Any
    kept: str = "None"


EDITS = {
    "function body": Edit("def f(x): return x + 1", "def f(x): return x + 2", "kept(1)", 3, "m.f"),
    "bound method": Edit(
        "class A:\n    def f(self): return 1", "class A:\n    def f(self): return 2", "kept()", 2, "m.A().f"
    ),
    "method, old instance": Edit(
        "class A:\n    def f(self): return 1", "class A:\n    def f(self): return 2", "kept.f()", 2, "m.A()"
    ),
    "staticmethod": Edit(
        "class A:\n    @staticmethod\n    def f(): return 1",
        "class A:\n    @staticmethod\n    def f(): return 2",
        "kept()",
        2,
        "m.A.f",
    ),
    "classmethod": Edit(
        "class A:\n    @classmethod\n    def f(cls): return cls, 1",
        "class A:\n    @classmethod\n    def f(cls): return cls, 2",
        "kept()",
        "(m.A, 2)",
        "m.A.f",
    ),
    "property": Edit(
        "class A:\n    @property\n    def f(self): return 1",
        "class A:\n    @property\n    def f(self): return 2",
        "kept.f",
        2,
        "m.A()",
    ),
    "setter of a property": Edit(
        "class A:\n    @property\n    def f(self): return self.x\n    @f.setter\n    def f(self, x): self.x = x",
        "class A:\n    @property\n    def f(self): return self.x\n    @f.setter\n    def f(self, x): self.x = -x",
        "setattr(kept, 'f', 3) or kept.f",
        -3,
        "m.A()",
    ),
    "new setter": Edit(
        "class A:\n    @property\n    def f(self): return 1",
        "class A:\n    @property\n    def f(self): return 1\n    @f.setter\n    def f(self, x): self.x = x",
        "setattr(kept, 'f', 3) or (kept.f, kept.x)",
        (1, 3),
        "m.A()",
    ),
    "async function": Edit(
        "async def f(): return 1", "async def f(): return 2", "__import__('asyncio').run(kept())", 2, "m.f"
    ),
    "generator": Edit("def f():\n    yield 1", "def f():\n    yield 2", "list(kept())", [2], "m.f"),
    "function in a partial": Edit(
        "def f(x): return x", "def f(x): return -x", "kept()", -4, "__import__('functools').partial(m.f, 4)"
    ),
    "new parameter with a default": Edit("def f(x): return x", "def f(x, y=5): return x + y", "kept(1)", 6, "m.f"),
    "changed default": Edit("def f(x=1): return x", "def f(x=2): return x", "kept()", 2, "m.f"),
    "changed keyword default": Edit("def f(*, x=1, y=3): return x, y", "def f(*, x=1, y=(2, 'b')): return x, y", "kept()", (1, (2, "b")), "m.f"),
    "default that stays, at another place": Edit(
        "class C: pass\ndef f(a=1, b=C): return a, b",
        "class C: pass\ndef f(b=C, *, a=7): return a, b",
        "kept()",
        "(7, m.C)",
        "m.f",
    ),
    "default that is gone": Edit("def f(x=1, y=2): return x", "def f(x=1, y=2, *z): return z", "kept(1, 2, 3)", (3,), "m.f"),
    "annotation": Edit("def f(x: int): ...", "def f(x: float) -> str: ...", "kept.__annotations__", {"x": float, "return": str}, "m.f"),
    "annotation as text": Edit(
        "from __future__ import annotations\ndef f(x: int): ...",
        "from __future__ import annotations\ndef f(x: Later): ...",
        "kept.__annotations__",
        {"x": "Later"},
        "m.f",
    ),
    "docstring of a function": Edit('def f():\n    "old"', 'def f():\n    "new"', "kept.__doc__", "new", "m.f"),
    "docstring of a class": Edit('class A:\n    "old"', 'class A:\n    "new"', "kept.__doc__", "new", "m.A"),
    "docstring of a module": Edit('"old"\nX = 1', '"new"\nX = 1', "m.__doc__", "new"),
    "docstring that is gone": Edit('def f():\n    "old"\n    return 1', "def f():\n    return 1", "kept.__doc__", None, "m.f"),
    "new function": Edit("def f(): return 1", "def g(): return 2\ndef f(): return g()", "kept()", 2, "m.f"),
    "new method": Edit(
        "class A:\n    def f(self): return 1",
        "class A:\n    def f(self): return self.g()\n    def g(self, x=2): return x",
        "kept()",
        2,
        "m.A().f",
    ),
    "new method with super": Edit(
        "class B:\n    def f(self): return 1\nclass A(B):\n    def g(self): return 2",
        "class B:\n    def f(self): return 1\nclass A(B):\n    def g(self): return 2\n    def f(self): return super().f() + 4",
        "kept.f()",
        5,
        "m.A()",
    ),
    "new method with private names": Edit(
        "class A:\n    def f(self): self.__x = 3",
        "class A:\n    def f(self): self.__x = 3\n    def __g(self): return self.__x\n    def h(self): return self.__g()",
        "(kept.f(), kept.h())[1]",
        3,
        "m.A()",
    ),
    "new method of an inner class": Edit(
        "class A:\n    class B:\n        def f(self): return 1",
        "class A:\n    class B:\n        def f(self): return 1\n        def g(self): return 2, __class__",
        "kept.g(), m.A.B.g.__qualname__",
        "((2, m.A.B), 'A.B.g')",
        "m.A.B()",
    ),
    "new static, class and property methods": Edit(
        "class A: pass",
        "class A:\n    @staticmethod\n    def s(): return 1\n    @classmethod\n    def c(cls): return 2\n    @property\n    def p(self): return 3",
        "kept.s(), kept.c(), kept.p",
        (1, 2, 3),
        "m.A()",
    ),
    "new cached function": Edit(
        "import functools",
        "import functools\n@functools.lru_cache(maxsize=4)\ndef f(x): return x * 2",
        "m.f(2), m.f(2), m.f.cache_info().hits",
        (4, 4, 1),
    ),
    "new class": Edit("X = 1", "X = 1\nclass A:\n    Y = 3\n    def f(self): return X + self.Y", "m.A().f()", 4),
    "new dataclass": Edit(
        "from dataclasses import dataclass, field\n",
        "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass P:\n    x: int = 1\n    y: list = field(default_factory=list)\n",
        "m.P(2)",
        "m.P(2, [])",
    ),
    "new import": Edit("def f(x): return x", "import math\ndef f(x): return math.floor(x)", "kept(2.5)", 2, "m.f"),
    "imports in another order": Edit(
        "import os\nimport math\ndef f(): return math.pi", "import math\nimport os\ndef f(): return -math.pi", "kept()", -3.141592653589793, "m.f"
    ),
    "imports taken together": Edit(
        "from math import pi\nfrom math import e\ndef f(): return pi", "from math import e, pi\ndef f(): return 2", "kept()", 2, "m.f"
    ),
    "another module under the same name": Edit(
        "from math import floor as round_\ndef f(x): return round_(x)",
        "from math import ceil as round_\ndef f(x): return round_(x)",
        "kept(1.5)",
        2,
        "m.f",
    ),
    "removed function": Edit("def f(): return 1\ndef g(): return 2", "def f(): return 1", "hasattr(m, 'g')", False),
    "removed method": Edit(
        "class B:\n    def f(self): return 1\nclass A(B):\n    def f(self): return 2",
        "class B:\n    def f(self): return 1\nclass A(B):\n    pass",
        "kept.f()",
        1,
        "m.A()",
    ),
    "removed import": Edit("import math\nimport os", "import math", "hasattr(m, 'os')", False),
    "removed constant": Edit("X = 1\nY = 2", "X = 1", "hasattr(m, 'Y')", False),
    "constant": Edit("X = 1\ndef f(): return X", "X = -2.5\ndef f(): return X", "kept()", -2.5, "m.f"),
    "computed constant": Edit("X = 1\ndef f(): return X", "X = (1 << 4, 'ab' * 2)\ndef f(): return X", "kept()", (16, "abab"), "m.f"),
    "annotated constant": Edit("X: float = 1\ndef f(): return X", "X: float = 2\ndef f(): return X", "kept()", 2, "m.f"),
    "new constant": Edit("def f(): return 1", "X: int = 4\ndef f(): return X", "kept()", 4, "m.f"),
    "new table": Edit("def f(): return 1", "X = {'a': [1, 2]}\ndef f(): return X['a']", "kept()", [1, 2], "m.f"),
    "constant of a class": Edit(
        "class A:\n    SIZE = 1\n    def f(self): return self.SIZE", "class A:\n    SIZE = 2\n    def f(self): return self.SIZE", "kept()", 2, "m.A().f"
    ),
    "new constant of a class": Edit("class A:\n    X = 1", "class A:\n    X = 1\n    Y = 2", "kept.Y", 2, "m.A()"),
    "closure in use": Edit(
        "def make(n):\n    def inner(x):\n        return n + x\n    return inner",
        "def make(n):\n    def inner(x):\n        return n * x\n    return inner",
        "kept(4)",
        12,
        "m.make(3)",
    ),
    "lambda in use": Edit(
        "def make(n):\n    return lambda x: n + x", "def make(n):\n    return lambda x: n * x", "kept(4)", 12, "m.make(3)"
    ),
    "the one of two lambdas that has changed": Edit(
        "def make(n):\n    return [lambda: 1, lambda: 2]", "def make(n):\n    return [lambda: 1, lambda: 3]", "[f() for f in kept]", [1, 3], "m.make(3)"
    ),
    "method that stops using super": Edit(
        "class B:\n    def f(self): return 1\nclass A(B):\n    def f(self): return super().f()",
        "class B:\n    def f(self): return 1\nclass A(B):\n    def f(self): return 2",
        "kept()",
        2,
        "m.A().f",
    ),
    "method that begins to use super": Edit(
        "class B:\n    def f(self): return 1\nclass A(B):\n    def f(self, x=3): return 5",
        "class B:\n    def f(self): return 1\nclass A(B):\n    def f(self, x=3): return super().f() + x",
        "kept.f()",
        4,
        "m.A()",
    ),
    "closure that uses fewer variables": Edit(
        "def make(a, b):\n    def inner(): return a + b\n    return inner",
        "def make(a, b):\n    def inner(): return a * 10\n    return inner",
        "kept()",
        10,
        "m.make(1, 2)",
    ),
    "function behind a decorator of the project's": Edit(
        "def twice(fn):\n    def wrapper(x):\n        return fn(fn(x))\n    return wrapper\n@twice\ndef f(x): return x + 1",
        "def twice(fn):\n    def wrapper(x):\n        return fn(fn(x))\n    return wrapper\n@twice\ndef f(x): return x + 5",
        "kept(0)",
        10,
        "m.f",
    ),
    "what a decorator of the project's puts around": Edit(
        "import functools\ndef twice(fn):\n    @functools.wraps(fn)\n    def wrapper(x):\n        return fn(fn(x))\n    return wrapper\n@twice\ndef f(x): return x + 1",
        "import functools\ndef twice(fn):\n    @functools.wraps(fn)\n    def wrapper(x):\n        return fn(fn(fn(x)))\n    return wrapper\n@twice\ndef f(x): return x + 1",
        "kept(0)",
        3,
        "m.f",
    ),
    "function behind a decorator that is a class": Edit(
        "class Counted:\n    def __init__(self, fn): self.fn, self.n = fn, 0\n    def __call__(self): self.n += 1; return self.fn(), self.n\n@Counted\ndef f(): return 1",
        "class Counted:\n    def __init__(self, fn): self.fn, self.n = fn, 0\n    def __call__(self): self.n += 1; return self.fn(), self.n\n@Counted\ndef f(): return 2",
        "m.f()",
        (2, 2),
        "m.f()",
    ),
    "entry of a registry": Edit(
        "MODES = {}\ndef mode(fn):\n    MODES[fn.__name__] = fn\n    return fn\n@mode\ndef blur(x): return x",
        "MODES = {}\ndef mode(fn):\n    MODES[fn.__name__] = fn\n    return fn\n@mode\ndef blur(x): return x * 2",
        "m.MODES['blur'](4)",
        8,
    ),
    "entry of a table": Edit(
        "def blur(x): return x\nMODES = {'blur': blur}", "def blur(x): return x * 2\nMODES = {'blur': blur}", "m.MODES['blur'](4)", 8
    ),
    "context manager": Edit(
        "from contextlib import contextmanager\n@contextmanager\ndef f():\n    yield 1",
        "from contextlib import contextmanager\n@contextmanager\ndef f():\n    yield 2",
        "kept().__enter__()",
        2,
        "m.f",
    ),
    "function in an if statement, moved": Edit(
        "if True:\n    def f(): return 1", "\n\nif True:\n    def f(): return 1", "m.f.__code__.co_firstlineno", 4
    ),
    "code for type checkers": Edit(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere\ndef f(): return 1",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere_else\ndef f(): return 2",
        "m.f()",
        2,
    ),
    "code that runs as a script only": Edit(
        "def f(): return 1\nif __name__ == '__main__':\n    print(f())", "def f(): return 2\nif __name__ == '__main__':\n    print(-f())", "m.f()", 2
    ),
    "__all__": Edit("__all__ = ['f']\ndef f(): return 1", "__all__ = ['f', 'g']\ndef f(): return 1\ndef g(): ...", "m.__all__", ["f", "g"]),
    "parameter of a function that was kept": Edit("def f(a, b): return a - b", "def f(b, a): return a - b", "kept(1, 2)", 1, "m.f"),
    "__call__ of an object": Edit(
        "class A:\n    def __call__(self): return 1", "class A:\n    def __call__(self): return 2", "kept()", 2, "m.A()"
    ),
    "new special method": Edit(
        "class A:\n    def f(self): return 1", "class A:\n    def f(self): return 1\n    def __len__(self): return 7", "len(kept)", 7, "m.A()"
    ),
    "function moved past another": Edit(
        "def f(): return 1\ndef g(): return 2", "def g(): return 3\ndef f(): return 1", "m.f(), m.g()", (1, 3)
    ),
    "thread's target, next call": Edit("def f(): return 1", "def f(): return 2", "kept._target()", 2, "__import__('threading').Timer(9, m.f).function and __import__('threading').Thread(target=m.f)"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
def test_an_edit_shows_in_the_running_module(live: Live, case: str) -> None:
    edit = EDITS[case]
    names: dict[str, Any] = {"m": live.load(edit.before)}
    names["kept"] = eval(edit.kept, names)
    expected = edit.expected
    patch = live.edit(edit.after)
    if isinstance(expected, str) and "m." in expected:
        expected = eval(expected, names)
    found = eval(edit.look, names)
    assert found == expected
    assert type(found) is type(expected)
    assert patch.modules == ("effects",)
    assert not patch.empty


@pytest.mark.parametrize("case", EDITS)
def test_undo_makes_everything_as_it_was(live: Live, case: str) -> None:
    edit = EDITS[case]
    module = live.load(edit.before)
    names: dict[str, Any] = {"m": module}
    names["kept"] = eval(edit.kept, names)
    before = _state(module)
    files = live.sources.files()
    patch = live.edit(edit.after)
    patch.undo()
    assert _state(module) == before
    assert live.sources.files() == files
    assert live.apply().changed == patch.changed  # and it can be put in again


def _state(module: Any) -> dict[str, Any]:
    """All that a patch may change, down to code objects' bytes and lines."""
    found: dict[str, Any] = {}

    def look(path: str, value: Any) -> None:
        if isinstance(value, type) and value.__module__ == module.__name__:
            for name, member in vars(value).items():
                if name not in ("__dict__", "__weakref__", "__annotations__"):
                    look(f"{path}.{name}", member)
        elif isinstance(value, (staticmethod, classmethod)):
            look(f"{path}()", value.__func__)
        elif isinstance(value, property):
            for part in ("fget", "fset", "fdel"):
                look(f"{path}.{part}", getattr(value, part))
        elif isinstance(value, functools.partial) or not hasattr(value, "__code__"):
            found[path] = value
        else:
            code = value.__code__
            found[path] = (
                value.__defaults__,
                value.__kwdefaults__,
                value.__annotations__,
                value.__doc__,
                code.co_consts,
            )
            found[f"{path} code"] = (code.co_code, code.co_names, code.co_firstlineno)

    for name, value in vars(module).items():
        if name not in ("__builtins__", "__annotations__"):
            look(name, value)
    return found


def test_a_file_saved_without_a_difference_is_no_patch(live: Live) -> None:
    live.load("X = 1\n")
    assert live.edit("X = 1\n").empty


def test_a_comment_changes_no_name_but_the_lines(live: Live) -> None:
    module = live.load("def f():\n    return 1 / 0\n")
    patch = live.edit("# a comment\n\ndef f():\n    return 1 / 0\n")
    assert (patch.empty, patch.changed) == (False, ())
    with pytest.raises(ZeroDivisionError) as caught:
        module.f()
    last = caught.traceback[-1]
    assert last.lineno + 1 == 4
    assert str(last.statement).strip() == "return 1 / 0"


def test_what_has_changed_is_named_in_the_order_of_the_text(live: Live) -> None:
    live.load("X = 1\ndef f(): return 1\nclass A:\n    Y = 1\n    def g(self): return 1\n    def h(self): return 1\n")
    patch = live.edit(
        "X = 2\nimport os\ndef f(): return 1\nclass A:\n    Y = 1\n    def g(self): return 2\n    def h(self): return 1\n"
    )
    assert patch.changed == ("effects.X", "effects.os", "effects.A.g")


def test_a_constant_follows_wherever_it_was_imported_by_value(live: Live) -> None:
    live.write("GAIN = 1\n", "settings")
    live.write("from settings import GAIN as gain\n", "between")
    module = live.load("from between import gain\ndef f(): return gain\n")
    patch = live.edit("GAIN = 3\n", name="settings")
    assert module.f() == 3
    patch.undo()
    assert module.f() == 1


def test_a_function_follows_wherever_it_was_imported_by_value(live: Live) -> None:
    live.write("def blur(x): return x\n", "pkg.filters")
    live.write("", "pkg.__init__")
    module = live.load("from pkg.filters import blur\ndef f(x): return blur(x)\n")
    live.edit("def blur(x): return x + 1\n", name="pkg.filters")
    assert module.f(1) == 2


def test_a_new_name_can_be_imported_by_another_module_in_the_same_save(live: Live) -> None:
    live.write("def old(): return 1\n", "zfilters")
    module = live.load("import zfilters\ndef f(): return zfilters.old()\n")
    live.write("def old(): return 1\ndef new(): return 2\n", "zfilters")
    live.edit("import zfilters\nfrom zfilters import new\ndef f(): return new()\n")
    assert module.f() == 2


def test_a_new_file_of_the_project_can_be_imported(live: Live) -> None:
    module = live.load("def f(): return 1\n")
    live.write("def g(): return 5\n", "fresh")
    patch = live.edit("from fresh import g\ndef f(): return g()\n")
    assert module.f() == 5
    assert [file.module for file in live.sources.files()] == ["effects", "fresh"]
    live.edit("def g(): return 6\n", name="fresh")
    assert module.f() == 6
    live.edit("def g(): return 5\n", name="fresh")
    patch.undo()
    assert module.f() == 1
    assert [file.module for file in live.sources.files()] == ["effects"]


def test_a_second_edit_builds_on_the_first(live: Live) -> None:
    module = live.load("class A:\n    def f(self): return 1\n")
    kept = module.A()
    for number in range(2, 6):
        live.edit(f"class A:\n    def f(self): return self.g()\n    def g(self): return {number}\n")
        assert kept.f() == number
    live.edit("class A:\n    def f(self): return 9\n")
    assert kept.f() == 9
    assert not hasattr(kept, "g")


def test_new_code_that_cannot_be_executed_leaves_everything_as_it_was(live: Live) -> None:
    module = live.load("def f(): return 1\n")
    live.write("from math import nothing_like_it\ndef f(): return 2\nX = 3\n")
    with pytest.raises(ImportError):
        live.apply()
    assert module.f() == 1
    assert not hasattr(module, "X")
    assert live.sources.text(str(live.folder / "effects.py")) == "def f(): return 1\n"


def test_a_syntax_error_is_passed_on_with_its_place(live: Live) -> None:
    module = live.load("def f(): return 1\n")
    live.write("def f():\n    return (\n")
    with pytest.raises(SyntaxError) as caught:
        live.plan()
    assert (caught.value.filename, caught.value.lineno) == (str(live.folder / "effects.py"), 2)
    assert module.f() == 1


def test_a_patch_is_applied_once(live: Live) -> None:
    live.load("X = 1\n")
    patch = live.edit("X = 2\n")
    with pytest.raises(RuntimeError):
        __import__("asyncio").run(patch.apply())


def test_other_threads_see_the_new_code_at_their_next_call(live: Live) -> None:
    module = live.load("def f(): return 1\n")
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def loop() -> None:
        seen.append(module.f())
        begun.set()
        go_on.wait(60)
        seen.append(module.f())

    thread = threading.Thread(target=loop)
    thread.start()
    begun.wait(60)
    live.edit("def f(): return 2\n")
    go_on.set()
    thread.join(60)
    assert seen == [1, 2]
