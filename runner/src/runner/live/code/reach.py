"""Reach: what some code uses, directly or through others, over all of the user's modules.

It is told from the text, so it errs on the side of more: a method counts as called wherever one of
its name is called on what may be an instance of its class.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Protocol

from .program import Class, Function, Meaning, Program, Variable
from .walker import How, Walker

Chain = tuple[str, ...]

_CALLED_EXPLICITLY = ("__call__", "forward")


class LiveObjects(Protocol):
    """What the analysis may ask about the objects of the running process; types are the user's only."""

    def attribute_types(self, name: str) -> set[Class] | None:
        """Of what may be called where an attribute of that name is called; None if that cannot be told."""

    def variable_types(self, module: str, name: str) -> set[Class] | None:
        """The same of a module's variable."""

    def overrides(self, of: Class) -> set[str]:
        """Methods that code outside the user's modules may call, because a base of its own has them."""


class Reach:
    """Follows calls from where it is told to start.

    Attributes:
        executed: function -> who calls it, from the outermost.
        mentioned: (module, name) -> who uses it.
        attributes: name of an attribute that is used on anything -> who does.
    """

    def __init__(self, program: Program, live: LiveObjects) -> None:
        self.program = program
        self.live = live
        self.executed: dict[Function, Chain] = {}
        self.mentioned: dict[tuple[str, str], Chain] = {}
        self.attributes: dict[str, Chain] = {}
        self._constructed: dict[Class, Chain] = {}
        self._taken: dict[Function, Chain] = {}
        self._uses: dict[tuple[str, How], Chain] = {}
        self._unknown: Chain | None = None
        self._dynamic: Chain | None = None
        self._background: set[Function] = set()
        self._queue: list[tuple[Function, Chain]] = []

    # ---- where to start --------------------------------------------------------------------

    def follow_function(self, function: Function, chain: Chain) -> None:
        self.execute(function, chain)
        self._settle()

    def follow_code(
        self, nodes: Iterable[ast.AST], module: str, function: Function | None, owner: Class | None, chain: Chain
    ) -> None:
        walker = Walker(self, module, function, owner, chain)
        for node in nodes:
            walker.visit(node)
        self._settle()

    def follow_construction(self, of: Class, chain: Chain) -> None:
        self.construct(of, chain)
        self._settle()

    def _settle(self) -> None:
        while self._queue:
            function, chain = self._queue.pop()
            walker = Walker(self, function.module, function, None, (*chain, label(function)))
            walker.skip_loops = function in self._background
            body = function.node.body
            for node in body if isinstance(body, list) else [body]:
                walker.visit(node)

    # ---- what is found on the way ----------------------------------------------------------

    def execute(self, function: Function, chain: Chain, *, background: bool = False) -> None:
        again = function in self._background and not background
        if function in self.executed and not again:
            return
        self.executed.setdefault(function, chain)
        self._background.discard(function)
        if background:
            self._background.add(function)
        self._queue.append((function, chain))
        for decorator in function.decorators:
            self._wrapper(function, decorator, chain)

    def _wrapper(self, function: Function, decorator: ast.expr, chain: Chain) -> None:
        """A call of a decorated function runs what the decorator has put around it."""
        made_by = decorator.func if isinstance(decorator, ast.Call) else decorator
        meaning = self.program.expression(function.module, function.outer, made_by)
        if isinstance(meaning, Function):
            inside = f"{meaning.name}.<locals>."
            for inner in self.program.functions:
                if inner.module == meaning.module and inner.name.startswith(inside):
                    self.execute(inner, chain)
        elif isinstance(meaning, Class):
            self.call_instance(meaning, chain)

    def take(self, function: Function, chain: Chain) -> None:
        """A reference to it is kept somewhere."""
        self._taken.setdefault(function, chain)
        if self._unknown is not None:
            self.execute(function, self._unknown)

    def call_unknown(self, chain: Chain) -> None:
        """Something is called that could be any function or object that is around."""
        if self._unknown is None:
            self._unknown = chain
            for function in list(self._taken):
                self.execute(function, chain)
            for one in list(self._constructed):
                self.call_instance(one, chain)

    def call_dynamic(self, chain: Chain) -> None:
        """Something is looked up by a name that the text does not tell."""
        if self._dynamic is None:
            self._dynamic = chain
            for one in list(self._constructed):
                self._execute_all(one, chain)

    def _execute_all(self, of: Class, chain: Chain) -> None:
        for name, methods in of.methods.items():
            for method in methods if name not in _CALLED_EXPLICITLY else ():
                self.execute(method, chain)

    def call_instance(self, of: Class, chain: Chain) -> None:
        """An instance is called: a torch module's own ``__call__`` calls ``forward``."""
        ancestors = self.program.ancestors(of)
        own_call = any("__call__" in one.methods for one in ancestors)
        for one in ancestors:
            for method in one.methods.get("__call__" if own_call else "forward", ()):
                self.execute(method, chain)

    def construct(self, of: Class, chain: Chain) -> None:
        """An instance may be made: what runs without being called by name runs."""
        for one in self.program.ancestors(of):
            if one in self._constructed:
                continue
            self._constructed[one] = chain
            implicit = {name for name in one.methods if name.startswith("__") and name.endswith("__")}
            for name in sorted((implicit | self.live.overrides(one)).difference(_CALLED_EXPLICITLY)):
                for method in one.methods.get(name, ()):
                    self.execute(method, chain)
            for (attribute, how), used_by in list(self._uses.items()):
                self._use_method(one, attribute, how, used_by)
            if self._unknown is not None:
                self.call_instance(one, self._unknown)
            if self._dynamic is not None:
                self._execute_all(one, self._dynamic)

    def use_attribute(self, name: str, how: How, chain: Chain, among: Sequence[Class] | None) -> None:
        """An attribute is used: on an instance of one of `among`, or of any class there is an instance of."""
        self.attributes.setdefault(name, chain)
        if among is None:
            self._uses.setdefault((name, how), chain)
        for one in among if among is not None else list(self._constructed):
            self._use_method(one, name, how, chain)
        if how == "called" and name in self.program.stored_attributes:
            self._call_types(self.live.attribute_types(name), chain)

    def _use_method(self, of: Class, name: str, how: How, chain: Chain) -> None:
        for method in of.methods.get(name, ()):
            if how != "value" or method.is_property:
                self.execute(method, chain)
            else:
                self.take(method, chain)

    def use_meaning(self, meaning: Meaning, how: How, chain: Chain) -> None:
        if isinstance(meaning, Function):
            if how == "value":
                self.take(meaning, chain)
            else:
                self.execute(meaning, chain)
        elif isinstance(meaning, Class):
            self.construct(meaning, chain)
        elif isinstance(meaning, Variable) and how != "value":
            self._call_types(self.live.variable_types(meaning.module, meaning.name), chain)

    def _call_types(self, types: set[Class] | None, chain: Chain) -> None:
        if types is None:
            self.call_unknown(chain)
        for one in types or ():
            self.call_instance(one, chain)

    def mention(self, module: str, name: str, chain: Chain) -> None:
        """A name at module level is used, and what it was imported from."""
        seen = set()
        while (module, name) not in seen:
            seen.add((module, name))
            self.mentioned.setdefault((module, name), chain)
            found = self.program.modules.get(module)
            if found is None or name not in found.imports or found.imports[name][1] is None:
                break
            module, name = found.imports[name][0], str(found.imports[name][1])


def label(function: Function) -> str:
    return f"{function.name.replace('.<locals>', '')}()"
