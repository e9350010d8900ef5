"""What a process can do before it knows the pipeline, so that a reload does not wait for it."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType

from ..project_folder import put_project_first
from ..report import is_user_file

NICE = 10  # of imports ahead of time: frames go first
_SIZE = 512


def import_ahead(modules: tuple[str, ...]) -> None:
    """Import modules by name, with a low priority; what cannot be imported by itself is left out.

    In a thread of its own, which has its own priority on Linux; one that was lowered could not be raised again.
    """
    importing = threading.Thread(target=_import_all, args=(modules,), name="import ahead")
    importing.start()
    importing.join()


def _import_all(modules: tuple[str, ...]) -> None:
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    put_project_first()
    finder = _NotTheUsers()
    sys.meta_path.insert(0, finder)
    try:
        for name in modules:
            if name not in sys.modules:
                with suppress(Exception):
                    importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


class _NotTheUsers:
    """A meta path finder that refuses the user's own files: they are read when a pipeline is loaded, not before.

    A third-party package may import them (plugins): then it is left out as well.
    """

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if spec.origin and os.path.isabs(spec.origin) and is_user_file(spec.origin):
                    raise ImportError(f"{name} is the user's own")
                return


def warm_up(modules: tuple[str, ...]) -> None:
    """Import `modules` and what loads a pipeline; convert a picture once, which starts torch's threads.

    Never touches a GPU: with a torch that could use one, nothing is converted.
    """
    import_ahead(modules)
    from ..code import patch, source, store  # noqa: F401
    from ..pipelines import interface, loader, transform  # noqa: F401

    interface.BaseParams().model_json_schema()
    torch = sys.modules.get("torch")
    if torch is not None and torch.version.cuda is None and torch.version.hip is None:
        import numpy as np

        from .tensor import FrameConverter

        pixels = np.zeros((_SIZE, _SIZE, 3), np.uint8)
        converter = FrameConverter()
        converter.to_pixels(converter.to_tensor(pixels), pixels)
