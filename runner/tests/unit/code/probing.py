"""Looks at a project from outside: what is in its modules, and what its pipeline makes of some frames.

Used twice on the same text: in the test's process, where the code was patched in, and in a fork of
a process that has never seen the project (run as a script, it is that process).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import json
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

FRAMES = 3


def load(entry: str) -> Any:
    """A new pipeline of the project, initialized."""
    module, _, name = entry.partition(":")
    pipe = getattr(importlib.import_module(module), name)
    if isinstance(pipe, type):
        pipe = pipe()
        if hasattr(pipe, "initialize"):
            _run(pipe.initialize())
    return pipe


def look(folder: str, modules: list[str], pipe: Any) -> dict[str, Any]:
    """What can be seen of the project: plain data, equal for two processes that behave alike."""
    found: dict[str, Any] = {f"frame {number}": value for number, value in enumerate(frames(folder, pipe))}
    found["steady"] = frames(folder, pipe) == list(found.values())  # no frame depends on those before
    for module in modules:  # all of them, before one is looked at: importing one binds it in its package
        importlib.import_module(module)
    for module in modules:
        names = vars(importlib.import_module(module))
        for name, value in sorted(names.items()):
            if not name.startswith("__") or name in ("__doc__", "__all__"):
                found[f"{module}.{name}"] = describe(value, module)
            if inspect.isfunction(value) and value.__module__ == module and not _is_decorator(value):
                found[f"{module}.{name}()"] = outcome(folder, lambda value=value: call(value))
    return found


def frames(folder: str, pipe: Any) -> list[Any]:
    return [outcome(folder, lambda number=number: frame(pipe, number)) for number in range(FRAMES)]


def frame(pipe: Any, number: int) -> Any:
    """One frame through a pipeline of any of the kinds in the projects."""
    pixels = np.random.default_rng(number).random((1, 64, 64, 3), np.float32)
    if hasattr(pipe, "put"):
        _run(pipe.put(pixels))
        return _run(pipe.get())
    if hasattr(pipe, "frame"):
        return pipe.frame(pixels)
    import torch

    transform = getattr(pipe, "transform", pipe)
    params = inspect.signature(transform, eval_str=True).parameters["params"].annotation()
    with torch.inference_mode():
        return transform(torch.from_numpy(pixels), params).numpy()


def _is_decorator(function: Any) -> bool:
    """A call of it may register what it is given: that is state, which the two processes do not share."""
    return any(name in ("fn", "times") for name in inspect.signature(function).parameters)


def call(function: Any) -> Any:
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.kind < 2]
    return _run(function(*(np.arange(4.0).reshape(2, 2) + 1 for _ in needed)))


def outcome(folder: str, run: Callable[[], Any]) -> Any:
    try:
        return ["value", describe(run(), "")]
    except RecursionError:  # where it is raised depends on how deep the caller is
        return ["error", "RecursionError"]
    except Exception as error:
        places = [
            (os.path.basename(place.filename), place.lineno, place.name, place.line)
            for place in traceback.extract_tb(error.__traceback__)
            if place.filename.startswith(folder)
        ]
        return ["error", type(error).__name__, re.sub("0x[0-9a-f]+", "", str(error)), places]


def describe(value: Any, module: str, depth: int = 4) -> Any:
    if type(value).__name__ == "Tensor":
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), hashlib.sha1(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(describe(part, module, depth - 1) for part in value)]
    if isinstance(value, dict):
        return {repr(key): describe(part, module, depth - 1) for key, part in value.items()}
    if inspect.isfunction(value):
        return _function(value)
    if isinstance(value, (staticmethod, classmethod)):
        return [type(value).__name__, _function(value.__func__)]
    if isinstance(value, property):
        return ["property", *(part and _function(part) for part in (value.fget, value.fset, value.fdel))]
    if isinstance(value, type):
        return _class(value, module, depth)
    if value is None or isinstance(value, (int, float, complex, str, bytes)):
        return repr(value)
    return type(value).__name__


def _class(value: type, module: str, depth: int) -> Any:
    if value.__module__ != module or depth < 1:
        return [value.__qualname__]
    left_out = ("__dict__", "__weakref__", "__module__", "__firstlineno__", "__static_attributes__", "__slotnames__")
    hidden = ("_abc", "__pydantic")  # addresses are in these
    members = {
        name: member for name, member in vars(value).items() if name not in left_out and not name.startswith(hidden)
    }
    if hasattr(value, "model_json_schema"):
        members["schema"] = value.model_json_schema()
    return [value.__qualname__, {name: describe(member, module, depth - 1) for name, member in sorted(members.items())}]


def _function(value: Any) -> Any:
    value = inspect.unwrap(value)
    code = value.__code__
    annotations = {name: getattr(of, "__name__", str(of)) for name, of in value.__annotations__.items()}
    signature = re.sub("0x[0-9a-f]+", "", str(inspect.signature(value)))
    lines = sorted({line for *_, line in code.co_lines() if line})
    return [value.__qualname__, signature, annotations, value.__doc__, code.co_firstlineno, lines]


def _run(result: Any) -> Any:
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def serve() -> None:
    """Answer each line of JSON on stdin from a fork of this process."""
    for library in sys.argv[1:]:
        importlib.import_module(library)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                print(json.dumps(_answer(**json.loads(line))), flush=True)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        print(flush=True)


def _answer(folder: str, modules: list[str], entry: str) -> Any:
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    single_threaded()
    try:
        pipe = load(entry)
    except Exception as error:
        return ["failed", f"{type(error).__name__}: {error}"]
    return ["looks", look(folder, modules, pipe)]


def single_threaded() -> None:
    """So that sums come out the same to the last bit."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


if __name__ == "__main__":
    serve()
