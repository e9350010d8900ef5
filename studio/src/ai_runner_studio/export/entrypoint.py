"""Entrypoint: the console script that serves the pipeline; the project's own one, or one that is made for it."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .inventory import Inventory
from .wheel import WheelFile, files_of, write_wheel

_SOURCE = '''"""``{script}``: serves `{pipeline}`. Made by ``ai-runner-studio export-image``."""

from __future__ import annotations

import json

from runner.app import start_app
from runner.live.pipelines import PipelineSpec

PIPELINE = PipelineSpec(
    name={name!r},
    pipeline_cls={pipeline!r},
    params_cls={params!r},
    initial_params=json.loads({initial!r}),
)


def main() -> None:
    """Serve until SIGTERM; with ``--prepare-models``, only fetch what the pipeline needs."""
    start_app(PIPELINE)
'''


@dataclass(frozen=True, slots=True)
class Entrypoint:
    """A console script that serves the pipeline.

    Attributes:
        script: its name. distribution: canonical name of what installs it.
        model_id, params_import: as its spec says; empty and None where it does not say so in plain words.
    """

    script: str
    distribution: str
    model_id: str = ""
    params_import: str | None = None


def find_entrypoint(pipeline: str, own: WheelFile | None, inventory: Inventory, named: str = "") -> Entrypoint | None:
    """The script that serves the pipeline: the pipeline's own package's, else another installed package's.

    Args:
        own: the wheel of the pipeline's package. named: the only script that counts, where the project names one.

    Raises:
        ExportError: several do, or not the one that was named.
    """
    found = list(_in_wheel(pipeline, own)) if own else []
    found = found or list(_installed(pipeline, inventory))
    if named:
        found = [one for one in found if one.script == named]
        if not found:
            raise ExportError(
                f"no console script '{named}' mentions {pipeline}",
                "name one that makes a PipelineSpec of it, or none: then one is made",
            )
    if len(found) > 1:
        names = ", ".join(sorted(one.script for one in found))
        raise ExportError(
            f"several console scripts serve {pipeline}: {names}",
            'say which in [tool.ai-runner-studio.image] of pyproject.toml: entrypoint = "..."',
        )
    return found[0] if found else None


def _in_wheel(pipeline: str, wheel: WheelFile) -> list[Entrypoint]:
    files = files_of(wheel.path)
    found = []
    for script, target in wheel.scripts.items():
        module = target.partition(":")[0].strip().replace(".", "/")
        text = files.get(f"{module}.py", files.get(f"{module}/__init__.py", b""))
        found += _serving(text, pipeline, script, wheel.name)
    return found


def _installed(pipeline: str, inventory: Inventory) -> list[Entrypoint]:
    found = []
    for one in inventory.distributions.values():
        for script, file in one.script_files.items():
            found += _serving(Path(file).read_bytes(), pipeline, script, one.name)
    return found


def _serving(text: bytes, pipeline: str, script: str, distribution: str) -> list[Entrypoint]:
    """The entrypoint that a module is, in a list; none where it does not mention the pipeline."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []  # somebody's script, which may be none of ours
    if not any(isinstance(node, ast.Constant) and node.value == pipeline for node in ast.walk(tree)):
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    said = next((words for words in map(_plain_words, calls) if words.get("pipeline_cls") == pipeline), {})
    return [Entrypoint(script, distribution, said.get("name", ""), said.get("params_cls"))]


def _plain_words(call: ast.Call) -> dict[str, str]:
    """Keyword arguments of a call that are plain strings."""
    return {
        word.arg: word.value.value
        for word in call.keywords
        if word.arg and isinstance(word.value, ast.Constant) and isinstance(word.value.value, str)
    }


def make_entrypoint(
    folder: Path,
    *,
    name: str,
    model_id: str,
    version: str,
    pipeline: str,
    params: str | None,
    initial: dict[str, Any],
    package: str,
) -> tuple[WheelFile, Entrypoint]:
    """A wheel with a console script ``<name>-runner``.

    Args:
        name: of the image. package: distribution that the pipeline is in. initial: params that it starts with.
    """
    script, plain = f"{name}-runner", f"{name.replace('-', '_').replace('.', '_')}_entrypoint"
    source = _SOURCE.format(
        script=script,
        name=model_id,
        pipeline=pipeline,
        params=params,
        initial=json.dumps(initial, sort_keys=True),
    )
    wheel = write_wheel(
        folder,
        f"{name}-entrypoint",
        version,
        {f"{plain}/__init__.py": source.encode()},
        requires=tuple(dict.fromkeys(["ai-runner-base", package])),
        scripts={script: f"{plain}:main"},
    )
    return wheel, Entrypoint(script, wheel.name, model_id, params)
