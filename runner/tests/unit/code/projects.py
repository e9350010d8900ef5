"""Small projects, written the way pipelines are: what the random edits begin with."""

from __future__ import annotations

from typing import NamedTuple


class Project(NamedTuple):
    """`entry` names the pipeline."""

    entry: str
    files: dict[str, str]


FILTERS = Project(
    "filters.main:Filter",
    {
        "filters/__init__.py": "",
        "filters/settings.py": '''
            """Figures that are tuned."""
            GAIN = 1.25
            OFFSET = 0.1
            LIMITS = (0.0, 1.0)
            NAME = "filters"
        ''',
        "filters/ops.py": '''
            """Small operations."""
            from __future__ import annotations
            import math
            import numpy as np
            from .settings import GAIN, LIMITS

            EPSILON = 1e-6
            KERNEL = [0.25, 0.5, 0.25]

            def brighten(x: np.ndarray, gain: float = 1.5) -> np.ndarray:
                """Scale it."""
                return clip(x * gain * GAIN)

            def clip(x):
                return np.clip(x, *LIMITS)

            def smooth(x, times=2):
                for _ in range(times):
                    x = sum(weight * np.roll(x, shift, 0) for shift, weight in zip((-1, 0, 1), KERNEL))
                return x

            def curve(x, power=0.5):
                def bend(value):
                    return np.sign(value) * np.abs(value) ** power + EPSILON
                return bend(x)

            def wave(x, *, phase=0.25, turns=2):
                return np.sin(x * turns * math.pi + phase)

            MODES = {"brighten": brighten, "smooth": smooth, "curve": curve, "wave": wave}
        ''',
        "filters/main.py": """
            import numpy as np
            from . import ops
            from .ops import MODES, brighten
            from .settings import OFFSET

            class Filter:
                ORDER = ("curve", "smooth")
                STRENGTH = 0.75
                def __init__(self):
                    self.noise = self.make_noise(7)
                def make_noise(self, seed):
                    return np.random.default_rng(seed).random((1, 64, 64, 3))
                def frame(self, x):
                    y = brighten(x) + OFFSET
                    for name in self.ORDER:
                        y = MODES[name](y)
                    return self.mix(x, y) + self.noise * 0.01
                def mix(self, x, y, share=None):
                    share = self.STRENGTH if share is None else share
                    return x * (1 - share) + ops.wave(y) * share
        """,
    },
)

NETS = Project(
    "nets:Pipe",
    {
        "layers.py": """
            import numpy as np

            class Module:
                def __call__(self, *arguments):
                    return self.forward(*arguments)
                def describe(self):
                    return type(self).__name__

            class Linear(Module):
                SCALE = 0.5
                def __init__(self, size, seed=1):
                    super().__init__()
                    rng = np.random.default_rng(seed)
                    self.weight = init_weight(rng, size)
                    self.bias = 0.125
                def forward(self, x):
                    return x @ self.weight * self.SCALE + self.bias
                @property
                def size(self):
                    return self.weight.shape[0]

            class Gate(Linear):
                def forward(self, x):
                    y = super().forward(x)
                    return squash(y) * x
                @staticmethod
                def limit(x, top=3.0):
                    return np.minimum(x, top)
                @classmethod
                def small(cls):
                    return cls(3, seed=4)

            def init_weight(rng, size):
                return rng.standard_normal((size, size)) / size

            def squash(x):
                return 1 / (1 + np.exp(-x))
        """,
        "nets.py": '''
            import numpy as np
            from layers import Gate, Linear, squash

            STEPS = 2
            WARM_UP = 1

            class Pipe:
                """Two nets in a row."""
                strength = 0.5
                def initialize(self):
                    self.first = Linear(3, seed=2)
                    self.second = Gate.small()
                    self.tables = [make_table(n) for n in range(STEPS)]
                    self.mean = self.measure(WARM_UP)
                def measure(self, count):
                    return sum(float(table.sum()) for table in self.tables) + count
                def update_params(self, strength):
                    self.strength = self.checked(strength)
                def checked(self, value):
                    return min(max(value, 0.0), 1.0)
                def frame(self, x):
                    y = self.first(x)
                    y = self.second(y)
                    y = Gate.limit(y)
                    y = self.colour(y, index=1)
                    return y + self.mean * 0.001
                def colour(self, y, index=0, *, amount=0.2):
                    return y * (1 - amount) + self.tables[index] * amount
                @property
                def total(self):
                    return self.mean * 2

            def make_table(n):
                return np.linspace(0, n + 1, 3)

            def unused(a, b=2):
                return [value * b for value in np.ravel(a)]
        ''',
    },
)

