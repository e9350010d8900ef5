"""The runner under the name of its earlier layout: ``app.live…`` are the modules ``runner.live…``.

Not copies: ``app.live.trickle is runner.live.trickle``, so classes imported by either name are the
same objects. Pipelines written for that layout import ``app.live.pipelines.interface`` and
``app.live.trickle``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType


class _AliasFinder:
    """Finds ``app.<anything>`` by importing ``runner.<anything>``; is its own loader."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if not name.startswith(__name__ + "."):
            return None
        real = "runner" + name.removeprefix(__name__)
        if importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module("runner" + spec.name.removeprefix(__name__))
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has just put the alias' spec on the module: give it back its own.
        module.__spec__ = self._spec


sys.meta_path.insert(0, _AliasFinder())
