"""Edits that a running process cannot take over: each with the reason that is shown."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from runner.live.code.patch import PatchRefused

from .conftest import Live


class Refusal(NamedTuple):
    before: str
    after: str
    reason: str
    keep: str = "None"  # evaluated on the module `m` before the edit, and held on to


# Whoever uses them: these cannot be put into any process.
REFUSALS = {
    "a call": Refusal("X = list(range(3))", "X = list(range(4))", "module-level X is no plain constant"),
    "a table": Refusal("X = [1]", "X = [2]", "module-level X is no plain constant"),
    "an f-string": Refusal("X = f'{1}'", "X = f'{2}'", "module-level X is no plain constant"),
    "a table of a class": Refusal("class A:\n    X = {}", "class A:\n    X = {1: 2}", "A.X is no plain constant"),
    "a constant that became a table": Refusal("X = 1", "X = [1]", "module-level X is no plain constant"),
    "a constant with another annotation": Refusal("X: int = 1", "X: float = 1", "the annotation of X has changed"),
    "a statement": Refusal("print", "print(end='')", "'print' at module level is new or gone"),
    "an if": Refusal("if 1:\n    X = 1", "if 1:\n    X = 2", "'if 1:' at module level is new or gone"),
    "a try": Refusal("try:\n    X = 1\nfinally: pass", "try:\n    X = 2\nfinally: pass", "'try:' at module level is new or gone"),
    "a function in an if": Refusal(
        "if 1:\n    def f(): return 1", "if 1:\n    def f(): return 2", "'if 1:' at module level is new or gone"
    ),
    "a new call": Refusal("Y = 1", "Y = 1\nX = list()", "X is new, and is no plain constant"),
    "a removed table": Refusal("Y = 1\nX = []", "Y = 1", "module-level X is gone, and was no plain constant"),
    "a star import": Refusal("Y = 1", "Y = 1\nfrom math import *", "'from math import *' is new or gone"),
    "a future import": Refusal("Y = 1", "from __future__ import annotations\nY = 1", "'from __future__ import annotations' is new or gone"),
    "decorators": Refusal(
        "import functools\n@functools.cache\ndef f(): return 1", "import functools\ndef f(): return 1", "the decorators of f() have changed"
    ),
    "a decorator's argument": Refusal(
        "import functools\n@functools.lru_cache(1)\ndef f(): return 1",
        "import functools\n@functools.lru_cache(2)\ndef f(): return 1",
        "the decorators of f() have changed",
    ),
    "a new function with an unknown decorator": Refusal(
        "import atexit\nY = 1", "import atexit\nY = 1\n@atexit.register\ndef f(): return 1", "f() is new, and has the decorator @atexit.register"
    ),
    "a new function with a decorator of its own name": Refusal(
        "def cache(f): return f", "def cache(f): return f\n@cache\ndef f(): return 1", "f() is new, and has the decorator @cache"
    ),
    "a new default": Refusal("def f(x=1): ...", "def f(x=[]): ...", "the default of 'x' of f() is no plain constant"),
    "a default that is called": Refusal("def f(x=id(1)): ...", "def f(x=id(2)): ...", "the default of 'x' of f() is no plain constant"),
    "bases": Refusal("class B: ...\nclass A: ...", "class B: ...\nclass A(B): ...", "class A has other bases"),
    "a metaclass": Refusal(
        "from abc import ABCMeta\nclass A: ...", "from abc import ABCMeta\nclass A(metaclass=ABCMeta): ...", "class A has another metaclass or class keywords"
    ),
    "a class decorator": Refusal(
        "from dataclasses import dataclass\nclass A: ...",
        "from dataclasses import dataclass\n@dataclass\nclass A: ...",
        "the decorators of class A have changed",
    ),
    "slots": Refusal("class A:\n    __slots__ = ('x',)", "class A:\n    __slots__ = ('x', 'y')", "__slots__ of A changed"),
    "new slots": Refusal("class A: ...", "class A:\n    __slots__ = ('x',)", "__slots__ of A changed"),
    "__hash__": Refusal("class A: ...", "class A:\n    def __eq__(self, o): return True", "__eq__ of A changed"),
    "an annotation in a class": Refusal("class A:\n    x: int", "class A:\n    x: float", "the annotations of A have changed"),
    "a field of a dataclass": Refusal(
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 1",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int = 2",
        "A.x is new, changed or gone, and its class has a decorator",
    ),
    "a new field": Refusal("class A:\n    x: int = 1", "class A:\n    x: int = 1\n    y: int = 2", "A.y is new, and annotations may be looked at when a class is made"),
    "a member of an enumeration": Refusal(
        "from enum import Enum\nclass A(Enum):\n    X = 1", "from enum import Enum\nclass A(Enum):\n    X = 2", "A.X has been changed while it runs"
    ),
    "a new member of an enumeration": Refusal(
        "from enum import Enum\nclass A(Enum):\n    X = 1",
        "from enum import Enum\nclass A(Enum):\n    X = 1\n    Y = 2",
        "A.Y is new, changed or gone, and its class has a metaclass",
    ),
    "a removed class": Refusal("class A: ...\nX = 1", "X = 1", "class A is gone"),
    "a function that became a class": Refusal("def f(): ...", "class f: ...", "f() has become a class"),
    "a class that became a function": Refusal("class f: ...", "def f(): ...", "class f has become a function"),
    "a function that became a constant": Refusal("def f(): ...", "f = 1", "f() has become a variable"),
    "a function that became an import": Refusal("def floor(): ...", "from math import floor", "floor() has become an import"),
    "a method that became a property": Refusal(
        "class A:\n    def f(self): ...", "class A:\n    @property\n    def f(self): ...", "the decorators of A.f() have changed"
    ),
    "a part of a property": Refusal(
        "class A:\n    @property\n    def f(self): ...\n    @f.setter\n    def f(self, x): ...",
        "class A:\n    @property\n    def f(self): ...",
        "a part of the property A.f is gone",
    ),
    "def to async def": Refusal("def f(): ...", "async def f(): ...", "f() is another kind of function now"),
    "function to generator": Refusal("def f(): return []", "def f(): yield 1", "f() is another kind of function now"),
    "one of two functions of a name": Refusal("def f(): return 1\ndef f(): return 2", "def f(): return 1\ndef f(): return 3", "f is defined more than once"),
    "a function with a fallback": Refusal(
        "def f(): return 1\nif 0:\n    def f(): return 2", "def f(): return 3\nif 0:\n    def f(): return 2", "f is defined more than once"
    ),
    "another order of statements": Refusal("X = list()\nY = dict()", "Y = dict()\nX = list()", "Y has moved"),
    "a function below its call": Refusal("def f(): return 1\nX = f()", "X = f()\ndef f(): return 1", "f() has moved"),
    "a function below a call that needs it": Refusal(
        "def g(): return 1\ndef f(): return g()\nX = f()", "def f(): return g()\nX = f()\ndef g(): return 1", "g() has moved"
    ),
    "a removed import that is used": Refusal("import math\nX = math.pi", "X = math.pi", "math is used before it is defined"),
    "a function that the import calls": Refusal("def f(): return 1\nX = f()", "def f(): return 2\nX = f()", "f() is called by the import of effects"),
    "a function that the import calls through another": Refusal(
        "def g(): return 1\ndef f(): return g()\nX = f()",
        "def g(): return 2\ndef f(): return g()\nX = f()",
        "g() is called by the import of effects > f()",
    ),
    "a constant that the import uses": Refusal("A = 2\nB = A * 3", "A = 3\nB = A * 3", "A is used by the import of effects"),
    "a constant that is a default": Refusal("A = 2\ndef f(x=A): ...", "A = 3\ndef f(x=A): ...", "A is used by the import of effects"),
    "a constant that a class body uses": Refusal("A = 2\nclass B:\n    X = A", "A = 3\nclass B:\n    X = A", "A is used by the import of effects"),
    "a constant of a class that its body uses": Refusal("class B:\n    A = 2\n    X = A * 2", "class B:\n    A = 3\n    X = A * 2", "B.A is used by the import of effects"),
    "a decorator": Refusal(
        "def deco(f):\n    return f\n@deco\ndef f(): ...", "def deco(f):\n    return lambda: 1\n@deco\ndef f(): ...", "deco() is called by the import of effects"
    ),
    "a hook of subclasses": Refusal(
        "class B:\n    def __init_subclass__(cls): cls.x = 1\nclass A(B): ...",
        "class B:\n    def __init_subclass__(cls): cls.x = 2\nclass A(B): ...",
        "B.__init_subclass__() is called by the import of effects",
    ),
    "a new subclass that is registered": Refusal(
        "class B:\n    def __init_subclass__(cls): cls.x = 1",
        "class B:\n    def __init_subclass__(cls): cls.x = 1\nclass A(B): ...",
        "class A is new, and B.__init_subclass__() is told of it",
    ),
    "the constructor of what the import makes": Refusal(
        "class A:\n    def __init__(self): self.x = 1\nX = A()",
        "class A:\n    def __init__(self): self.x = 2\nX = A()",
        "A.__init__() is called by the import of effects",
    ),
    "a function given to a library at the import": Refusal(
        "def f(x): return -x\nX = sorted([1, 2], key=f)", "def f(x): return x\nX = sorted([1, 2], key=f)", "f() is called by the import of effects"
    ),
    "a constant that is declared global": Refusal(
        "X = 1\ndef f():\n    global X\n    X = 2", "X = 3\ndef f():\n    global X\n    X = 2", "X is declared global in a function"
    ),
    "a constant that is stored as an attribute": Refusal(
        "X = 1\ndef f(m):\n    m.X = 2", "X = 3\ndef f(m):\n    m.X = 2", "X is also stored to as an attribute"
    ),
    "a constant that was changed": Refusal("X = 1", "X = 2", "X has been changed while it runs", "setattr(m, 'X', 5)"),
    "a constant of a class that was changed": Refusal(
        "class A:\n    X = 1", "class A:\n    X = 2", "A.X has been changed while it runs", "setattr(m.A, 'X', True)"
    ),
    "a function that was replaced": Refusal(
        "def f(): return 1", "def f(): return 2", "f() cannot be found in the running process", "setattr(m, 'f', len)"
    ),
    "a function that is gone already": Refusal("X = 1\ndef f(): return 1", "X = 1", "f has been removed while it runs", "delattr(m, 'f')"),
    "a class that was replaced": Refusal(
        "class A:\n    def f(self): return 1", "class A:\n    def f(self): return 2", "A.f() cannot be found in the running process", "setattr(m, 'A', int)"
    ),
    "a name that is there already": Refusal("Y = 1", "Y = 1\ndef f(): ...", "f is new, and is there already", "setattr(m, 'f', 1)"),
    "a function that a translator has looked at": Refusal(
        "class Compiled:\n    __slots__ = ('run',)\n    def __init__(self, fn): self.run = None\n@Compiled\ndef f(): return 1",
        "class Compiled:\n    __slots__ = ('run',)\n    def __init__(self, fn): self.run = None\n@Compiled\ndef f(): return 2",
        "f() cannot be found in the running process",
    ),
    "parameters that a decorator may have looked at": Refusal(
        "def deco(fn):\n    return fn\n@deco\ndef f(x): return 1",
        "def deco(fn):\n    return fn\n@deco\ndef f(x, y=1): return 1",
        "the parameters of f() have changed, and @deco may have looked at them",
    ),
    "a cached result": Refusal(
        "import functools\n@functools.cache\ndef f(): return 1",
        "import functools\n@functools.cache\ndef f(): return 2",
        "f() has changed, and keeps results of before",
        "m.f()",
    ),
    "what a cached result was made with": Refusal(
        "import functools\ndef g(): return 1\n@functools.cache\ndef f(): return g()",
        "import functools\ndef g(): return 2\n@functools.cache\ndef f(): return g()",
        "g() is called by f(), which keeps its results",
        "m.f()",
    ),
    "a closure that needs other variables": Refusal(
        "def make(a, b):\n    def inner(): return a\n    return inner",
        "def make(a, b):\n    def inner(): return a + b\n    return inner",
        "inner() made by make() is still in use, and uses other variables of what is around it now",
        "m.make(1, 2)",
    ),
    "a closure that is gone": Refusal(
        "def make():\n    def inner(): return 1\n    return inner", "def make():\n    return None", "inner() made by make() is still in use, and is gone", "m.make()"
    ),
    "a closure with other defaults": Refusal(
        "def make():\n    def inner(x=1): return x\n    return inner",
        "def make():\n    def inner(x=2): return x\n    return inner",
        "inner() made by make() is still in use, and its parameters have changed",
        "m.make()",
    ),
    "a class made by a function": Refusal(
        "def make():\n    class A:\n        X = 1\n        def f(self): ...\n    return A",
        "def make():\n    class A:\n        X = 2\n        def f(self): ...\n    return A",
        "a class made by make() is still in use, and its body has changed",
        "m.make()",
    ),
    "super in a method that is kept": Refusal(
        "class A:\n    def f(self): return 1",
        "class A:\n    def f(self): return super().__hash__()",
        "A.f() begins to use super(), and is kept elsewhere too",
        "m.A().f",
    ),
    "an abstract method's implementation": Refusal(
        "from abc import ABC, abstractmethod\nclass B(ABC):\n    @abstractmethod\n    def f(self): ...\nclass A(B):\n    def f(self): ...",
        "from abc import ABC, abstractmethod\nclass B(ABC):\n    @abstractmethod\n    def f(self): ...\nclass A(B): ...",
        "A.f() is gone, and the class must have it",
    ),
    "a new abstract method": Refusal(
        "from abc import ABC, abstractmethod\nclass B(ABC): ...",
        "from abc import ABC, abstractmethod\nclass B(ABC):\n    @abstractmethod\n    def f(self): ...",
        "B.f() is new, and is abstract",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_an_edit_is_refused_with_its_reason(live: Live, case: str) -> None:
    refusal = REFUSALS[case]
    module = live.load(refusal.before)
    kept = eval(refusal.keep, {"m": module})
    live.write(refusal.after)
    with pytest.raises(PatchRefused) as caught:
        live.plan()
    assert caught.value.reason == str(caught.value) == refusal.reason
    assert caught.value.file == str(live.folder / "effects.py")
    del kept


PIPELINE = """
    import functools, asyncio, threading

    GAIN = 1
    SIZE = 4

    def warm_up(x): return scale(x)
    def scale(x): return x
    def blur(x): return x
    def make_table(): return [1]
    def note(x): return x
    def modes(): return {"blur": blur}

    class Net:
        def __init__(self): self.layers = [1]
        def forward(self, x): return x
        def __call__(self, x): return self.forward(x)
        def helper(self): return 1
        @property
        def depth(self): return len(self.layers)

    class Head(Net):
        def forward(self, x): return -x
        def tune(self): return 1

    class Pipe:
        WINDOW = 3
        def __init__(self): self.count = 0; self.table = None; self.cache = {}
        def initialize(self):
            self.net = Net()
            self.head = Head()
            self.modes = modes()
            self.size = SIZE
            self.start = warm_up(1)
            self.depth = self.net.depth
            self.prepare()
        def prepare(self): self.ready = self.head.tune()
        def update_params(self, size): self.kernel = self.make_kernel(size)
        def make_kernel(self, size): return [size]
        def put(self, x):
            if self.table is None:
                self.table = make_table()
            if x not in self.cache:
                self.cache[x] = self.build(x)
            self.count = note(self.count) + 1
            return self.shape(self.net(blur(x)) * GAIN)
        def shape(self, x): return x * self.WINDOW
        def build(self, x): return [x]
