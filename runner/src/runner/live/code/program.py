"""Program: what the user's modules define, and what the names in them stand for."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .outline import FUNCTIONS, FunctionNode, bound_names

_CACHING = frozenset({"lru_cache", "cache", "cached_property"})
_NO_PROPERTIES = frozenset({"staticmethod", "classmethod", "abstractmethod", "override", "no_grad", "inference_mode"})


@dataclass(eq=False, slots=True)
class Function:
    """A function, method or lambda of the user's.

    Attributes:
        name: qualified within its module, as ``__qualname__`` is.
        owner: the class in whose body it stands; `outer`: the function in whose body it stands.
        inner: functions and classes defined in it, by name.
        local: every name that is bound in it; `looped`: those that only comprehensions in it bind.
        imports: what it imports itself: name -> (module, attribute or None).
    """

    module: str
    name: str
    node: FunctionNode | ast.Lambda
    owner: Class | None
    outer: Function | None
    inner: dict[str, Function | Class] = field(default_factory=dict)
    local: frozenset[str] = frozenset()
    looped: frozenset[str] = frozenset()
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    @property
    def decorators(self) -> list[ast.expr]:
        return [] if isinstance(self.node, ast.Lambda) else self.node.decorator_list

    @property
    def is_property(self) -> bool:
        """Whether an attribute access may execute it: it has a decorator that is not known to do nothing then."""
        return any(_last_name(decorator) not in _NO_PROPERTIES for decorator in self.decorators)

    @property
    def keeps_results(self) -> bool:
        return any(_last_name(decorator) in _CACHING for decorator in self.decorators)

    @property
    def first_parameter(self) -> str:
        """``self``, whatever it is called; empty for what is no method."""
        if self.owner is None:
            return self.outer.first_parameter if self.outer is not None else ""
        names = [*self.node.args.posonlyargs, *self.node.args.args]
        static = any(_last_name(decorator) == "staticmethod" for decorator in self.decorators)
        return names[0].arg if names and not static else ""

    @property
    def method_of(self) -> Class | None:
        """The class that it is a method of, or a function within a method of."""
        if self.owner is None and self.outer is not None:
            return self.outer.method_of
        return self.owner


@dataclass(eq=False, slots=True)
class Class:
    module: str
    name: str
    node: ast.ClassDef
    outer: Function | None
    methods: dict[str, list[Function]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserModule:
    name: str


@dataclass(frozen=True, slots=True)
class Variable:
    """A name that a module assigns to."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Outside:
    """Something that is not the user's, as far as can be told: imported from elsewhere."""


Meaning = Function | Class | UserModule | Variable | Outside | None


@dataclass(slots=True)
class Module:
    name: str
    tree: ast.Module
    is_package: bool
    names: dict[str, Function | Class] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    variables: set[str] = field(default_factory=set)


