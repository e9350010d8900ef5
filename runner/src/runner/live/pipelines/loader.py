"""Import path -> class. Every way of failing has its own error; a broken import inside the user's
module is passed through untouched, so that its own traceback is what the user sees."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import reprlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError

from ...errors import (
    ClassNotFound,
    HeavyParamsError,
    ModuleNotFound,
    NotAPipelineError,
    ParamsError,
)
from ...import_path import split_import_path as split_import_path
from ...param_text import param_value
from ..plain_json import bounded_text
from ..report import shadowing_file
from .interface import BaseParams, Pipeline
from .spec import PipelineSpec

# What a params module must not load. The first three are the network's own rule (contract 7.1).
HEAVY_MODULES = ("torch", "streamdiffusion", "comfystream", "diffusers", "transformers", "tensorflow", "jax")

_REASON_LIMIT = 2000  # characters of a validator's message
_shown = reprlib.Repr()  # a value may be a whole document
_shown.maxstring = _shown.maxother = 200


def import_object(path: str) -> Any:
    """The object that an import path names.

    Raises:
        ImportPathError, ModuleNotFound, ClassNotFound: see `runner.errors`.
        Exception: whatever the module's own code raises while it is imported.
    """
    module_name, attribute = split_import_path(path)
    try:
        target: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only the named module (or a package above it) missing is about the path. An import
        # that fails inside the module is the module's own affair.
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ModuleNotFound(_module_not_found(module_name, error.name)) from error
        raise
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise ClassNotFound(_class_not_found(module_name, attribute, target, part))
        target = getattr(target, part)
    return target


def _module_not_found(module_name: str, missing: str) -> str:
    folders = [place or os.getcwd() for place in sys.path if not place.endswith(".zip")]
    places = list(dict.fromkeys(folders))[:2]
    folder = os.path.join(os.getcwd(), *missing.split(".")[:-1])
    names = []
    if shadowing := shadowing_file(missing):
        return _shadowed(shadowing, missing)
    if os.path.isdir(folder):
        names = [entry.removesuffix(".py") for entry in os.listdir(folder)]
    near = difflib.get_close_matches(missing.rsplit(".", 1)[-1], names, n=1)
    guess = f" Did you mean '{near[0]}'?" if near else ""
    what = f"no module '{missing}'" + (f" (needed for '{module_name}')" if missing != module_name else "")
    return f"{what} in {' or '.join(places)}, nor among the installed packages of {sys.executable}.{guess}"


def _shadowed(file: str, module_name: str) -> str:
    return f"{file} has the name of a module of Python's standard library, which '{module_name}' names; rename the file"


def _class_not_found(module_name: str, attribute: str, target: Any, part: str) -> str:
    shadowing = shadowing_file(module_name)
    if shadowing and not _is_file_of(target, shadowing):
        return _shadowed(shadowing, module_name)
    names = [name for name, value in vars(target).items() if not name.startswith("_") and callable(value)]
    own = [name for name in names if getattr(getattr(target, name), "__module__", "") == module_name]
    near = difflib.get_close_matches(part, names, n=1)
    listed = f" It defines: {', '.join(own)}." if own else ""
    guess = f" Did you mean '{near[0]}'?" if near else listed
    where = f" ({target.__file__})" if getattr(target, "__file__", None) else ""
    own_place = os.path.join(os.getcwd(), "runner.py")
    if module_name == "runner" and os.path.isfile(own_place):
        guess = f" {own_place} has the name of the runtime's package: rename it."
    return f"module '{module_name}' has no '{attribute}'{where}.{guess}"


def _is_file_of(module: Any, file: str) -> bool:
    return os.path.realpath(getattr(module, "__file__", None) or "") == os.path.realpath(file)


def load_pipeline_class(path: str) -> type[Pipeline]:
    """The `Pipeline` class at an import path; a transform function or class is wrapped into one.

    Raises:
        PipelineLoadError: one of its children says what is wrong with the path or the object.
        Exception: whatever the module's own code raises while it is imported.
    """
    target = import_object(path)
    if inspect.isclass(target) and issubclass(target, Pipeline):
        missing = sorted(getattr(target, "__abstractmethods__", ()))
        if missing:
            raise NotAPipelineError(f"{path} is a Pipeline, but does not define {', '.join(missing)}")
        return target
    from .transform import is_transform, pipeline_from_transform

    if is_transform(target):
        return pipeline_from_transform(target)
    kind = "a class of another kind" if inspect.isclass(target) else f"of type {type(target).__name__}"
    raise NotAPipelineError(
        f"{path} is {kind}: expected a subclass of runner.live.pipelines.Pipeline, a class with a "
        "method transform(frame, params), or a function (frame, params)"
    )


def load_pipeline(spec: PipelineSpec) -> Pipeline:
    """A new instance of the spec's pipeline. Raises as `load_pipeline_class` does."""
    return load_pipeline_class(spec.pipeline_cls)()


