"""CodePatch: the code that is on disk, put into the running process; what was built stays."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any

from ..report import is_user_file
from .change import ModuleChange, Place, compare
from .fitting import Fit, Refit, fit_functions
from .imports import importers, in_import_order
from .journal import Journal
from .live import live_class, mangled, user_objects
from .members import Members
from .outline import first_line, has_future_annotations
from .program import Program
from .refusal import PatchBusy as PatchBusy
from .refusal import PatchRefused as PatchRefused
from .scratch import execute_in_class, execute_in_module
from .soundness import Soundness
from .source import Executed, Sources

HOOK = "on_code_reload"


def plan_patch(sources: Sources, pipeline: object, own_tasks: Collection[asyncio.Task[Any]] | None = None) -> CodePatch:
    """What it takes to have the process run what is on disk now. Nothing is changed yet.

    Args:
        pipeline: the live pipeline instance; a `TransformPipeline` stands for what it was made from.
        own_tasks: tasks that may be inside of changed code, since whoever asks knows that it goes on
            as it was until it returns. Default: the current task.

    Raises:
        SyntaxError: a changed file cannot be compiled.
        PatchRefused: the change cannot be taken over soundly.
        PatchBusy: a kind of it: changed code is running, trying again may help.
    """
    _check_others(sources)
    replaced = [(old, _read(old)) for old in sources.modules()]
    changed = [(old, new) for old, new in replaced if new is not None]
    if not changed:
        return CodePatch(sources, pipeline, [], None)
    hook = _hook(pipeline)
    changes = [
        (compare(old.module, old.path, _parse(old), _parse(new), hooked=hook is not None), old, new)
        for old, new in changed
    ]
    program, after = _programs(sources, {new.module: new for _, new in changed})
    soundness = Soundness(program, after, pipeline, hooked=hook is not None)
    for change, _, _ in changes:
        soundness.check(change)
        Members(change, after, pipeline).check()
    if own_tasks is None:
        own_tasks = _current_tasks()
    return CodePatch(sources, pipeline, fit_functions(changes, own_tasks), after)


class CodePatch:
    """One change of the running code.

    Attributes:
        modules: names of the modules whose files differ.
        changed: qualified names of what is new, different or gone, for the screen; empty where only
            comments and layout have changed.
    """

    def __init__(self, sources: Sources, pipeline: object, fits: list[Fit], program: Program | None) -> None:
        self.modules = tuple(fit.executed.module for fit in fits)
        self.changed = tuple(name for fit in fits for name in fit.change.names)
        self._sources = sources
        self._pipeline = pipeline
        self._fits = fits
        self._program = program
        self._journal = Journal()
        self._applied = False

    @property
    def empty(self) -> bool:
        """Whether nothing on disk differs from what runs."""
        return not self._fits

    async def apply(self) -> None:
        """Put it in, all or nothing; the pipeline's own reload hook comes last.

        Without an asynchronous hook there is no moment at which anything else runs on the loop.

        Raises:
            Exception: what a new statement or the hook raises. Everything is as it was before.
            RuntimeError: it has been applied already.
        """
        if self._applied:
            raise RuntimeError("this patch has been applied")
        self._applied = True
        try:
            old_state = self._put_in()
            hook = _hook(self._pipeline) if self._fits else None
            result = hook(old_state) if hook is not None else None
            if inspect.isawaitable(result):
                await result
        except BaseException:
            self._journal.roll_back()
            raise

    def undo(self) -> None:
        """Everything is as it was before `apply`; what new statements imported from libraries stays imported."""
        self._journal.roll_back()

    def _put_in(self) -> dict[str, dict[str, object]]:
        before = self._sources.exchange(fit.executed for fit in self._fits)
        self._journal.on_roll_back(lambda: (self._sources.exchange(before), None)[1])
        for fit in self._fits:
            for refit in fit.refits:
                self._refit(refit)
            for replacement in fit.replacements:
                self._refit(replacement.refit)
                self._journal.set_member(replacement.of, replacement.name, replacement.raw)
            for constant in fit.change.constants:
                self._set(constant.place, constant.new)
        old_state: dict[str, dict[str, object]] = {}
        by_module = {fit.executed.module: fit for fit in self._fits}
        modules = set(sys.modules)
        self._journal.on_roll_back(lambda: _forget(set(sys.modules) - modules))
        for module in in_import_order(self._program, by_module) if self._program is not None else ():
            self._execute(by_module[module], old_state)
        for fit in self._fits:
            self._finish(fit)
        return old_state

    # ---- functions -------------------------------------------------------------------------

    def _refit(self, refit: Refit) -> None:
        function = refit.function
        self._journal.set_function(function, "__code__", refit.code)
        if refit.values is not None:
            self._journal.set_function(function, "__defaults__", refit.values[0])
            self._journal.set_function(function, "__kwdefaults__", refit.values[1])

    def _finish(self, fit: Fit) -> None:
        """What may refer to names that are new: annotations; and docstrings."""
        names = vars(sys.modules[fit.executed.module])
        for refit in (*fit.refits, *(replacement.refit for replacement in fit.replacements)):
            if refit.annotations is not None:
                values = {name: _annotation(node, fit.change, names) for name, node in refit.annotations.items()}
                self._journal.set_function(refit.function, "__annotations__", values)
        for item in fit.change.functions:
            if ast.get_docstring(item.old, clean=False) != ast.get_docstring(item.new, clean=False):
                text = _as_compiled(ast.get_docstring(item.new, clean=False))
                for refit in fit.refits:
                    code = refit.code
                    if (code.co_name, code.co_firstlineno) == (item.new.name, first_line(item.new)):
                        self._journal.set_function(refit.function, "__doc__", text)
        for owner, doc in fit.change.docs:
            self._set(Place(fit.executed.module, owner, "__doc__"), _as_compiled(doc))

    # ---- names -----------------------------------------------------------------------------

    def _execute(self, fit: Fit, old_state: dict[str, dict[str, object]]) -> None:
        change, executed = fit.change, fit.executed
        names = vars(sys.modules[change.module])
        added = {item.place for item in change.added}
        for item in change.removed:
            if item.place not in added:
                self._delete(item.place)
        for item in change.redone:
            old_state.setdefault(change.module, {})[item.place.path] = self._value(item.place)
        for item in sorted((*change.added, *change.redone), key=lambda item: item.unit.first_line):
            place = item.place
            if place.owner:
                arguments = (change.module, place.owner, [item.unit], names, change.new, executed.code)
                for name, value in execute_in_class(*arguments).items():
                    self._journal.set_member(self._class(place), name, value)
                continue
            self._journal.note_name(names, place.name)
            execute_in_module(names, item.unit, change.new, executed.code)
            self._rebind(place, names[place.name])

    def _rebind(self, place: Place, value: object) -> None:
        """Names that were imported from elsewhere by value follow."""
        assert self._program is not None
        for module, alias in importers(self._program, place.module, place.name):
            names = getattr(sys.modules.get(module), "__dict__", {})
            if alias in names:
                self._journal.set_name(names, alias, value)

    def _set(self, place: Place, value: Any) -> None:
        if place.owner:
            self._journal.set_member(self._class(place), mangled(place.owner, place.name), value)
            return
        self._journal.set_name(vars(sys.modules[place.module]), place.name, value)
        if place.name != "__doc__":
            self._rebind(place, value)

    def _delete(self, place: Place) -> None:
        if place.owner:
            self._journal.delete_member(self._class(place), mangled(place.owner, place.name))
        else:
            self._journal.delete_name(vars(sys.modules[place.module]), place.name)

    def _value(self, place: Place) -> object:
        names: Mapping[str, Any] = vars(self._class(place) if place.owner else sys.modules[place.module])
        return names.get(mangled(place.owner, place.name))

    def _class(self, place: Place) -> type:
        of = live_class(place.module, place.owner)
        assert of is not None
        return of


def _check_others(sources: Sources) -> None:
    for module, path in sources.changed_others():
        raise PatchRefused(f"module {module} has changed, and does not run from its source", path)


def _read(old: Executed) -> Executed | None:
    """What is on disk now, compiled; None if that is what runs."""
    name = os.path.basename(old.path)
    try:
        with open(old.path, "rb") as file:
            content = file.read()
    except FileNotFoundError as error:
        raise PatchRefused(f"{name} is gone", old.path) from error
    except OSError as error:
        raise PatchRefused(f"{name} cannot be read: {error.strerror}", old.path) from error
    if content == old.content:
        return None
    if old.loader:
        raise PatchRefused(f"{name} is loaded by {old.loader}, which may change its code", old.path)
    return Executed(old.module, old.path, old.filename, content, _compile(content, old.filename))


def _compile(content: bytes, filename: str) -> CodeType:
    try:
        return compile(content, filename, "exec", dont_inherit=True)
    except ValueError as error:  # a null byte, before Python 3.12
        raise SyntaxError(str(error), (filename, 1, None, None)) from error


def _parse(executed: Executed) -> ast.Module:
    return _tree(executed.content, executed.filename)


@lru_cache(maxsize=256)
def _tree(content: bytes, filename: str) -> ast.Module:
    return ast.parse(content, filename)


def _programs(sources: Sources, changed: Mapping[str, Executed]) -> tuple[Program, Program]:
    """All of the user's modules as they run, and as they would."""
    running = sources.modules()
    packages = [item.module for item in running if hasattr(sys.modules[item.module], "__path__")]
    before = {item.module: _parse(item) for item in running}
    after = {item.module: _parse(changed.get(item.module, item)) for item in running}
    return Program(before, packages), Program(after, packages)


def _hook(pipeline: object) -> Any:
    for value in reversed(user_objects(pipeline)):
        hook = getattr(value, HOOK, None)
        if callable(hook):
            return hook
    return None


def _current_tasks() -> tuple[asyncio.Task[Any], ...]:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return ()
    return () if task is None else (task,)


def _annotation(node: ast.expr, change: ModuleChange, names: dict[str, Any]) -> Any:
    if has_future_annotations(change.new):
        return ast.unparse(node)
    return eval(compile(ast.Expression(node), change.path, "eval", dont_inherit=True), names)


def _as_compiled(text: str | None) -> str | None:
    """The compiler takes the indentation away from Python 3.13 on."""
    return inspect.cleandoc(text) if text is not None and sys.version_info >= (3, 13) else text


def _forget(names: Collection[str]) -> None:
    """The user's modules that only a patch has imported; libraries cannot be loaded twice, and stay."""
    for name in names:
        module = sys.modules.get(name)
        if isinstance(module, ModuleType) and is_user_file(getattr(module, "__file__", None) or ""):
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if vars(sys.modules.get(parent, ModuleType(""))).get(child) is module:
                delattr(sys.modules[parent], child)
