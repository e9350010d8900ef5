"""CodePatch: the code that is on disk, put into the running process and watched there; what was built stays.

`plan` makes it, next to the frames. `CodePatch.exchange` is what frames wait for.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType
from typing import Any

from .change import ConstantChange, ModuleChange
from .journal import Journal
from .literal import same_value
from .live import (
    forget_tracebacks,
    functions_of,
    live_class,
    mangled,
    namespace,
    other_holders,
    suspended_in,
    user_objects,
)
from .marks import Mark, Marks
from .outline import FUNCTIONS, FunctionNode, Unit, first_line
from .params_class import change_default
from .refusal import PatchBusy, PatchRefused
from .source import CodeKey, Executed, Sources

HOOK = "on_code_reload"
# They run when params are applied, which is done once more for them, and never on a frame.
_FOR_PARAMS = ("update_params", "on_update")
_COMPILER = "torch._dynamo"
_REFERENCES = 2  # of a code object: in `Executed.codes`, and the variable that it is looked at by


@dataclass(slots=True)
class Target:
    """A function that gets new code. `key`: of its code that runs, None if it is new.

    `marked` has counters; `plain` takes its place once they have moved.
    """

    module: str
    owner: tuple[str, ...]
    name: str
    key: CodeKey | None
    line: int
    plain: CodeType
    marked: CodeType
    changed: bool = True
    doc: tuple[str | None] | None = None  # the new docstring, where it differs
    functions: list[FunctionType] = field(default_factory=list)

    @property
    def path(self) -> str:
        return ".".join((*self.owner, self.name))


@dataclass(slots=True)
class ModulePatch:
    """What is done to one module whose file differs."""

    change: ModuleChange
    old: Executed
    new: Executed


class CodePatch:
    """One change of the running code.

    Attributes:
        modules: names of the modules whose files differ.
        changed: qualified names of what is new, different or removed; empty where only layout has changed.
        marks: counters that must move on frames before the change counts as proven.
        forced: some part was put in without proof.
        for_params: the params must be applied again, since changed code runs only then.
        new_defaults: param -> old and new default, of params classes.
    """

    def __init__(
        self,
        sources: Sources,
        pipeline: object,
        modules: list[ModulePatch],
        targets: list[Target],
        marks: Marks,
        aliases: list[tuple[str, str, Any]],
        *,
        forced: bool,
    ) -> None:
        self.modules = tuple(one.change.module for one in modules)
        self.changed = tuple(name for one in modules for name in one.change.names)
        self.marks: list[Mark] = marks.changes
        self.forced = forced
        self.for_params = any(one.changed and one.name in _FOR_PARAMS for one in targets)
        constants = (one for module in modules for one in module.change.constants if one.field)
        self.new_defaults = {one.name: (one.old, one.new) for one in constants}
        self._sources = sources
        self._pipeline = pipeline
        self._modules = modules
        self._targets = targets
        self._aliases = aliases
        self._journal = Journal()
        self._applied = False
        self._tried = False

    @property
    def empty(self) -> bool:
        """Whether nothing on disk differs from what runs."""
        return not self.modules

    # ---- putting it in ---------------------------------------------------------------------

    async def exchange(self, suspended: Collection[Any] = ()) -> None:
        """Put it in, all or nothing; the pipeline's own reload hook comes last.

        Args:
            suspended: coroutines that may wait inside changed code, since their next call runs the new one.

        Raises:
            PatchRefused: changed code is held by something that new code would not reach.
            PatchBusy: changed code is running; a moment later it may not be.
            Exception: raised by a new statement or the hook. Everything is as it was before.
            RuntimeError: it was put in already.
        """
        if self._applied:
            raise RuntimeError("this patch was put in already")
        self._find(suspended)
        self._applied = True
        try:
            old_state = self._put_in()
            hook = reload_hook(self._pipeline) if self._modules else None
            result = hook(old_state) if hook is not None else None
            if inspect.isawaitable(result):
                await result
        except BaseException:
            self._journal.roll_back()
            raise

    def settle(self) -> None:
        """It is proven: the code without marks takes the place of the marked one."""
        for target in self._targets:
            for function in target.functions:
                if function.__code__ is target.marked:
                    self._journal.set_function(function, "__code__", target.plain)
            target.marked = target.plain

    def undo(self) -> None:
        """Restore everything as it was before `exchange`."""
        self._journal.roll_back()

    def release(self) -> None:
        """Give up the way back, and with it every reference to code: a later patch counts them."""
        self._journal.clear()
        self._targets, self._modules, self._aliases = [], [], []

    # ---- the functions that live -----------------------------------------------------------

    def _find(self, suspended: Collection[Any]) -> None:
        if not self._tried and self._is_busy(suspended):
            forget_tracebacks()  # the exception of a frame may hold the code that raised it
        self._tried = True
        self._find_functions(suspended)

    def _is_busy(self, suspended: Collection[Any]) -> bool:
        try:
            self._find_functions(suspended)
        except PatchBusy:
            return True
        return False

    def _find_functions(self, suspended: Collection[Any]) -> None:
        running = {item.module: item for item in self._sources.modules()}
        for target in self._targets:
            if target.key is None:
                continue
            code = running[target.module].codes[target.key]
            names = namespace(target.module, target.owner) or {}
            found = functions_of(names.get(mangled(target.owner, target.name)), code)
            known = _REFERENCES + len(found) + (target.plain is code) + (target.marked is code)
            others = other_holders(code, known + suspended_in(suspended, code))
            # Only its lines have moved, and a compiler may know it by its code: another one would be compiled again.
            compiled = others and not target.changed and _COMPILER in sys.modules
            target.functions = [] if compiled else found
            if target.changed:
                self._check(target, code, found, others, running[target.module].path)

    def _check(self, target: Target, code: CodeType, found: list[FunctionType], others: int, path: str) -> None:
        if not found:
            raise PatchRefused(f"{target.path}() is not found in the running process", path, target.line)
        if others:
            raise PatchBusy(f"{target.path}() is running, or something else holds its code", path, target.line)
        shapes = [_shape(child) for child in _children(target.plain)]
        for child in _children(code):
            # References: the outer code, the list that this loop goes through, and `child`.
            if _shape(child) not in shapes and other_holders(child, 3):
                name = f"{child.co_name}() made by {target.path}()"
                raise PatchBusy(f"{name} is in use, and would stay as it was", path, target.line)

    def _put_in(self) -> dict[str, dict[str, object]]:
        new = [self._in_force(module) for module in self._modules]
        before = self._sources.exchange(new)
        self._journal.on_roll_back(lambda: (self._sources.exchange(before), None)[1])
        for target in self._targets:
            for function in target.functions:
                self._journal.set_function(function, "__code__", target.marked)
                if target.doc is not None:
                    self._journal.set_function(function, "__doc__", _as_compiled(target.doc[0]))
        old_state: dict[str, dict[str, object]] = {}
        for module in self._modules:
            self._change_names(module)
        for module in self._modules:
            self._add_names(module)
            self._redo(module, old_state)
        return old_state

    def _in_force(self, module: ModulePatch) -> Executed:
        """The new record of a module; functions that are left as they are keep their code in it."""
        codes = dict(module.new.codes)
        for target in self._targets:
            if target.module == module.change.module and target.key is not None and not target.functions:
                codes[(*target.owner, target.name), target.line] = module.old.codes[target.key]
        return replace(module.new, codes=codes)

    def _change_names(self, module: ModulePatch) -> None:
        change = module.change
        for constant in change.constants:
            of = live_class(change.module, constant.owner) if constant.owner else None
            if constant.field and of is not None and hasattr(of, "model_fields"):
                change_default(of, constant.name, constant.new, self._journal)
            elif of is not None:
                self._journal.set_member(of, mangled(constant.owner, constant.name), constant.new)
            else:
                self._set_constant(change.module, constant)
        for unit in change.removed:
            self._journal.delete_name(vars(sys.modules[change.module]), unit.name)
        for owner, text in change.docs:
            if owner:
                self._journal.set_member(class_of(change.module, owner), "__doc__", _as_compiled(text))
            else:
                self._journal.set_name(vars(sys.modules[change.module]), "__doc__", text)

    def _set_constant(self, module: str, constant: ConstantChange) -> None:
        places = [(module, constant.name), *((other, name) for other, name, one in self._aliases if one is constant)]
        for place, name in places:
            names = vars(sys.modules[place])
            if not same_value(names.get(name), constant.old):
                raise PatchRefused(f"{name} of {place} was changed while it runs")
            self._journal.set_name(names, name, constant.new)

    def _add_names(self, module: ModulePatch) -> None:
        change = module.change
        names = vars(sys.modules[change.module])
        imports_last = sorted(change.added, key=lambda unit: isinstance(unit.node, (ast.Import, ast.ImportFrom)))
        for unit in imports_last:
            self._journal.note_name(names, unit.name)
            _execute([unit.node], change.new, module.old.filename, names)
            if isinstance(unit.node, FUNCTIONS):
                self._adopt(module, unit, names[unit.name])

    def _adopt(self, module: ModulePatch, unit: Unit, function: FunctionType) -> None:
        """A new function runs the marked code."""
        for target in self._targets:
            if target.module == module.change.module and target.key is None and target.name == unit.name:
                function.__code__ = target.marked
                target.functions = [function]

    def _redo(self, module: ModulePatch, old_state: dict[str, dict[str, object]]) -> None:
        change = module.change
        for item in change.redone:
            path = ".".join((*item.owner, item.name))
            names = namespace(change.module, item.owner) or {}
            old_state.setdefault(change.module, {})[path] = names.get(mangled(item.owner, item.name))
            scope: dict[str, Any] = {}
            globals_ = vars(sys.modules[change.module])
            if not item.owner:
                self._journal.note_name(globals_, item.name)
                _execute([item.node], change.new, module.old.filename, globals_)
                continue
            _execute([item.node], change.new, module.old.filename, globals_, scope)
            self._journal.set_member(
                class_of(change.module, item.owner), mangled(item.owner, item.name), scope[item.name]
            )


def reload_hook(pipeline: object) -> Any:
    """The pipeline's own part in a reload, None if it has none."""
    for value in reversed(user_objects(pipeline)):
        hook = getattr(value, HOOK, None)
        if callable(hook):
            return hook
    return None


def key_of(owner: tuple[str, ...], node: FunctionNode) -> CodeKey:
    return (*owner, node.name), first_line(node)


def future_imports(tree: ast.Module) -> list[ast.stmt]:
    return [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]


def _execute(
    nodes: list[ast.stmt], tree: ast.Module, filename: str, names: dict[str, Any], scope: dict[str, Any] | None = None
) -> None:
    made = ast.Module([*future_imports(tree), *nodes], [])
    exec(compile(made, filename, "exec", dont_inherit=True), names, scope)


def class_of(module: str, owner: tuple[str, ...]) -> type:
    of = live_class(module, owner)
    if of is None:
        raise PatchRefused(f"class {'.'.join(owner)} is not found in the running process")
    return of


def _as_compiled(text: str | None) -> str | None:
    """The compiler removes the indentation from Python 3.13 on."""
    return inspect.cleandoc(text) if text is not None and sys.version_info >= (3, 13) else text


def _children(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _shape(code: CodeType) -> tuple[object, ...]:
    """What a code object does, apart from where its lines are."""
    constants = tuple((type(value), repr(value)) for value in code.co_consts if not isinstance(value, CodeType))
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return (names, counts, constants, code.co_code, tuple(_shape(child) for child in _children(code)))
