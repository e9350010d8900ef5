"""Names: which of the user's code reads a name, as far as the text shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import resolve_name

from .change import walk_functions
from .outline import FUNCTIONS, FunctionNode
from .refusal import PatchRefused
from .source import Executed

_COMPUTED_NAMES = frozenset({"globals", "vars", "locals", "dir", "eval", "exec", "__import__"})
_COMPUTED_ATTRIBUTES = frozenset(
    {"__dict__", "__subclasses__", "getmembers", "import_module", "attrgetter", "modules", "reload", "getattr_static"}
)
_BY_NAME = frozenset({"getattr", "setattr", "hasattr", "delattr"})
_COMPUTED_WORDS = re.compile(
    rb"\b(" + "|".join((*_COMPUTED_NAMES, *_COMPUTED_ATTRIBUTES, *_BY_NAME)).encode() + rb"|import\s+\*)"
)
_DOC_WORDS = re.compile(rb"\b(__doc__|getdoc|inspect|docstring|help)\b")


@dataclass(frozen=True, slots=True)
class Reader:
    """A function that reads a constant by one of these names."""

    module: str
    owner: tuple[str, ...]
    node: FunctionNode
    names: frozenset[str]
    attribute: str

    def is_read(self, node: ast.AST) -> bool:
        return _is_read(node, self.names, self.attribute)


class UserCode:
    """All of the user's modules, with the changed ones in their new text. Trees are made where they are needed.

    Args:
        running: the modules as they run.
        changed: module -> its new content.
        trees: module -> the tree of its new content.
    """

    def __init__(
        self, running: Mapping[str, Executed], changed: Mapping[str, bytes], trees: dict[str, ast.Module]
    ) -> None:
        self._running = running
        self._contents = {name: changed.get(name, item.content) for name, item in running.items()}
        self._trees = trees

    def tree(self, module: str) -> ast.Module:
        if module not in self._trees:
            self._trees[module] = ast.parse(self._contents[module])
        return self._trees[module]

    def check_no_computed_names(self, what: str) -> None:
        """Raises PatchRefused if any module reads or lists names by computation: who reads `what` is unknown then."""
        for module, content in self._contents.items():
            if _COMPUTED_WORDS.search(content) is None:
                continue
            node = next((part for part in ast.walk(self.tree(module)) if _is_computed(part)), None)
            if node is not None:
                reason = f"{what} may be read by '{ast.unparse(node)[:40]}', which computes a name"
                raise PatchRefused(reason, self._running[module].path, getattr(node, "lineno", 0))

    def check_not_made(self, name: str, field: str, what: str) -> None:
        """Raises PatchRefused if the user's code makes instances with the default, or looks at the fields."""
        for module, content in self._contents.items():
            if name.encode() not in content:
                continue
            for node in ast.walk(self.tree(module)):
                match node:
                    case ast.Call(ast.Name(found) | ast.Attribute(attr=found), keywords=keywords) if found == name:
                        if not any(keyword.arg in (None, field) for keyword in keywords):
                            break
                    case ast.Attribute(attr="model_fields" | "model_construct" | "model_json_schema"):
                        break
            else:
                continue
            reason = f"the default of {what} may be kept by '{ast.unparse(node)[:40]}'"
            raise PatchRefused(reason, self._running[module].path, getattr(node, "lineno", 0))

    def check_unread_docs(self) -> None:
        """Raises PatchRefused if docstrings may be used at run time."""
        for item, content in zip(self._running.values(), self._contents.values(), strict=True):
            found = _DOC_WORDS.search(content)
            if found is not None:
                raise PatchRefused(f"a docstring changed, and '{found[0].decode()}' may read it", item.path)

    def check_new_name(self, module: str, name: str, line: int) -> None:
        """Raises PatchRefused if code that runs mentions a name that is new."""
        word = re.compile(rb"\b" + re.escape(name.encode()) + rb"\b")
        for item in self._running.values():
            if word.search(item.content):
                where = f"{item.module} already mentions"
                raise PatchRefused(
                    f"{name} is new in {module}, and {where} that name", self._running[module].path, line
                )

    def readers(self, module: str, aliases: Sequence[tuple[str, str]], name: str) -> list[Reader]:
        """The functions that read a constant of a module or class. `aliases`: see there; none for that of a class.

        Raises:
            PatchRefused: something else than a function reads it, or something sets it.
        """
        found: list[Reader] = []
        for other, content in self._contents.items():
            names = frozenset(alias for place, alias in aliases if place == other)
            names |= {name} if other == module else set()
            if names or name.encode() in content:
                found.extend(self._readers_in(other, names, name))
        return found

    def _readers_in(self, module: str, names: frozenset[str], attribute: str) -> Iterator[Reader]:
        tree = self.tree(module)
        path = self._running[module].path
        for node in ast.walk(tree):
            if _is_set(node, names, attribute):
                raise PatchRefused(f"{attribute} is also set by other code", path, getattr(node, "lineno", 0))
            if isinstance(node, ast.Constant) and node.value == attribute and not _is_exported(tree, node):
                raise PatchRefused(f"{attribute} may be read by its name in '{module}'", path, node.lineno)
        for node in executed_at_import(tree):
            if _is_read(node, names, attribute) and not isinstance(node, ast.ImportFrom):
                raise PatchRefused(f"{attribute} is read while {module} is imported", path, getattr(node, "lineno", 0))
        for owner, function in walk_functions(tree.body):
            if any(_is_read(node, names, attribute) for part in function.body for node in ast.walk(part)):
                yield Reader(module, owner, function, names, attribute)

    def aliases(self, module: str, name: str) -> list[tuple[str, str]]:
        """Module and name wherever a module-level name was imported by value, also through other modules."""
        found: list[tuple[str, str]] = []
        waiting = [(module, name)]
        while waiting:
            source = waiting.pop()
            for other, content in self._contents.items():
                if source[1].encode() not in content:
                    continue
                for alias in self._imports(other, *source):
                    if (other, alias) not in found:
                        found.append((other, alias))
                        waiting.append((other, alias))
        return found

    def _imports(self, other: str, module: str, name: str) -> Iterator[str]:
        for node in self.tree(other).body:
            if isinstance(node, ast.ImportFrom) and self.imported_module(other, node) == module:
                yield from (alias.asname or alias.name for alias in node.names if alias.name == name)

    def imported_module(self, module: str, node: ast.ImportFrom) -> str:
        """The absolute name of the module that a module-level ``from`` import names."""
        if not node.level:
            return node.module or ""
        package = module if self._running[module].path.endswith("__init__.py") else module.rpartition(".")[0]
        try:
            return resolve_name("." * node.level + (node.module or ""), package)
        except ImportError:
            return ""


