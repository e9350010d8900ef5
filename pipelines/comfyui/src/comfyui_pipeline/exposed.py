"""Values of nodes as parameters of the pipeline: ``6.text``, ``Positive prompt.text``, ``KSampler.seed``.

A key is a node's id or its title in the editor, a dot, and the input's name; for a node with one value to set, id
or title are enough.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from .errors import WorkflowError
from .rewrite import LiveGraph
from .workflow import Workflow, is_link

_NAMED = 12  # keys named in a message


def with_values(graph: LiveGraph, values: Mapping[str, Any]) -> LiveGraph:
    """The graph with other values at its nodes.

    Raises:
        WorkflowError: a key names nothing, several things, or an input that is linked to another node.
    """
    workflow, problems = graph.workflow, []
    for key, value in values.items():
        found = list(_named(graph, key))
        if len(found) == 1:
            workflow = workflow.with_input(*found[0], value)
        elif found:
            which = " or ".join(f"{number}.{name}" for number, name in found)
            problems.append(f"inputs: '{key}' names several values: say {which}")
        else:
            problems.append(_unknown(graph, key))
    if problems:
        raise WorkflowError(*problems)
    return LiveGraph(workflow, graph.entries, graph.exit, graph.image)


def keys(graph: LiveGraph) -> list[str]:
    """The key of every value that can be set, by id, in the workflow's order."""
    return [f"{number}.{name}" for number, name in _settable(graph)]


def _settable(graph: LiveGraph) -> Iterator[tuple[str, str]]:
    ends = {*graph.entries, graph.exit}
    for number, node in graph.workflow.nodes.items():
        if number not in ends:
            yield from ((number, name) for name, value in node["inputs"].items() if not is_link(value))


def _named(graph: LiveGraph, key: str) -> Iterator[tuple[str, str]]:
    """Every value that a key names: ids come before titles."""
    settable = list(_settable(graph))
    for label in (lambda number: number, graph.workflow.title):
        found = [(number, name) for number, name in settable if key == f"{label(number)}.{name}"]
        if not found and key in {label(number) for number, _ in settable}:
            found = [(number, name) for number, name in settable if label(number) == key]
        if found:
            yield from found
            return


def _unknown(graph: LiveGraph, key: str) -> str:
    if linked := _linked(graph.workflow, key):
        return f"inputs: '{key}' cannot be set, it is linked to {linked}"
    titled = [f"{graph.workflow.title(number)}.{name}" for number, name in _settable(graph)]
    near = difflib.get_close_matches(key, [*keys(graph), *titled], n=1)
    there = keys(graph)
    listed = ", ".join(there[:_NAMED]) + (", ..." if len(there) > _NAMED else "")
    return f"inputs: the workflow has no '{key}'" + (f"; is it '{near[0]}'?" if near else f" (it has: {listed})")


def _linked(workflow: Workflow, key: str) -> str:
    for number, node in workflow.nodes.items():
        for name, value in node["inputs"].items():
            if is_link(value) and key in (f"{number}.{name}", f"{workflow.title(number)}.{name}"):
                source = str(value[0])
                return workflow.described(source) if source in workflow.nodes else f"node {source}"
    return ""