LAZY = Project(
    "lazy:Pipe",
    {
        "lazy.py": """
            import functools
            from functools import lru_cache, partial
            import numpy as np

            STEPS = []
            RADIUS = 3
            SHARE = 0.5

            def step(fn):
                STEPS.append(fn)
                return fn

            def counted(times):
                def around(fn):
                    @functools.wraps(fn)
                    def wrapper(*arguments, **named):
                        result = None
                        for _ in range(times):
                            result = fn(*arguments, **named)
                        return result
                    return wrapper
                return around

            @lru_cache(maxsize=8)
            def window(size):
                return falloff(np.linspace(-1, 1, size))

            def falloff(x):
                return np.exp(-x * x * 2)

            def table_of(size):
                return np.arange(size) / (size - 1)

            @step
            def soften(x):
                return x * window(64)[:, None]

            @step
            @counted(2)
            def lift(x, by=0.125):
                return x + by

            class Pipe:
                def __init__(self):
                    self.table = None
                    self.curves = {}
                    self.late = partial(self.finish, share=SHARE)
                    self.tint = make_tint(0.5, 0.25)
                def frame(self, x):
                    if self.table is None:
                        self.table = table_of(64)
                    if not hasattr(self, "bias"):
                        self.bias = self.first_bias()
                    y = x * self.table[:, None]
                    for fn in STEPS:
                        y = fn(y)
                    y = y + self.curve(RADIUS) + self.bias
                    return self.late(self.tint(y))
                def first_bias(self):
                    return 0.0625
                def curve(self, radius):
                    if radius in self.curves:
                        return self.curves[radius]
                    self.curves[radius] = np.float64(radius) * 0.01
                    return self.curves[radius]
                def finish(self, x, share):
                    return np.abs(x) * share + sum(parts(3))

            def make_tint(red, blue):
                colours = np.array([red, 0.0, blue])
                def tint(x):
                    return x + colours * 0.5
                return tint

            def parts(count):
                for number in range(count):
                    yield number * 0.001
        """,
    },
)

ASYNC = Project(
    "live.pipe:Pipe",
    {
        "live/__init__.py": '"""A pipeline with queues."""\nfrom .config import Config\n',
        "live/config.py": '''
            from dataclasses import dataclass, field
            from enum import Enum

            class Mode(Enum):
                SOFT = 1
                HARD = 2
                def strength(self):
                    return self.value / 2

            @dataclass
            class Config:
                """What can be chosen."""
                mode: Mode = Mode.SOFT
                decay: float = 0.5
                weights: list = field(default_factory=lambda: [1, 2, 3])
                def weight(self, index):
                    return self.weights[index % len(self.weights)] * self.scale()
                def scale(self):
                    return 0.25
        ''',
        "live/pipe.py": """
            from __future__ import annotations
            import asyncio
            from contextlib import contextmanager
            import numpy as np
            from . import Config
            from .trail import Trail

            KEEP = 0.75

            class Pipe:
                class Stage:
                    LEVEL = 2
                    def run(self, x):
                        return x * self.LEVEL
                async def initialize(self):
                    self.config = Config()
                    self.queue = asyncio.Queue()
                    self.trail = Trail(KEEP)
                    self.stage = self.Stage()
                    await self.prepare()
                async def prepare(self):
                    self.seen = 0
                async def put(self, x):
                    self.seen += 1
                    with measured(self) as factor:
                        y = await self.process(x)
                    await self.queue.put(y * factor)
                async def process(self, x, boost=1.5):
                    x = self.stage.run(x) * self.config.mode.strength()
                    return self.trail.add(x * boost)
                async def get(self):
                    result = await self.queue.get()
                    return [result, self.seen, self.config.weight(self.seen)]

            @contextmanager
            def measured(pipe):
                yield 1 + pipe.seen * 0.01
        """,
        "live/trail.py": """
            import numpy as np

            class Base:
                floor = 0.0
                def blend(self, old, new):
                    return np.maximum(old, new)
                def reset(self):
                    self.state = None

            class Trail(Base):
                def __init__(self, keep):
                    self.keep = keep
                    self.reset()
                def add(self, x):
                    if self.state is None:
                        self.state = np.zeros_like(x)
                    self.state = self.blend(self.state * self.keep, x)
                    return self.state + self.floor
                def blend(self, old, new):
                    both = super().blend(old, new)
                    return both - low(both)

            def low(x):
                return np.min(x) * 0.5
        """,
    },
)

PROJECTS = {"filters": FILTERS, "nets": NETS, "lazy": LAZY, "async": ASYNC}
