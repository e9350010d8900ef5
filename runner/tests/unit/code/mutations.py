"""Random edits of a module's text, of the kinds that people make while a pipeline runs."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Mutation = Callable[[ast.Module, random.Random], bool]


def mutate(text: str, rng: random.Random) -> tuple[str, str]:
    """Another text, and what was done to it. The text may be broken in any way that still parses."""
    tree = ast.parse(text)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        changed = copy.deepcopy(tree)
        if mutation(changed, rng):
            tree = changed
            done.append(mutation.__name__)
    return shift(ast.unparse(ast.fix_missing_locations(shorten(tree))), rng), "+".join(done) or "layout"


def shorten(tree: ast.Module) -> ast.Module:
    """Without what comments have made of docstrings."""
    for node in every(tree, ast.Constant):
        if isinstance(node.value, str):
            node.value = node.value[:80]
    return tree


def shift(text: str, rng: random.Random) -> str:
    """Blank lines and comments here and there."""
    lines = []
    for line in text.splitlines():
        if rng.random() < 0.08:
            indent = line[: len(line) - len(line.lstrip())]
            lines.extend([f"{indent}# {rng.randint(0, 99)}"] * rng.randint(1, 3) if rng.random() < 0.6 else [""])
        lines.append(line)
    return "\n".join(lines) + "\n"


# ---- where -------------------------------------------------------------------------------------


def every(tree: ast.AST, *kinds: type[Any]) -> list[Any]:
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Of the module and its classes."""
    yield tree.body
    for node in every(tree, ast.ClassDef):
        yield node.body


def pick(choices: list[Any], rng: random.Random) -> Any:
    return rng.choice(choices) if choices else None


def statement(text: str) -> ast.stmt:
    return ast.parse(text).body[0]


def after_docstring(body: list[ast.stmt]) -> int:
    return int(bool(body) and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant))


