"""Twenty and more edits that people make all day: each stays in the running process, and shows there at once."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Live

PIPELINE = '''
    """A pipeline as people write them."""
    import logging
    import math
    from .config import LEVEL
    from . import config
    from runner.live.pipelines import BaseParams

    # a comment
    GAIN = 2.0
    WEIGHTS = (1, 2, 3)

    class Params(BaseParams):
        strength: float = 0.5
        mode: str = "plain"

    def helper(x):
        y = x * GAIN + 1
        return [v * 2 for v in (y, y + 1)]

    def fit(model, y):
        """Fit it."""
        total = 0
        for i in range(3):
            total += model[i] * y
        name = f"{total:.1f}"
        order = sorted(model, key=lambda m: -m)
        return total, name, order

    class Pipe:
        OFFSET = 10

        def __init__(self):
            self.model = [1, 2, 3]
            self.params = Params(strength=0.5)
            self.seen = 0

        def scale(self, v):
            return v * 0.5

        def shift(self, v):
            return v + self.OFFSET + LEVEL + config.DEPTH

        def styled(self, v):
            if self.params.mode == "plain":
                return v
            elif self.params.mode == "edges":
                v = v * 3
                self.seen = v
            return v + 1

        def transform(self, frame):
            y = helper(frame)[0]
            if y > 1000:
                y = 0
            else:
                y = y + 0.25
            z = self.scale(y)
            z = self.styled(self.shift(z))
            return fit(self.model, z)
'''
CONFIG = "LEVEL = 1\nDEPTH = 0\n"

EDITS = {
    "literal in a helper": ("GAIN + 1", "GAIN + 5"),
    "module constant": ("GAIN = 2.0", "GAIN = 3.0"),
    "constant of a class": ("OFFSET = 10", "OFFSET = 20"),
    "operator": ("x * GAIN", "x / GAIN"),
    "line added": ("        y = helper(frame)[0]\n", "        y = helper(frame)[0]\n            y = y + 7\n"),
    "line removed": ('    name = f"{total:.1f}"\n', "    name = ''\n"),
    "print added": ("            z = self.scale(y)\n", "            print('y', y)\n            z = self.scale(y)\n"),
    "log line added": ("            z = self.scale(y)\n", "            z = self.scale(y)\n            logging.info(z)\n"),
    "log line and its import": ("            z = self.scale(y)\n", "            z = self.scale(y)\n            logging.getLogger(warnings.__name__).info(z)\n"),
    "local renamed": (
        "        y = x * GAIN + 1\n        return [v * 2 for v in (y, y + 1)]",
        "        q = x * GAIN + 1\n        return [v * 2 for v in (q, q + 1)]",
    ),
    "condition": ("y > 1000", "y > 900"),
    "if added": ("            z = self.scale(y)\n", "            if y > 3:\n                y = 3\n            z = self.scale(y)\n"),
    "if added that is not taken": (
        "            z = self.scale(y)\n",
        "            if y > 5000:\n                y = 3\n            z = self.scale(y)\n",
    ),
    "taken branch": ("y + 0.25", "y + 0.5"),
    "branch that the params do not take": ("v = v * 3", "v = v * 4"),
    "new helper": (
        "    class Pipe:",
        "    def brighter(x, by=3):\n        return x + by\n\n    class Pipe:",
    ),
    "new constant": ("    GAIN = 2.0\n", "    GAIN = 2.0\n    EXTRA = [1, 2]\n"),
    "comment": ("# a comment", "# another\n    # and one more"),
    "docstring": ('"""Fit it."""', '"""Fit the model."""'),
    "method body": ("v * 0.5", "v * 0.75"),
    "comprehension": ("v * 2 for v", "v * 3 for v"),
    "f-string": ("{total:.1f}", "{total:.3f}"),
    "lambda": ("lambda m: -m", "lambda m: m"),
    "loop range": ("range(3)", "range(2)"),
    "return changed": ("return total, name, order", "return name, total"),
    "call argument": ("fit(self.model, z)", "fit(self.model, z + 1)"),
    "try added": (
        "            z = self.scale(y)\n",
        "            try:\n                z = self.scale(y)\n            except ValueError:\n                z = 0\n",
    ),
    "default of a param": ("strength: float = 0.5", "strength: float = 0.8"),
}  # fmt: skip
MORE = {  # a second change in the same save
    "log line and its import": ("    import math\n", "    import math\n    import warnings\n"),
    "new helper": ("y = helper(frame)[0]", "y = brighter(helper(frame)[0])"),
    "new constant": ("y = helper(frame)[0]", "y = helper(frame)[0] + EXTRA[1]"),
}


def start(live: Live) -> Any:
    live.write("", "proj.__init__")
    live.write(CONFIG, "proj.config")
    return live.load_pipeline(PIPELINE, "proj.pipeline")


@pytest.mark.parametrize("name", EDITS)
def test_an_everyday_edit_stays_in_place(live: Live, name: str) -> None:
    pipe = start(live)
    for _ in range(3):
        pipe.transform(4)
    text = PIPELINE
    for old, new in filter(None, (EDITS[name], MORE.get(name))):
        assert old in text
        text = text.replace(old, new)
    live.write(text, "proj.pipeline")
    assert live.save(pipe, lambda: pipe.transform(4)) == ""
    here = pipe.transform(4)
    for module in ("proj.pipeline", "proj.config", "proj"):
        del __import__("sys").modules[module]
    assert here == live.load(name="proj.pipeline").Pipe().transform(4)


@pytest.mark.parametrize(("old", "new"), [("LEVEL = 1", "LEVEL = 2"), ("DEPTH = 0", "DEPTH = 5")])
def test_a_constant_of_another_module_stays_in_place(live: Live, old: str, new: str) -> None:
    pipe = start(live)
    before = pipe.transform(4)
    live.write(CONFIG.replace(old, new), "proj.config")
    assert live.save(pipe, lambda: pipe.transform(4)) == ""
    assert pipe.transform(4) != before


def test_two_constants_of_another_module_stay_in_place(live: Live) -> None:
    pipe = start(live)
    live.write(CONFIG.replace("LEVEL = 1", "LEVEL = 2").replace("DEPTH = 0", "DEPTH = 5"), "proj.config")
    assert live.save(pipe, lambda: pipe.transform(4)) == ""
    assert pipe.shift(0) == 17


def test_a_branch_that_other_params_have_taken_needs_a_fresh_process(live: Live) -> None:
    pipe = start(live)
    live.write(PIPELINE.replace("v = v * 3", "v = v * 4"), "proj.pipeline")
    assert live.save(pipe, lambda: pipe.transform(4), params_kept=False).startswith(
        "'v = v * 4' in Pipe.styled() did not run"
    )


def test_a_new_default_is_that_of_the_class_and_goes_back(live: Live) -> None:
    pipe = start(live)
    live.write(PIPELINE.replace("strength: float = 0.5", "strength: float = 0.8"), "proj.pipeline")
    params = type(pipe.params)
    patch = live.apply(pipe)
    assert patch.new_defaults == {"strength": (0.5, 0.8)}
    assert (params().strength, params.model_json_schema()["properties"]["strength"]["default"]) == (0.8, 0.8)
    patch.undo()
    assert (params().strength, params.model_json_schema()["properties"]["strength"]["default"]) == (0.5, 0.5)
