"""Plan: what it takes to have the process run what is on disk. Slow, and safe on any thread: nothing is changed."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import os
import sys
from abc import ABCMeta
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import CodeType
from typing import Any

from ..report import is_user_file
from .change import ConstantChange, FunctionChange, ModuleChange, compare
from .literal import same_value
from .live import is_users_class, live_class, mangled, namespace, user_objects
from .marking import Marking
from .marks import Marks
from .names import Reader, UserCode, executed_at_import
from .outline import FunctionNode, Unit, docstring, first_line, title
from .params_class import check_default
from .patch import HOOK, CodePatch, ModulePatch, Target, class_of, future_imports, key_of, reload_hook
from .refusal import PatchRefused
from .source import Executed, Sources, codes_of

# Methods of a pipeline that never run on a frame.
_NEVER_ON_FRAMES = ("on_stop", "stop", "prepare_models", HOOK)


def plan_patch(
    sources: Sources,
    pipeline: object,
    *,
    files: Collection[str] = (),
    force: bool = False,
    trusted: Collection[str] = (),
) -> CodePatch:
    """Find out how to have the process run what is on disk now. Nothing is changed yet.

    Args:
        pipeline: the live pipeline instance; a `TransformPipeline` stands for what it was made from.
        files: the saved files; each must be a module that was imported from it.
        force: put in whatever can be, proven or not.
        trusted: functions, as ``module:Class.method``, that need no proof.

    Raises:
        SyntaxError: a changed file cannot be compiled.
        PatchRefused: the change needs a fresh process.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise PatchRefused("this Python has no global interpreter lock, so that references to code cannot be counted")
    _check_files(sources, files)
    changed = [(old, content) for old in sources.modules() if (content := _read(old)) is not None]
    if not changed:
        return CodePatch(sources, pipeline, [], [], Marks(), [], forced=False)
    return _Plan(sources, pipeline, force=force, trusted=trusted).make(changed)