def load_params_class(spec: PipelineSpec) -> type[BaseParams]:
    """The spec's params class, imported without torch and without the pipeline's own module.

    Raises:
        HeavyParamsError: the params module imports what the host must not load; names the import.
        PipelineLoadError: as `import_object`, or it is no `BaseParams` class.
        Exception: whatever the module's own code raises while it is imported.
    """
    if spec.params_cls is None:
        return BaseParams
    pipeline_module, _ = split_import_path(spec.pipeline_cls)
    params_module, _ = split_import_path(spec.params_cls)
    if params_module == pipeline_module:
        raise HeavyParamsError(
            f"params class {spec.params_cls} lives in the pipeline's own module '{pipeline_module}', which the host "
            "must not import: move it to a module of its own, e.g. "
            f"{pipeline_module.rpartition('.')[0] or pipeline_module}.params"
        )
    with _light_import(spec.params_cls, (*HEAVY_MODULES, pipeline_module)):
        target = import_object(spec.params_cls)
    if not (inspect.isclass(target) and issubclass(target, BaseParams)):
        raise NotAPipelineError(f"{spec.params_cls} is not a subclass of runner.live.pipelines.BaseParams")
    return target


class _ImportGuard:
    """A meta path finder that refuses heavy modules, and so knows who asked for them."""

    def __init__(self, path: str, heavy: tuple[str, ...]) -> None:
        self._path = path
        self._heavy = heavy

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name not in self._heavy:
            return
        importer = _importing_line()
        raise HeavyParamsError(
            f"params class {self._path} imports '{name}'{importer}. The host loads params classes too, and must "
            "stay light: import it inside the functions that need it, or only `if TYPE_CHECKING`"
        )


def _importing_line() -> str:
    """The line of code whose import is being resolved: the nearest frame outside the import machinery."""
    frame = inspect.currentframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if "importlib" not in file and file != __file__ and not file.startswith("<"):
            return f" ({file}, line {frame.f_lineno})"
        frame = frame.f_back
    return ""


@contextmanager
def _light_import(path: str, heavy: tuple[str, ...]) -> Iterator[None]:
    """Refuse heavy imports for as long as it is open; modules loaded before are not looked at."""
    guard = _ImportGuard(path, heavy)
    # What is loaded already never reaches a finder: hide it, so that the rule holds in every process.
    hidden = {name: sys.modules.pop(name) for name in heavy if name in sys.modules}
    sys.meta_path.insert(0, guard)
    try:
        yield
    finally:
        sys.meta_path.remove(guard)
        sys.modules.update(hidden)


def parse_params(params_class: type[BaseParams], params: dict[str, Any]) -> BaseParams:
    """Params checked by their class.

    Raises:
        ParamsError: with the reason for each refused field.
    """
    try:
        return params_class(**params)
    except ValidationError as error:
        refused = {
            ".".join(str(part) for part in item["loc"]) or "params": (
                f"{bounded_text(item['msg'], _REASON_LIMIT)} (got {_shown.repr(item['input'])})"
            )
            for item in error.errors()
        }
        text = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise ParamsError(f"{params_class.__name__} refuses {text}", refused) from error


def parse_pipeline_params(spec: PipelineSpec, params: dict[str, Any]) -> BaseParams:
    """Params checked by the spec's params class. Raises as `load_params_class` and `parse_params`."""
    return parse_params(load_params_class(spec), params)


def as_typed(params_class: type[BaseParams], params: dict[str, Any], typed: dict[str, str]) -> dict[str, Any]:
    """`params` with the text that was typed, where its JSON value is refused and the text is not: ``-p text=12``."""
    params = dict(params)
    for name in _refused(params_class, params) & typed.keys():
        as_text = {**params, name: typed[name]}
        if params.get(name) == param_value(typed[name]) and name not in _refused(params_class, as_text):
            params = as_text
    return params


def check_typed(params_class: type[BaseParams], pipeline_class: type[Pipeline], typed: dict[str, str]) -> None:
    """Refuse names that a person has typed and nothing will look at.

    A pipeline that names no params class may read any name itself; so may a class that allows extra ones.

    Raises:
        ParamsError: with the nearest names.
    """
    reads_itself = params_class is BaseParams and not hasattr(pipeline_class, "params_class")
    if reads_itself or params_class.model_config.get("extra") == "allow":
        return
    known = {*params_class.model_fields, *params_class.model_json_schema().get("properties", {})}
    for name in typed:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            way_out = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(sorted(known))}"
            raise ParamsError(f"the pipeline has no param '{name}'; {way_out}", {name: "unknown param"})


def _refused(params_class: type[BaseParams], params: dict[str, Any]) -> set[str]:
    try:
        parse_params(params_class, params)
    except ParamsError as error:
        return {name.split(".")[0] for name in error.refused}
    return set()


def accepted_params(params_class: type[BaseParams], params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Those of `params` that the class takes, and field -> reason for those it does not.

    After a reload the class may be another one than that which took them.
    """
    accepted, refused = dict(params), {}
    for _ in range(len(params) + 1):
        try:
            parse_params(params_class, accepted)
        except ParamsError as error:
            fields = {name.split(".")[0]: reason for name, reason in error.refused.items()}
            dropped = [name for name in fields if name in accepted]
            if not dropped:
                break  # a required field is missing: nothing left to drop
            for name in dropped:
                del accepted[name]
                refused[name] = fields[name]
        else:
            break
    return accepted, refused
