"""Soundness: whether what was built before a change is what the changed code would have built."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Sequence

from .change import FunctionChange, ModuleChange, Place, UnitChange, behaviour
from .imports import importers, star_importer
from .live import LiveGraph, live_class, user_objects
from .once import Region, regions
from .outline import FUNCTIONS, FunctionNode, effective, typing_names
from .program import Class, Function, Program
from .reach import Chain, Reach, label
from .refusal import PatchRefused

# What the runner calls before the first frame, or when params have changed: it builds what frames then use.
_BUILDERS = ("__init__", "__new__", "__post_init__", "initialize", "update_params", "on_ready", "on_update")
_LOOKED_UP = (*_BUILDERS, "batch_size", "params_class", "target")
_PARAMS_METHODS = ("get_output_resolution", "model_post_init")
_PLAIN_DECORATORS = frozenset({"property", "staticmethod", "classmethod"})
_IMPORT = "the import of "


class Soundness:
    """Knows what the imports and the pipeline's own methods have used up to now.

    Args:
        program: as it runs; `new`: as it would be.
        hooked: the pipeline takes care of changed assignments itself.
    """

    def __init__(self, program: Program, new: Program, pipeline: object, *, hooked: bool) -> None:
        self._program = program
        self._new = new
        self._hooked = hooked
        self._graph = LiveGraph(program, pipeline)
        self._new_graph = LiveGraph(new, pipeline)
        self._reach = Reach(program, self._graph)
        self._home: list[Class] = []
        self._follow_imports()
        self._follow_params_classes()
        self._follow_pipeline(pipeline)
        self._follow_regions()

    # ---- what has run ----------------------------------------------------------------------

    def _follow_imports(self) -> None:
        for module in self._program.modules.values():
            body = effective(module.tree.body, typing_names(module.tree))
            self._reach.follow_code(body, module.name, None, None, (f"{_IMPORT}{module.name}",))

    def _follow_params_classes(self) -> None:
        """Params are made before the pipeline is: whatever pydantic calls then has run."""
        for one in self._program.classes:
            live = live_class(one.module, tuple(one.name.split(".")))
            if live is None or not hasattr(live, "__pydantic_core_schema__"):
                continue
            for name, methods in one.methods.items():
                for method in methods:
                    plain = all(ast.unparse(part) in _PLAIN_DECORATORS for part in method.decorators)
                    if not plain or name in _PARAMS_METHODS or name.startswith("__"):
                        self._reach.follow_function(method, ("the params",))

    def _follow_pipeline(self, pipeline: object) -> None:
        for value in user_objects(pipeline):
            of = self._graph.class_of(value)
            if of is None:
                continue
            self._home.extend(self._program.ancestors(of))
            for one in self._program.ancestors(of):
                for name in _BUILDERS:
                    for method in one.methods.get(name, ()):
                        self._reach.follow_function(method, ())
            self._reach.follow_construction(of, ())
        for name in _LOOKED_UP:
            self._reach.attributes.setdefault(name, ("the runner",))

    def _follow_regions(self) -> None:
        for function in self._program.functions:
            if function in self._reach.executed:
                continue
            for region in regions(self._program, function, self._graph):
                if region.kept or self._holds_results(function):
                    self._reach.follow_code(region.nodes, function.module, function, None, (region.title,))
                    if not region.kept:
                        self._reach.executed.setdefault(function, (region.title,))

    def _holds_results(self, function: Function) -> bool:
        *owner, name = function.name.split(".")
        return self._graph.holds_results(function.module, tuple(owner), name)

    # ---- whether a change touches it -------------------------------------------------------

    def check(self, change: ModuleChange) -> None:
        """Raises `PatchRefused` if what runs was built with something that has changed."""
        for function in change.functions:
            if function.changed:
                self._check_function(change, function)
        for constant in change.constants:
            self._check_constant(change, constant.place, constant.unit.node.lineno)
        for redone in change.redone:
            self._check_constant(change, redone.place, redone.unit.node.lineno)
        for item in (*change.added, *change.removed):
            self._check_use(change, item.place, item.unit.node.lineno)
            self._check_importers(change, item)
        for owner, _ in change.docs:
            live = live_class(change.module, owner) if owner else None
            if live is not None and hasattr(live, "__pydantic_core_schema__"):
                raise PatchRefused(f"the description of params class {'.'.join(owner)} has changed", change.path)

    def _check_function(self, change: ModuleChange, item: FunctionChange) -> None:
        for node in changed_functions(item.old, item.new):
            function = self._program.by_node[id(node)]
            assert isinstance(function, Function)
            chain = self._reach.executed.get(function)
            if chain is not None:
                raise PatchRefused(self._called(function, chain), change.path, item.new.lineno)
        old, new = self._program.by_node[id(item.old)], self._new.by_node[id(item.new)]
        assert isinstance(old, Function)
        assert isinstance(new, Function)
        before = _texts(regions(self._program, old, self._graph))
        after = _texts(regions(self._new, new, self._new_graph))
        for kept, text in before.items():
            if after.get(kept) != text:
                reason = f"{self._short(label(old))} builds {kept} once, and that has changed"
                raise PatchRefused(reason, change.path, item.new.lineno)

    def _check_constant(self, change: ModuleChange, place: Place, line: int) -> None:
        self._check_use(change, place, line, by_hook=self._hooked)
        stored = self._program.stored_attributes | self._new.stored_attributes
        declared = self._program.global_names | self._new.global_names
        if place.name in stored:
            raise PatchRefused(f"{place.path} is also stored to as an attribute", change.path, line)
        if not place.owner and place.name in declared:
            raise PatchRefused(f"{place.path} is declared global in a function", change.path, line)
        if not place.owner:
            self._check_star(change, place.name, line)

    def _check_use(self, change: ModuleChange, place: Place, line: int, *, by_hook: bool = False) -> None:
        """Raises if it is used by what has run; the hook answers for what the pipeline has made of it."""
        chains = [self._reach.mentioned.get((place.module, place.path))]
        if place.owner:
            chains.append(self._reach.attributes.get(place.name))
        for chain in chains:
            if chain is not None and not (by_hook and not chain[0].startswith(_IMPORT)):
                users = self._chain(chain)
                raise PatchRefused(f"{self._short(place.path)} is used by {users}", change.path, line)

    def _check_importers(self, change: ModuleChange, item: UnitChange) -> None:
        place = item.place
        if place.owner:
            return
        self._check_star(change, place.name, item.unit.node.lineno)
        if item not in change.removed or any(added.place == place for added in change.added):
            return
        for module, _ in importers(self._new, place.module, place.name):
            raise PatchRefused(f"{place.name} is gone, and {module} imports it", change.path)

    def _check_star(self, change: ModuleChange, name: str, line: int) -> None:
        star = star_importer(self._program, change.module) or star_importer(self._new, change.module)
        if star:
            raise PatchRefused(f"{name} has changed, and {star} imports * from {change.module}", change.path, line)

    # ---- in words --------------------------------------------------------------------------

    def _called(self, function: Function, chain: Chain) -> str:
        name = self._short(label(function))
        if not chain or chain == (f"{label(function)}, which keeps its results",):
            return f"{name} has changed" + (", and keeps results of before" if chain else "")
        return f"{name} is called by {self._chain(chain)}"

    def _chain(self, chain: Chain) -> str:
        return " > ".join(map(self._short, chain))

    def _short(self, name: str) -> str:
        """The methods of the pipeline go without its name."""
        for one in self._home:
            name = name.removeprefix(f"{one.name}.")
        return name


def _texts(found: Sequence[Region]) -> dict[str, list[tuple[str, ...]]]:
    """What is kept -> the code that builds it."""
    texts: dict[str, list[tuple[str, ...]]] = {}
    for region in found:
        for kept in region.kept:
            texts.setdefault(kept, []).append(region.text)
    return texts


def changed_functions(old: FunctionNode, new: FunctionNode) -> Iterator[FunctionNode]:
    """Of a function that has changed, the nodes of the old version that have: itself, or only what is defined in it."""
    if behaviour(_hollow(old)) == behaviour(_hollow(new)):
        for before, after in zip(_defined_in(old), _defined_in(new), strict=True):
            if behaviour(before) != behaviour(after):
                yield from changed_functions(before, after)
    else:
        yield old
        yield from (node for node in ast.walk(old) if isinstance(node, FUNCTIONS) and node is not old)


def _defined_in(node: ast.AST) -> Iterator[FunctionNode]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            yield child
        else:
            yield from _defined_in(child)


def _hollow(node: FunctionNode) -> FunctionNode:
    """A copy without the bodies of the functions that are defined in it."""
    made = copy.deepcopy(node)
    for inner in _defined_in(made):
        inner.body = []
    return made