class _Plan:
    """Makes the patch of one save."""

    def __init__(self, sources: Sources, pipeline: object, *, force: bool, trusted: Collection[str]) -> None:
        self._sources = sources
        self._pipeline = pipeline
        self._force = force
        self._trusted = frozenset(trusted)
        self._running = {item.module: item for item in sources.modules()}
        self._marks = Marks()
        self._trees: dict[str, ast.Module] = {}
        self._forced = False
        self._aliases: list[tuple[str, str, Any]] = []
        self._code: UserCode

    def make(self, changed: Sequence[tuple[Executed, bytes]]) -> CodePatch:
        hooked = reload_hook(self._pipeline) is not None
        codes = {}
        for old, content in changed:
            tree = self._trees[old.module] = _parse(content, old.filename)
            codes[old.module] = compile(tree, old.filename, "exec", dont_inherit=True)
        changes = [
            compare(old.module, old.path, ast.parse(old.content), self._trees[old.module], hooked=hooked)
            for old, _ in changed
        ]
        self._code = UserCode(self._running, {old.module: content for old, content in changed}, self._trees)
        modules = [
            self._module(change, old, content, codes[old.module])
            for change, (old, content) in zip(changes, changed, strict=True)
        ]
        targets = self._targets(modules)
        return CodePatch(
            self._sources, self._pipeline, modules, targets, self._marks, self._aliases, forced=self._forced
        )

    def _module(self, change: ModuleChange, old: Executed, content: bytes, code: CodeType) -> ModulePatch:
        for unit in change.added:
            self._check_added(change, unit)
        if change.docs_changed() and not self._force:
            self._code.check_unread_docs()
        for owner, _ in change.docs:
            if owner and _is_made_with_its_doc(class_of(change.module, owner)):
                raise PatchRefused(
                    f"the docstring of class {'.'.join(owner)} changed, which made use of it", change.path
                )
        codes = codes_of(code)
        moved = {key_of(one.owner, one.old): key_of(one.owner, one.new) for one in change.functions if one.old}
        ran = None if old.ran is None else frozenset(moved[key] for key in old.ran if key in moved)
        return ModulePatch(change, old, replace(old, content=content, codes=codes, ran=ran))

    # ---- which functions get marks, and where ----------------------------------------------

    def _targets(self, modules: Sequence[ModulePatch]) -> list[Target]:
        marked: dict[str, dict[int, FunctionNode]] = {}
        readers = self._readers(modules)
        targets = [target for module in modules for target in self._changed_functions(module, readers, marked)]
        changed = {module.change.module for module in modules}
        elsewhere: dict[int, Target] = {}  # one target for each function, however many constants it reads
        for reader in readers:
            if reader.module not in changed:
                elsewhere[id(reader.node)] = self._reader(reader, marked)
        targets.extend(elsewhere.values())
        for module, nodes in marked.items():
            codes = codes_of(_compile_marked(self._trees[module], nodes, self._running[module].filename))
            for target in targets:
                code = codes.get(((*target.owner, target.name), target.line))
                if target.module == module and code is not None:
                    target.marked = self._marks.put_into(code)
        return targets

    def _changed_functions(
        self, module: ModulePatch, readers: Sequence[Reader], marked: dict[str, dict[int, FunctionNode]]
    ) -> Iterable[Target]:
        for change in module.change.functions:
            mine = [one for one in readers if one.module == module.change.module and one.node is change.new]
            key = key_of(change.owner, change.old) if change.old is not None else None
            plain = module.new.codes.get(key_of(change.owner, change.new))
            if plain is None:
                raise PatchRefused(f"{change.path}() cannot be told apart", module.change.path, change.new.lineno)
            changed = change.changed or bool(mine)
            target = Target(
                module.change.module, change.owner, change.new.name, key, first_line(change.new), plain, plain, changed
            )
            target.doc = _new_doc(change)
            if change.changed and key is not None:
                _check_fits(target, module.old.codes.get(key), module.change.path)
            if changed and self._needs_proof(target, module.old):
                node = change.new
                if change.changed:
                    node = Marking(self._marks, target.path, module.change.path, node).function(change.old, change.new)
                for reader in mine:
                    node = Marking(self._marks, target.path, module.change.path, node).reads(node, reader.is_read)
                marked.setdefault(target.module, {})[id(change.new)] = node
            yield target

    def _reader(self, reader: Reader, marked: dict[str, dict[int, FunctionNode]]) -> Target:
        """A function of an unchanged module that reads a changed constant."""
        item = self._running[reader.module]
        key = key_of(reader.owner, reader.node)
        plain = item.codes.get(key)
        if plain is None:
            raise PatchRefused(f"{reader.node.name}() is not found in the running process", item.path, key[1])
        target = Target(reader.module, reader.owner, reader.node.name, key, key[1], plain, plain)
        if self._needs_proof(target, item):
            nodes = marked.setdefault(reader.module, {})
            node = nodes.get(id(reader.node), reader.node)
            nodes[id(reader.node)] = Marking(self._marks, target.path, item.path, node).reads(node, reader.is_read)
        return target

    def _needs_proof(self, target: Target, item: Executed) -> bool:
        """Whether it must be seen to run on frames. Raises PatchRefused if that would prove nothing."""
        if target.key is not None and self._ran_at_load(target, item):
            if not self._overruled(target):
                reason = f"{target.path}() ran while the pipeline was loaded; its result may be kept"
                raise PatchRefused(reason, item.path, target.line)
            return False
        if target.name in _NEVER_ON_FRAMES and self._is_pipelines(target):
            return False
        return not self._overruled(target)

    def _is_pipelines(self, target: Target) -> bool:
        """Whether it is a method of the pipeline itself."""
        of = live_class(target.module, target.owner) if target.owner else None
        return of is not None and any(isinstance(value, of) for value in user_objects(self._pipeline))

    def _ran_at_load(self, target: Target, item: Executed) -> bool:
        if item.ran is not None:
            return target.key in item.ran
        if not self._sources.traced:
            return True
        # Imported later: what its statements name may have been called.
        named = {part.id for part in executed_at_import(self._code.tree(target.module)) if isinstance(part, ast.Name)}
        return target.name in named or (target.owner[:1] or ("",))[0] in named

    def _overruled(self, target: Target) -> bool:
        overruled = self._force or f"{target.module}:{target.path}" in self._trusted
        self._forced = self._forced or overruled
        return overruled

    # ---- constants and new names -----------------------------------------------------------

    def _readers(self, modules: Sequence[ModulePatch]) -> list[Reader]:
        found: list[Reader] = []
        for module in modules:
            for constant in module.change.constants:
                found.extend(self._readers_of(module.change, constant))
        return found

    def _readers_of(self, change: ModuleChange, constant: ConstantChange) -> list[Reader]:
        of = live_class(change.module, constant.owner) if constant.owner else None
        if constant.field and of is not None and hasattr(of, "model_fields"):
            check_default(of, constant, self._code, change.path)
            return []
        if constant.owner:
            _check_class_constant(of, constant, change.path)
        aliases = [] if constant.owner else self._code.aliases(change.module, constant.name)
        self._aliases += [(module, name, constant) for module, name in aliases]
        if self._force:
            self._forced = True
            return []
        self._code.check_no_computed_names(constant.path)
        readers = self._code.readers(change.module, aliases, constant.name)
        if not readers:
            reason = f"{constant.path} changed, and no function reads it"
            raise PatchRefused(reason, change.path, constant.node.lineno)
        return readers

    def _check_added(self, change: ModuleChange, unit: Unit) -> None:
        line = unit.node.lineno
        names = namespace(change.module, ()) or {}
        if unit.name in names or unit.name in vars(builtins):
            raise PatchRefused(f"{unit.name} is new in {change.module}, and exists already", change.path, line)
        if isinstance(unit.node, (ast.Import, ast.ImportFrom)):
            self._check_import(change, unit)
        if not self._force:
            self._code.check_no_computed_names(unit.name)
            if not isinstance(unit.node, (ast.Import, ast.ImportFrom)):
                self._code.check_new_name(change.module, unit.name, line)

    def _check_import(self, change: ModuleChange, unit: Unit) -> None:
        """An import may run late if it loads nothing, and would have loaded nothing in the order of the text."""
        node = unit.node
        if isinstance(node, ast.ImportFrom):
            module = self._code.imported_module(change.module, node)
        else:
            assert isinstance(node, ast.Import)
            module = node.names[0].name
        reason = f"'{title(node)}' is new in {change.module}, and loads {module}"
        if module.partition(".")[0] in sys.stdlib_module_names:
            importlib.import_module(module)
        elif module not in sys.modules:
            raise PatchRefused(reason, change.path, node.lineno)
        elif module in self._running:
            order = self._sources.order
            mine = self._running[change.module]
            if order.index(module) > order.index(change.module) or module in mine.importing:
                raise PatchRefused(f"{reason}, in another order", change.path, node.lineno)
        elif not isinstance(node, ast.ImportFrom) and is_user_file(getattr(sys.modules[module], "__file__", "") or ""):
            raise PatchRefused(reason, change.path, node.lineno)


