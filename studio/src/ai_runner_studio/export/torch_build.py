"""Which build of torch an environment has, read from its ``version.py`` without importing it."""

from __future__ import annotations

import ast
import re


def flavour_of(version: str, version_file: str) -> str:
    """``cpu``, ``cu130`` and the like.

    Args:
        version: e.g. ``2.13.0+cpu``; PyPI's own builds say no flavour there.
        version_file: text of ``torch/version.py``, empty where there is none.
    """
    local = version.partition("+")[2].split(".")[0]
    if re.fullmatch(r"cpu|cu\d{2,3}|xpu", local):
        return local
    if version.partition("+")[2].startswith("rocm"):
        return version.partition("+")[2]
    cuda = _constants(version_file).get("cuda")
    return f"cu{cuda.replace('.', '')}" if cuda else "cpu"


def _constants(text: str) -> dict[str, str]:
    """Names that a module sets to plain strings."""
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found |= {target.id: value.value for target in targets if isinstance(target, ast.Name)}
    return found


def base_version(version: str) -> str:
    """The version without its local part."""
    return version.partition("+")[0]