class Program:
    """All modules of the user's that run in this process.

    Attributes:
        stored_attributes: every attribute name that some statement stores to or deletes.
        global_names: every name that some function declares ``global``.
    """

    def __init__(self, trees: Mapping[str, ast.Module], packages: Iterable[str] = ()) -> None:
        self.modules: dict[str, Module] = {}
        self.functions: list[Function] = []
        self.classes: list[Class] = []
        self.by_node: dict[int, Function | Class] = {}
        self.stored_attributes: set[str] = set()
        self.global_names: set[str] = set()
        known = frozenset(packages)
        for name, tree in trees.items():
            module = Module(name, tree, name in known)
            self.modules[name] = module
            _Collector(self, module).visit(tree)

    def find(self, module: str, path: str) -> list[Function]:
        """The functions of a qualified name: several for the parts of a property."""
        return [function for function in self.functions if function.module == module and function.name == path]

    def meaning(self, module: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> Meaning:
        """What a name at module level stands for; None for a builtin or what cannot be told."""
        found = self.modules.get(module)
        if found is None or (module, name) in seen:
            return Outside() if found is None else None
        seen |= {(module, name)}
        if name in found.names:
            return found.names[name]
        if name in found.imports:
            return self.imported(*found.imports[name], seen=seen)
        if name in found.variables:
            return Variable(module, name)
        for star in found.stars:
            meaning = self.meaning(star, name, seen) if star in self.modules else None
            if meaning is not None:
                return meaning
        return None

    def imported(self, module: str, attribute: str | None, seen: frozenset[tuple[str, str]] = frozenset()) -> Meaning:
        """What an import binds."""
        if attribute is None:
            return UserModule(module) if self._is_users(module) else Outside()
        if self._is_users(f"{module}.{attribute}"):
            return UserModule(f"{module}.{attribute}")
        return self.meaning(module, attribute, seen) if module in self.modules else Outside()

    def _is_users(self, module: str) -> bool:
        """Whether it is a module of the user's, or a namespace package around one."""
        return module in self.modules or any(name.startswith(f"{module}.") for name in self.modules)

    def bases(self, of: Class) -> Iterator[Class]:
        """The user's classes that a class inherits from directly."""
        for base in of.node.bases:
            meaning = self.expression(of.module, of.outer, base)
            if isinstance(meaning, Class):
                yield meaning

    def ancestors(self, of: Class) -> list[Class]:
        """The class itself and all its bases that are the user's."""
        found = [of]
        for one in found:
            found.extend(base for base in self.bases(one) if base not in found)
        return found

    def family(self, of: Class) -> list[Class]:
        """Ancestors, the class itself, and what inherits from it."""
        heirs = [one for one in self.classes if of in self.ancestors(one)]
        return list(dict.fromkeys([*self.ancestors(of), *heirs]))

    def expression(self, module: str, function: Function | None, node: ast.expr) -> Meaning:
        """What a name or a dotted name stands for."""
        match node:
            case ast.Name(name):
                return self.name_in(module, function, name)
            case ast.Attribute(value, attribute):
                base = self.expression(module, function, value)
                if isinstance(base, UserModule):
                    return self.imported(base.name, attribute)
                if isinstance(base, Class):
                    return self.classes_in(base).get(attribute)
                return Outside() if isinstance(base, Outside) else None
            case ast.Subscript(value):  # Generic[T]
                return self.expression(module, function, value)
        return None

    def name_in(self, module: str, function: Function | None, name: str) -> Meaning:
        """What a name stands for in a function; a local variable's value cannot be told."""
        while function is not None:
            if name in function.inner:
                return function.inner[name]
            if name in function.imports:
                return self.imported(*function.imports[name])
            if name in function.local:
                return None
            function = function.outer
        return self.meaning(module, name)

    def is_local(self, function: Function | None, name: str) -> bool:
        while function is not None:
            if name in function.local or name in function.looped:
                return True
            function = function.outer
        return False

    def classes_in(self, of: Class) -> dict[str, Class]:
        return {
            one.name.rpartition(".")[2]: one
            for one in self.classes
            if one.module == of.module and one.name.rpartition(".")[0] == of.name
        }


class _Collector(ast.NodeVisitor):
    """Enters what one module defines into the program."""

    def __init__(self, program: Program, module: Module) -> None:
        self._program = program
        self._module = module
        self._function: Function | None = None
        self._class: Class | None = None
        self._prefix = ""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._def(node, node.name)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._def(node, node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._def(node, "<lambda>")

    def _def(self, node: FunctionNode | ast.Lambda, name: str) -> None:
        function = Function(self._module.name, self._prefix + name, node, self._class, self._function)
        function.local = _local_names(node)
        function.looped = _comprehension_names(node) - function.local
        if isinstance(node, FUNCTIONS):
            self._bind(name, function)
            for decorator in node.decorator_list:
                self.visit(decorator)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        self._program.functions.append(function)
        self._program.by_node[id(node)] = function
        before = self._function, self._class, self._prefix
        self._function, self._class, self._prefix = function, None, f"{function.name}.<locals>."
        for part in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(part)
        self._function, self._class, self._prefix = before

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        found = Class(self._module.name, self._prefix + node.name, node, self._function)
        self._bind(node.name, found)
        self._program.classes.append(found)
        self._program.by_node[id(node)] = found
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        before = self._class, self._prefix
        self._class, self._prefix = found, f"{found.name}."
        for statement in node.body:
            self.visit(statement)
        self._class, self._prefix = before

    def _bind(self, name: str, what: Function | Class) -> None:
        if self._class is not None:
            if isinstance(what, Function):
                self._class.methods.setdefault(name, []).append(what)
        elif self._function is not None:
            self._function.inner[name] = what
        else:
            self._module.names[name] = what

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.asname or alias.name.partition(".")[0], alias.name if alias.asname else "", None, alias)

    def _import(self, name: str, module: str, attribute: str | None, alias: ast.alias) -> None:
        imports = self._function.imports if self._function is not None else self._module.imports
        imports[name] = (module or alias.name.partition(".")[0], attribute)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._absolute(node)
        for alias in node.names:
            if alias.name == "*":
                self._module.stars.append(module)
            else:
                self._import(alias.asname or alias.name, module, alias.name, alias)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self._module.name.split(".")
        parts = parts[: len(parts) - node.level + self._module.is_package]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, (ast.Store, ast.Del)) and self._function is None and self._class is None:
            self._module.variables.add(node.id)

    def visit_Global(self, node: ast.Global) -> None:
        self._program.global_names.update(node.names)
        self._module.variables.update(node.names)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, (ast.Store, ast.Del)):
            self._program.stored_attributes.add(node.attr)
        self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(ast.Name("setattr" | "delattr"), [_, ast.Constant(str(name)), *_]):
                self._program.stored_attributes.add(name)
        self.generic_visit(node)


def _local_names(node: FunctionNode | ast.Lambda) -> frozenset[str]:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    names = {argument.arg for argument in every if argument is not None}
    outside: set[str] = set()
    for statement in node.body if isinstance(node.body, list) else [node.body]:
        names |= bound_names(statement)
        for part in ast.walk(statement):
            if isinstance(part, (ast.Global, ast.Nonlocal)):
                outside.update(part.names)
    return frozenset(names - outside)


def _comprehension_names(node: ast.AST) -> frozenset[str]:
    targets = (part.target for part in ast.walk(node) if isinstance(part, ast.comprehension))
    return frozenset(name for target in targets for name in bound_names(target))


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Call(func):
            return _last_name(func)
        case ast.Attribute(attr=name) | ast.Name(name):
            return name
    return ""