def _check_files(sources: Sources, files: Collection[str]) -> None:
    for module, path in sources.changed_others():
        raise PatchRefused(f"module {module} changed, and does not run from its source", path)
    modules = sources.modules()
    for file in files:
        path = os.path.abspath(file)
        count = sum(item.path == path for item in modules)
        if count != 1 and file.endswith(".py"):
            name = os.path.basename(file)
            reason = f"{name} was imported {count} times" if count else f"{name} was not imported by its name"
            raise PatchRefused(reason, file)


def _read(old: Executed) -> bytes | None:
    """The content on disk now; None if that is what runs."""
    name = os.path.basename(old.path)
    try:
        with open(old.path, "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        raise PatchRefused(f"{name} was removed", old.path) from error
    except OSError as error:
        raise PatchRefused(f"{name} cannot be read: {error.strerror}", old.path) from error
    if content == old.content:
        return None
    if old.place and os.path.realpath(old.path) != old.place:
        # Relative paths and data next to it are still those of the old place.
        raise PatchRefused(f"{name} is another file now: a link on its path has changed", old.path)
    if old.loader:
        raise PatchRefused(f"{name} was loaded by {old.loader}, so that other code of it may run", old.path)
    return content


def _parse(content: bytes, filename: str) -> ast.Module:
    try:
        return ast.parse(content, filename)
    except ValueError as error:  # a null byte, before Python 3.12
        raise SyntaxError(str(error), (filename, 1, None, None)) from error


def _compile_marked(tree: ast.Module, nodes: Mapping[int, FunctionNode], filename: str) -> CodeType:
    """Compile the functions in `nodes` (by id of the node that each replaces) in their classes, and nothing else."""
    made = ast.Module([*future_imports(tree), *_only(tree.body, nodes)], [])
    return compile(ast.fix_missing_locations(made), filename, "exec", dont_inherit=True)


def _only(body: Sequence[ast.stmt], nodes: Mapping[int, FunctionNode]) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for node in body:
        if id(node) in nodes:
            found.append(nodes[id(node)])
        elif isinstance(node, ast.ClassDef):
            inside = _only(node.body, nodes)
            if inside:
                found.append(ast.copy_location(ast.ClassDef(node.name, [], [], inside, []), node))
    return found


def _check_fits(target: Target, old: CodeType | None, path: str) -> None:
    """Raises PatchRefused if a function object cannot take the new code."""
    if old is None:
        raise PatchRefused(f"{target.path}() is not found in the running process", path, target.line)
    kinds = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
    if old.co_flags & kinds != target.plain.co_flags & kinds:
        raise PatchRefused(f"{target.path}() is another kind of function now", path, target.line)
    if old.co_freevars != target.plain.co_freevars:
        raise PatchRefused(f"{target.path}() uses other variables of what is around it", path, target.line)


def _check_class_constant(of: type | None, constant: ConstantChange, path: str) -> None:
    """Raises PatchRefused if something may have looked at it when the class was made."""
    line = constant.node.lineno
    if of is None:
        raise PatchRefused(f"the class of {constant.path} is not found in the running process", path, line)
    if type(of) not in (type, ABCMeta):
        raise PatchRefused(f"{constant.path} changed, and its class has a metaclass", path, line)
    if not same_value(vars(of).get(mangled(constant.owner, constant.name)), constant.old):
        raise PatchRefused(f"{constant.path} was changed while it runs", path, line)
    if constant.field or hasattr(of, "__dataclass_fields__"):
        raise PatchRefused(f"{constant.path} is an annotated field, which its class may have read", path, line)
    for base in of.__mro__:
        if "__init_subclass__" in vars(base) and base is not object:
            raise PatchRefused(
                f"{constant.path} changed, and {base.__name__}.__init_subclass__() may read it", path, line
            )
        if base is not object and not is_users_class(base) and constant.name in vars(base):
            raise PatchRefused(f"{constant.path} is read by {base.__name__}", path, line)


def _is_made_with_its_doc(of: type) -> bool:
    """Whether making the class may have used its docstring, or written one where there is none."""
    return type(of) not in (type, ABCMeta) or hasattr(of, "__dataclass_fields__")


def _new_doc(change: FunctionChange) -> tuple[str | None] | None:
    if change.old is None or docstring(change.old.body) == docstring(change.new.body):
        return None
    return (docstring(change.new.body),)
