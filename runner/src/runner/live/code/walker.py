"""Walker: looks through code that is executed, and tells `Reach` what it calls and uses."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from .outline import FUNCTIONS
from .program import Class, Function, Meaning, Outside, UserModule

if TYPE_CHECKING:
    from .reach import Chain, Reach

How = Literal["called", "given", "value"]  # "given": an argument of code that may call it

# These keep a function that they are given, and do not call it at once.
_KEEPERS = frozenset(
    {
        "partial", "partialmethod", "compile", "wraps", "update_wrapper", "append", "add", "insert", "extend", "put",
        "setdefault", "setattr", "register_forward_hook", "register_forward_pre_hook", "register_buffer",
        "register_module", "register_parameter", "add_module", "add_done_callback", "isinstance", "issubclass",
        "callable", "hasattr", "id", "repr", "ModuleList", "ModuleDict", "Sequential", "signal", "no_grad",
        "inference_mode", "staticmethod", "classmethod", "property", "lru_cache", "cache",
    }
)  # fmt: skip
# These run code of objects that they are given, or keep a translation of it.
_TRACERS = frozenset(
    {"script", "trace", "trace_module", "symbolic_trace", "export", "make_graphed_callables", "optimize_for_inference"}
)
_STARTERS = frozenset({"create_task", "ensure_future", "Thread"})
_BY_NAME = frozenset({"getattr", "attrgetter", "methodcaller", "hasattr", "setattr", "delattr"})
_ANYTHING = frozenset({"eval", "exec", "globals", "vars", "locals", "__import__"})


class Walker(ast.NodeVisitor):
    """Looks through one function, or through statements that are executed at an import.

    Attributes:
        skip_loops: leave out endless loops of code that is started beside.
    """

    def __init__(self, reach: Reach, module: str, function: Function | None, owner: Class | None, chain: Chain) -> None:
        self.skip_loops = False
        self._reach = reach
        self._program = reach.program
        self._module = module
        self._function = function
        self._owner = owner
        self._chain = chain

    def _meaning(self, node: ast.expr) -> Meaning:
        return self._program.expression(self._module, self._function, node)

    # ---- definitions -----------------------------------------------------------------------

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._define(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._define(node)

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        function = self._program.by_node[id(node)]
        assert isinstance(function, Function)
        for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(default)
        for decorator in node.decorator_list:
            self._reach.take(function, self._chain)
            self._decorate(decorator)

    def _decorate(self, node: ast.expr) -> None:
        if not isinstance(node, ast.Call):
            self._use(node, "called")
            return
        self.visit(node)
        maker = self._meaning(node.func)
        if isinstance(maker, Function):  # a decorator that it returns is called
            for inner in maker.inner.values():
                self._reach.use_meaning(inner, "called", self._chain)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        found = self._program.by_node[id(node)]
        assert isinstance(found, Class)
        for base in node.bases:
            self._mention(base)
        for one in self._program.ancestors(found)[1:]:
            self._run_methods(one, ("__init_subclass__", "__class_getitem__"))
        for keyword in node.keywords:
            meaning = self._meaning(keyword.value)
            if isinstance(meaning, Class):
                self._run_methods(meaning, meaning.methods)
            self.visit(keyword.value)
        for decorator in node.decorator_list:
            self._decorate(decorator)
        inside = Walker(self._reach, self._module, self._function, found, self._chain)
        for statement in node.body:
            inside.visit(statement)

    def _run_methods(self, of: Class, names: Iterable[str]) -> None:
        for name in names:
            for method in of.methods.get(name, ()):
                self._reach.execute(method, self._chain)

    def _mention(self, node: ast.expr) -> None:
        """Names are used, and nothing is called."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and not self._program.is_local(self._function, part.id):
                self._reach.mention(self._module, part.id, self._chain)
            elif isinstance(part, ast.Attribute):
                self._reach.attributes.setdefault(part.attr, self._chain)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    # ---- loops of code that runs on by itself ----------------------------------------------

    def visit_While(self, node: ast.While) -> None:
        if not self.skip_loops:
            self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        if not self.skip_loops:
            self.generic_visit(node)

    # ---- uses ------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use(node, "value")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._use(node, "value")

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._use(node, "value")

    def _use(self, node: ast.expr, how: How) -> None:
        match node:
            case ast.Name(name):
                self._use_name(name, how)
            case ast.Attribute():
                self._use_attribute(node, how)
            case ast.Lambda():
                function = self._program.by_node[id(node)]
                for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                    self.visit(default)
                self._reach.use_meaning(function, how, self._chain)
            case ast.Starred(value):
                self._use(value, how)
            case _:
                self.visit(node)

    def _use_name(self, name: str, how: How) -> None:
        if self._owner is not None:  # in the body of a class its own names come first
            self._reach.mention(self._module, f"{self._owner.name}.{name}", self._chain)
            for method in self._owner.methods.get(name, ()):  # the function itself, also of a property
                self._reach.use_meaning(method, how, self._chain)
        meaning = self._program.name_in(self._module, self._function, name)
        local = self._program.is_local(self._function, name)
        if not local or meaning is not None:
            self._reach.mention(self._module, name, self._chain)
        if local and how == "called" and self._function is not None:
            of = self._function.method_of
            if of is not None and name == self._function.first_parameter:  # cls()
                self._reach.construct(of, self._chain)
            elif meaning is None or name in self._function.looped:
                self._reach.call_unknown(self._chain)
        self._reach.use_meaning(meaning, how, self._chain)

    def _use_attribute(self, node: ast.Attribute, how: How) -> None:
        base = self._meaning(node.value)
        if isinstance(base, UserModule):
            self._reach.mention(base.name, node.attr, self._chain)
            self._reach.use_meaning(self._program.imported(base.name, node.attr), how, self._chain)
        elif not isinstance(base, Outside):
            self._reach.use_attribute(node.attr, how, self._chain, self._classes_of(node.value, base))
            if isinstance(base, Class):
                self._reach.use_meaning(self._program.classes_in(base).get(node.attr), how, self._chain)
        if isinstance(base, Class):
            self._mention(node.value)
        else:
            self.visit(node.value)

    def _classes_of(self, node: ast.expr, base: Meaning) -> Sequence[Class] | None:
        """The classes that a value may be an instance of (or be itself), where the text tells."""
        if isinstance(base, Class):
            return self._program.family(base)
        of = self._function.method_of if self._function is not None else None
        match node:
            case ast.Name(name) if of is not None and self._function is not None:
                return self._program.family(of) if name == self._function.first_parameter else None
            case ast.Call(ast.Name("super")) if of is not None:
                return self._program.family(of)
        return None

    # ---- calls -----------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        name = _last_name(node.func)
        self._check_dynamic(node, name)
        if name in _TRACERS:
            self._reach.call_unknown(self._chain)
        if name == "super":
            return
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if isinstance(node.func, (ast.Name, ast.Attribute)):
            self._use(node.func, "called")
        else:
            self.visit(node.func)
            made_outside = isinstance(node.func, ast.Call) and isinstance(self._meaning(node.func.func), Outside)
            if not made_outside:
                self._reach.call_unknown(self._chain)
        how: How = "value" if name in _KEEPERS or self._is_users(node.func, name) else "given"
        for argument in arguments:
            if name not in _STARTERS or not self._start(argument):
                self._use(argument, how)

    def _is_users(self, node: ast.expr, name: str) -> bool:
        """Whether the user's own code is called: what that does with its arguments is seen there."""
        meaning = self._meaning(node)
        if meaning is not None:
            return isinstance(meaning, (Function, Class))
        return isinstance(node, ast.Attribute) and any(name in one.methods for one in self._program.classes)

    def _start(self, node: ast.expr) -> bool:
        """A function with an endless loop that is started beside: its loop runs later, like frames do."""
        target = node.func if isinstance(node, ast.Call) else node
        found: list[Function] = []
        meaning = self._meaning(target)
        if isinstance(meaning, Function):
            found = [meaning]
        elif isinstance(target, ast.Attribute):
            classes = self._classes_of(target.value, None) or ()
            found = [method for one in classes for method in one.methods.get(target.attr, ())]
        if not found or not all(map(_has_loop, found)):
            return False
        for function in found:
            self._reach.execute(function, self._chain, background=True)
        for argument in node.args if isinstance(node, ast.Call) else ():
            self._use(argument, "value")
        return True

    def _check_dynamic(self, node: ast.Call, name: str) -> None:
        if not isinstance(node.func, ast.Name) and name not in ("attrgetter", "methodcaller"):
            return
        if name in _ANYTHING:
            self._reach.call_dynamic(self._chain)
            for meaning in self._program.modules[self._module].names.values():
                self._reach.use_meaning(meaning, "called", self._chain)
        if name not in _BY_NAME:
            return
        key = node.args[:1] if name in ("attrgetter", "methodcaller") else node.args[1:2]
        if key and isinstance(self._meaning(node.args[0]), Outside):
            return
        match key:
            case [ast.Constant(str(attribute))]:
                self._reach.use_attribute(attribute, "value", self._chain, None)
            case [_] if name in ("getattr", "attrgetter", "methodcaller"):
                self._reach.call_dynamic(self._chain)


def _last_name(node: ast.expr) -> str:
    match node:
        case ast.Attribute(attr=name) | ast.Name(name):
            return name
    return ""


def _has_loop(function: Function) -> bool:
    body = function.node.body
    return any(
        isinstance(part, (ast.While, ast.AsyncFor))
        for statement in (body if isinstance(body, list) else [])
        for part in ast.walk(statement)
        if not isinstance(statement, FUNCTIONS)
    )
