"""Newcomers: definitions that are new in a module, and whether executing them late is as good as at the import."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from .literal import is_display, is_plain
from .outline import FunctionNode, Unit, outline

# Decorators that do nothing but wrap what they are given.
_DECORATORS = frozenset(
    {
        "staticmethod", "classmethod", "property", "functools.lru_cache", "functools.cache", "functools.wraps",
        "functools.cached_property", "dataclasses.dataclass", "abc.abstractmethod", "typing.override",
        "typing_extensions.override", "torch.no_grad", "torch.inference_mode", "torch.enable_grad",
    }
)  # fmt: skip
_FIELDS = frozenset({"dataclasses.field", "pydantic.Field"})
_PROPERTY_PARTS = ("setter", "getter", "deleter")


def check_new(unit: Unit, tree: ast.Module, *, in_class: bool) -> str:
    """Why this new statement cannot be executed now; empty if it can.

    Args:
        tree: its module's new text, for what names stand for.
    """
    names = origins(tree)
    match unit.node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return _check_function(unit.node, names, in_class=in_class)
        case ast.ClassDef():
            return "is in another class" if in_class else _check_class(unit.node, names)
        case ast.Import() | ast.ImportFrom():
            return "is in a class" if in_class else ""
        case ast.AnnAssign() if in_class:
            return "annotations may be looked at when a class is made"
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            return "" if is_display(value) and (not in_class or is_plain(value)) else "is no plain constant"
    return "is not of a known kind"


def is_wrapper(decorator: ast.expr, tree: ast.Module) -> bool:
    """Whether a decorator is known to do nothing but wrap, whatever the parameters of what it is given."""
    name = full_name(decorator, origins(tree))
    return name in _DECORATORS or name.rpartition(".")[2] in _PROPERTY_PARTS


def _check_function(node: FunctionNode, names: dict[str, str], *, in_class: bool) -> str:
    for decorator in node.decorator_list:
        name = full_name(decorator, names)
        if name.rpartition(".")[2] in _PROPERTY_PARTS and "." in name and in_class:
            continue
        if name not in _DECORATORS or not _has_plain_arguments(decorator):
            return f"has the decorator @{ast.unparse(decorator)}"
        if name == "abc.abstractmethod" and in_class:
            return "is abstract"
    defaults = (*node.args.defaults, *filter(None, node.args.kw_defaults))
    return "" if all(map(is_plain, defaults)) else "has a default that is no plain constant"


def _check_class(node: ast.ClassDef, names: dict[str, str]) -> str:
    for decorator in node.decorator_list:
        if full_name(decorator, names) not in _DECORATORS or not _has_plain_arguments(decorator):
            return f"has the decorator @{ast.unparse(decorator)}"
    if node.keywords:
        return "has a metaclass or class keywords"
    for unit in outline(node.body):
        reason = _check_member(unit, names)
        if reason:
            return f"its {unit.name or 'body'} {reason}"
    return ""


def _check_member(unit: Unit, names: dict[str, str]) -> str:
    match unit.node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            reason = _check_function(unit.node, names, in_class=True)
            return "" if reason == "is abstract" else reason
        case ast.ClassDef():
            return _check_class(unit.node, names)
        case ast.AnnAssign(value=None):
            return ""
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            if isinstance(value, ast.Call) and full_name(value, names) in _FIELDS:
                return ""
            return "" if is_display(value) or isinstance(value, (ast.Name, ast.Attribute)) else "is no plain constant"
    return "is more than definitions"


def full_name(node: ast.expr, names: dict[str, str]) -> str:
    """Dotted name of what a decorator or call refers to, its first part replaced by what that was imported as."""
    match node:
        case ast.Call(func):
            return full_name(func, names)
        case ast.Attribute(value, attribute):
            return f"{full_name(value, names)}.{attribute}"
        case ast.Name(name):
            return names.get(name, name)
    return "?"


def _has_plain_arguments(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return True
    given: Sequence[ast.expr] = (*node.args, *(keyword.value for keyword in node.keywords))
    return all(is_plain(value) or isinstance(value, ast.Name) for value in given)


def origins(tree: ast.Module) -> dict[str, str]:
    """Name -> dotted name of what it was imported from; a name that the module binds itself -> something unknown."""
    names: dict[str, str] = {}
    for unit in outline(tree.body):
        match unit.node:
            case ast.Import([ast.alias(name, asname)]):
                names[unit.name] = name if asname else unit.name
            case ast.ImportFrom(module, [ast.alias(name)], 0):
                names[unit.name] = f"{module}.{name}"
            case _ if unit.name:
                names[unit.name] = f"?.{unit.name}"
    return names