def top_after_imports(tree: ast.Module) -> int:
    positions = [n for n, node in enumerate(tree.body) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return max(positions, default=after_docstring(tree.body) - 1) + 1


# ---- what --------------------------------------------------------------------------------------


def other_number(tree: ast.Module, rng: random.Random) -> bool:
    numbers = [node for node in every(tree, ast.Constant) if type(node.value) in (int, float)]
    inside = [part for function in every(tree, *FUNCTIONS) for part in every(function, ast.Constant)]
    node = pick([n for n in numbers if n in inside] if rng.random() < 0.7 else numbers, rng)
    if node is None:
        return False
    node.value = node.value + rng.choice((1, 2)) if isinstance(node.value, int) else round(node.value * 1.5 + 0.03, 4)
    return True


def other_operator(tree: ast.Module, rng: random.Random) -> bool:
    node = pick(every(tree, ast.BinOp), rng)
    if node is None:
        return False
    node.op = rng.choice((ast.Add(), ast.Sub(), ast.Mult()))
    return True


def new_helper(tree: ast.Module, rng: random.Random) -> bool:
    """A function is added, and another one's result goes through it."""
    function = pick([f for f in every(tree, *FUNCTIONS) if every(f, ast.Return)], rng)
    name = f"helper_{rng.randint(0, 999)}"
    if function is None:
        return False
    returned = rng.choice(every(function, ast.Return))
    if returned.value is None or every(function, ast.Yield):
        return False
    returned.value = ast.Call(ast.Name(name, ast.Load()), [returned.value], [])
    made = statement(f"def {name}(x, by={rng.randint(2, 5)}):\n    return x if isinstance(x, (str, dict)) else x * by")
    tree.body.insert(rng.choice((top_after_imports(tree), len(tree.body))), made)
    return True


def new_method(tree: ast.Module, rng: random.Random) -> bool:
    of = pick(every(tree, ast.ClassDef), rng)
    method = pick([f for f in of.body if isinstance(f, FUNCTIONS)], rng) if of is not None else None
    if method is None or not method.args.args:
        return False
    name = f"method_{rng.randint(0, 99)}"
    kinds = ("def {0}(self, x=2):\n    return x * {1}", "@staticmethod\ndef {0}(x=2):\n    return x + {1}",
             "@classmethod\ndef {0}(cls, x=2):\n    return x - {1}", "@property\ndef {0}(self):\n    return {1}")  # fmt: skip
    of.body.insert(rng.randint(0, len(of.body)), statement(rng.choice(kinds).format(name, rng.randint(2, 9))))
    first = method.args.args[0].arg
    use = statement(f"noted = {first}.{name}")
    method.body.insert(after_docstring(method.body), use)
    return True


def uses_super(tree: ast.Module, rng: random.Random) -> bool:
    methods = [f for of in every(tree, ast.ClassDef) for f in of.body if isinstance(f, FUNCTIONS) and f.args.args]
    method = pick([f for f in methods if not f.decorator_list], rng)
    if method is None:
        return False
    method.body.insert(after_docstring(method.body), statement("parent = super()"))
    return True


def no_super(tree: ast.Module, rng: random.Random) -> bool:
    for function in every(tree, *FUNCTIONS):
        for node in list(function.body):
            if "super()" in ast.unparse(node) and len(function.body) > 1 and rng.random() < 0.7:
                function.body.remove(node)
                return True
    return False


def removed(tree: ast.Module, rng: random.Random) -> bool:
    body = rng.choice(list(bodies(tree)))
    node = pick([n for n in body if not isinstance(n, ast.ClassDef)], rng)
    if node is None or len(body) < 2:
        return False
    body.remove(node)
    return True


def renamed(tree: ast.Module, rng: random.Random) -> bool:
    function = pick([n for n in tree.body if isinstance(n, FUNCTIONS)], rng)
    if function is None:
        return False
    old, new = function.name, f"{function.name}_{rng.randint(0, 9)}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    function.name = new
    return True


def moved(tree: ast.Module, rng: random.Random) -> bool:
    body = rng.choice(list(bodies(tree)))
    node = pick([n for n in body if isinstance(n, (*FUNCTIONS, ast.Assign, ast.Import, ast.ImportFrom))], rng)
    if node is None or (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
        return False
    body.remove(node)
    body.insert(rng.randint(1 if body is tree.body else 0, max(len(body), 1)), node)
    return True


def swapped_lines(tree: ast.Module, rng: random.Random) -> bool:
    function = pick([f for f in every(tree, *FUNCTIONS) if len(f.body) > 1], rng)
    if function is None:
        return False
    position = rng.randint(0, len(function.body) - 2)
    function.body[position : position + 2] = function.body[position : position + 2][::-1]
    return True


def removed_line(tree: ast.Module, rng: random.Random) -> bool:
    function = pick([f for f in every(tree, *FUNCTIONS) if len(f.body) > 1], rng)
    if function is None:
        return False
    function.body.pop(rng.randint(0, len(function.body) - 1))
    return True


def raises(tree: ast.Module, rng: random.Random) -> bool:
    function = pick(every(tree, *FUNCTIONS), rng)
    if function is None:
        return False
    function.body.insert(rng.randint(0, len(function.body)), statement(f"raise ValueError('bug {rng.randint(0, 9)}')"))
    return True


def new_import(tree: ast.Module, rng: random.Random) -> bool:
    function = pick(every(tree, *FUNCTIONS), rng)
    text, use = rng.choice((("import math", "math.pi"), ("from math import tau as turn", "turn"), ("import json as np", "np"),
                            ("import os.path", "os.sep"), ("from collections import deque", "deque([1])")))  # fmt: skip
    tree.body.insert(max(top_after_imports(tree) - rng.randint(0, 1), 0), statement(text))
    if function is not None:
        function.body.insert(after_docstring(function.body), statement(f"looked = {use}"))
    return True


def new_constant(tree: ast.Module, rng: random.Random) -> bool:
    function = pick(every(tree, *FUNCTIONS), rng)
    name = f"CONSTANT_{rng.randint(0, 9)}"
    value = rng.choice(("3", "-0.5", "(1, 2)", "'text'", "None", "2 ** 8", "[1, 2]", "{'a': 1}", "list()"))
    tree.body.insert(rng.choice((top_after_imports(tree), len(tree.body))), statement(f"{name} = {value}"))
    if function is not None:
        function.body.insert(after_docstring(function.body), statement(f"looked = {name}"))
    return True


def new_class_constant(tree: ast.Module, rng: random.Random) -> bool:
    of = pick(every(tree, ast.ClassDef), rng)
    if of is None:
        return False
    of.body.insert(after_docstring(of.body), statement(f"LEVEL_{rng.randint(0, 9)} = {rng.randint(0, 99)}"))
    return True


def new_class(tree: ast.Module, rng: random.Random) -> bool:
    name = f"Extra{rng.randint(0, 99)}"
    bases = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    base = f"({rng.choice(bases)})" if bases and rng.random() < 0.5 else ""
    text = f"class {name}{base}:\n    X = {rng.randint(0, 9)}\n    def extra(self, y=1):\n        return self.X + y"
    tree.body.append(statement(text))
    return True


def other_parameters(tree: ast.Module, rng: random.Random) -> bool:
    function = pick(every(tree, *FUNCTIONS), rng)
    if function is None:
        return False
    arguments = function.args
    if arguments.defaults and rng.random() < 0.5:
        arguments.defaults[-1] = ast.Constant(rng.choice((1, 2.5, "soft", None)))
    elif arguments.kwarg is None:
        arguments.kwonlyargs.append(ast.arg(f"option_{rng.randint(0, 99)}"))
        arguments.kw_defaults.append(ast.Constant(rng.randint(0, 9)))
        function.returns = rng.choice((None, ast.Name("float", ast.Load())))
    return True


def other_decorators(tree: ast.Module, rng: random.Random) -> bool:
    function = pick(every(tree, *FUNCTIONS), rng)
    if function is None:
        return False
    if function.decorator_list and rng.random() < 0.6:
        function.decorator_list.pop()
    else:
        function.decorator_list.append(ast.Name(rng.choice(("staticmethod", "property", "lru_cache")), ast.Load()))
    return True


def other_docstring(tree: ast.Module, rng: random.Random) -> bool:
    node = pick(every(tree, *FUNCTIONS, ast.ClassDef, ast.Module), rng)
    text = rng.choice((None, "Does it.", "Does it.\n\n    In two\n      lines.\n    "))
    if after_docstring(node.body) and len(node.body) > 1:
        node.body.pop(0)
    if text is not None:
        node.body.insert(0, ast.Expr(ast.Constant(text)))
    return bool(node.body)


def other_bases(tree: ast.Module, rng: random.Random) -> bool:
    of = pick([node for node in every(tree, ast.ClassDef) if node.bases], rng)
    if of is None:
        return False
    of.bases.pop()
    return True


def new_statement(tree: ast.Module, rng: random.Random) -> bool:
    body = rng.choice(list(bodies(tree)))
    body.append(
        statement(rng.choice(("total = sum([1, 2])", "for number in range(2): pass", "if True:\n    flag = 1")))
    )
    return True


def now_lazy(tree: ast.Module, rng: random.Random) -> bool:
    """A method keeps what it has computed once."""
    methods = [f for of in every(tree, ast.ClassDef) for f in of.body if isinstance(f, ast.FunctionDef) and f.args.args]
    method = pick([f for f in methods if f.args.args[0].arg == "self" and not f.decorator_list], rng)
    call = pick(every(method, ast.Call), rng) if method is not None else None
    if call is None:
        return False
    name = f"kept_{rng.randint(0, 9)}"
    function = pick([n.name for n in tree.body if isinstance(n, FUNCTIONS) and not n.args.args], rng) or "dict"
    lazy = statement(f"if not hasattr(self, '{name}'):\n    self.{name} = {function}()")
    method.body.insert(after_docstring(method.body), lazy)
    return True


def nested(tree: ast.Module, rng: random.Random) -> bool:
    function = pick([f for f in every(tree, ast.FunctionDef) if every(f, ast.Return)], rng)
    returned = pick(every(function, ast.Return), rng) if function is not None else None
    if returned is None or returned.value is None:
        return False
    function.body.insert(
        after_docstring(function.body), statement(f"def inside(x, n={rng.randint(1, 3)}):\n    return x")
    )
    returned.value = ast.Call(ast.Name("inside", ast.Load()), [returned.value], [])
    return True


MUTATIONS: tuple[Mutation, ...] = (
    other_number, other_number, other_number, other_number, other_number, other_operator, other_operator, new_helper, new_helper, new_helper, new_method,
    new_method, uses_super, no_super, removed, renamed, moved, moved, swapped_lines, removed_line, raises, new_import,
    new_constant, new_class_constant, new_class, other_parameters, other_parameters, other_decorators, other_docstring,
    other_docstring, other_bases, new_statement, now_lazy, nested,
)  # fmt: skip