"""

# What is replaced in it by what, and the reason; without one it is put in.
PIPELINE_EDITS = {
    "initialize": ("self.size = SIZE", "self.size = SIZE + 1", "initialize() has changed"),
    "__init__": ("self.count = 0", "self.count = 1", "__init__() has changed"),
    "what initialize calls": ("def warm_up(x): return scale(x)", "def warm_up(x): return 1", "warm_up() is called by initialize()"),
    "what that calls": ("def scale(x): return x", "def scale(x): return -x", "scale() is called by initialize() > warm_up()"),
    "a method that initialize calls": ("self.ready = self.head", "self.steady = self.head", "prepare() is called by initialize()"),
    "a method of what initialize makes": ("def tune(self): return 1", "def tune(self): return 2", "Head.tune() is called by initialize() > prepare()"),
    "the constructor of what initialize makes": ("self.layers = [1]", "self.layers = [2]", "Net.__init__() is called by initialize()"),
    "a property that initialize looks at": ("return len(self.layers)", "return 7", "Net.depth() is called by initialize()"),
    "a constant that initialize uses": ("SIZE = 4", "SIZE = 5", "SIZE is used by initialize()"),
    "what update_params calls": ("return [size]", "return [size, 1]", "make_kernel() is called by update_params()"),
    "what is built once": ("def make_table(): return [1]", "def make_table(): return [2]", "make_table() is called by put(), which keeps self.table"),
    "what is built once for each": ("def build(self, x): return [x]", "def build(self, x): return [x, x]", "build() is called by put(), which keeps self.cache"),
    "how it is built once": ("self.table = make_table()", "self.table = make_table() * 2", "put() builds self.table once, and that has changed"),
    "forward of what initialize makes": ("def forward(self, x): return x", "def forward(self, x): return x + 1", ""),
    "forward of another": ("def forward(self, x): return -x", "def forward(self, x): return x", ""),
    "__call__": ("return self.forward(x)", "return self.forward(x) + 1", ""),
    "a method that only frames use": ("return x * self.WINDOW", "return x - self.WINDOW", ""),
    "a function in a table": ("def blur(x): return x", "def blur(x): return x * 2", ""),
    "a function of every frame": ("def note(x): return x", "def note(x): return x + 1", ""),
    "a constant of frames": ("GAIN = 1", "GAIN = 2", ""),
    "a constant of the pipeline": ("WINDOW = 3", "WINDOW = 4", ""),
    "the frame's own method": ("self.count = note(self.count) + 1", "self.count = note(self.count) + 2", ""),
    "a docstring and layout of initialize": ("def initialize(self):", 'def initialize(self):\n            "Builds."\n', ""),
    "a method that nobody calls": ("def helper(self): return 1", "def helper(self): return 2", ""),
    "a method that initialize would call": ("def helper(self): return 1", "def tune(self): return 2", "Net.tune is used by initialize() > prepare()"),
}  # fmt: skip


@pytest.mark.parametrize("case", PIPELINE_EDITS)
def test_what_initialize_has_built_decides_what_may_change(live: Live, case: str) -> None:
    old, new, reason = PIPELINE_EDITS[case]
    module = live.load(PIPELINE)
    pipe = module.Pipe()
    pipe.initialize()
    pipe.put(1)
    assert PIPELINE.count(old) == 1
    live.write(PIPELINE.replace(old, new))
    if not reason:
        assert not live.plan(pipe).empty
        return
    with pytest.raises(PatchRefused) as caught:
        live.plan(pipe)
    assert caught.value.reason.startswith(reason)