def executed_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything that runs when a module is imported: all of it but the bodies of functions and lambdas."""
    for name, value in ast.iter_fields(tree):
        if name == "body" and isinstance(tree, (*FUNCTIONS, ast.Lambda)):
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield item
                yield from executed_at_import(item)


def _is_computed(node: ast.AST) -> bool:
    match node:
        case ast.Call(ast.Name(name), [_, argument, *_]) if name in _BY_NAME:
            return not isinstance(argument, ast.Constant)
        case ast.Name(name):
            return name in _COMPUTED_NAMES
        case ast.Attribute(attr=name):
            return name in _COMPUTED_ATTRIBUTES
        case ast.alias(name):
            return name == "*" or name in _COMPUTED_ATTRIBUTES
    return False


def _is_read(node: ast.AST, names: frozenset[str], attribute: str) -> bool:
    match node:
        case ast.Name(name, ast.Load()):
            return name in names
        case ast.Attribute(attr=name, ctx=ast.Load()):
            return name == attribute
        case ast.ImportFrom(names=aliases):
            return any(alias.name == attribute for alias in aliases)
    return False


def _is_set(node: ast.AST, names: frozenset[str], attribute: str) -> bool:
    match node:
        case ast.Global(found):
            return not names.isdisjoint(found)
        case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
            return name == attribute
    return False


def _is_exported(tree: ast.Module, constant: ast.Constant) -> bool:
    """Whether it is an entry of ``__all__``."""
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name("__all__")], value):
                if any(part is constant for part in ast.walk(value)):
                    return True
    return False
