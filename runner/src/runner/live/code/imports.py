"""Imports between modules: who has a name from where, in which order, and what an import would load."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Collection, Iterator
from importlib.machinery import ModuleSpec

from ..report import is_user_file
from .program import Program


def importers(program: Program, module: str, name: str) -> Iterator[tuple[str, str]]:
    """Module and name wherever a name of a module was imported by value, also by way of others."""
    waiting = [(module, name)]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        for other in program.modules.values():
            for alias, origin in other.imports.items():
                if origin == source and (other.name, alias) not in seen:
                    seen.add((other.name, alias))
                    waiting.append((other.name, alias))
                    yield other.name, alias


def star_importer(program: Program, module: str) -> str:
    """A module that imports everything from this one; empty if there is none."""
    return next((other.name for other in program.modules.values() if module in other.stars), "")


def in_import_order(program: Program, names: Collection[str]) -> list[str]:
    """Modules before those that import them."""
    found: list[str] = []
    visited: set[str] = set()

    def visit(name: str) -> None:
        if name in visited or name not in program.modules:
            return
        visited.add(name)
        module = program.modules[name]
        for target, attribute in module.imports.values():
            visit(target)
            visit(f"{target}.{attribute}")
        for star in module.stars:
            visit(star)
        if name in names:
            found.append(name)

    for name in sorted(names):
        visit(name)
    return found


def loads_anew(node: ast.Import | ast.ImportFrom, package: str) -> str:
    """The library that an import would load into the process; empty if it is there, or is the user's own code.

    Loading one takes long, while no frame is served, and cannot be undone.

    Args:
        package: what a relative import is relative to.
    """
    return next(_loading(node, package, set()), "")


def _loading(node: ast.AST, package: str, seen: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield from _loading_module(alias.name, seen)
    elif isinstance(node, ast.ImportFrom):
        module = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else ""
        module = module or node.module or ""
        yield from _loading_module(module, seen)
        for alias in node.names:
            if module in sys.modules and not hasattr(sys.modules[module], alias.name):
                yield from _loading_module(f"{module}.{alias.name}", seen)


def _loading_module(name: str, seen: set[str]) -> Iterator[str]:
    root = name.partition(".")[0]
    if name in sys.modules or name in seen or root in sys.stdlib_module_names:
        return
    seen.add(name)
    spec = _spec(name) or _spec(root)
    if spec is None:  # there is none: executing the import says so
        return
    if spec.origin is None or not is_user_file(spec.origin):
        is_namespace = spec.origin is None and spec.submodule_search_locations is not None
        if root not in sys.modules and not is_namespace:
            yield root
        return
    try:
        with open(spec.origin, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):  # importing it says so
        return
    package = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    for node in tree.body:
        yield from _loading(node, package, seen)


def _spec(name: str) -> ModuleSpec | None:
    """How it would be loaded, found without importing anything that is not there yet."""
    parent = name.rpartition(".")[0]
    if parent and parent not in sys.modules:
        return None
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
