"""A change of params that a stream can be tried with: ``python -m runner.testing.params_change module:Class``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..live.pipelines import BaseParams, PipelineSpec
from ..live.pipelines.loader import load_params_class, load_pipeline_class
from ..module_command import put_current_folder_first

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def params_change(params_class: type[BaseParams], params: dict[str, Any]) -> dict[str, Any] | None:
    """`params` with one field of the pipeline's own at another value that its class takes; None if there is none.

    Fields that every pipeline has are left alone: a change of the size is refused while a stream runs. Numbers,
    switches and choices come first, since texts may mean anything.
    """
    own = [name for name in params_class.model_fields if name not in BaseParams.model_fields]
    before = params_class(**params).model_dump()
    for name in own:
        for value in _others(params_class.model_fields[name], before[name]):
            try:
                params_class(**{**params, name: value})
            except (ValidationError, ValueError):
                continue
            return {**params, name: value}
    return None


def _others(field: FieldInfo, value: Any) -> Iterator[Any]:
    """Values that may be allowed instead of this one."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        bounds = [getattr(rule, name, None) for rule in field.metadata for name in ("ge", "gt", "le", "lt")]
        numbers = [each for bound in bounds if bound is not None for each in ((value + bound) / 2, bound)]
        numbers += [value + 1, value * 0.5, value - 1, 0]
        yield from (type(value)(each) for each in numbers if math.isfinite(each) and type(value)(each) != value)
    elif choices := getattr(field.annotation, "__args__", None):
        yield from (choice for choice in choices if isinstance(choice, (str, int)) and choice != value)


def main(arguments: list[str] | None = None) -> int:
    """Print a change as JSON, ``null`` for none."""
    parser = argparse.ArgumentParser(prog="python -m runner.testing.params_change", description=__doc__)
    parser.add_argument("pipeline_cls", metavar="MODULE:CLASS")
    parser.add_argument("--params-cls", metavar="MODULE:CLASS")
    parser.add_argument("--params", type=json.loads, default={}, metavar="JSON")
    options = parser.parse_args(arguments)
    put_current_folder_first()
    spec = PipelineSpec(pipeline_cls=options.pipeline_cls, params_cls=options.params_cls)
    if spec.params_cls:
        params_class = load_params_class(spec)
    else:
        params_class = getattr(load_pipeline_class(spec.pipeline_cls), "params_class", None) or BaseParams
    json.dump(params_change(params_class, options.params), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
