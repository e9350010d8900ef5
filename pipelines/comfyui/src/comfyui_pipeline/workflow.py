"""Workflow: what ComfyUI's "Export (API)" writes, and what is wrong with it on a given server."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import WorkflowError

if TYPE_CHECKING:
    from .catalog import NodeCatalog

# Node id -> {"class_type": name, "inputs": {name: value or link}, "_meta": {"title": text}}.
Nodes = dict[str, dict[str, Any]]
# What an input is linked to: [node id, number of its output].
Link = list[Any]

_EXPORT = "in ComfyUI: Workflow > Export (API)"


def is_link(value: object) -> bool:
    """Whether an input's value is another node's output."""
    return isinstance(value, list)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow in the API format.

    Attributes:
        nodes: see `Nodes`. Not to be changed: `with_input` gives another workflow.
    """

    nodes: Nodes

    @classmethod
    def parse(cls, value: object) -> Workflow:
        """A workflow from JSON, as text or as what it stands for.

        Raises:
            WorkflowError: it is no workflow in the API format, with the way to get one.
        """
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise WorkflowError(f"the workflow is not JSON ({error}): export it {_EXPORT}") from None
        if not isinstance(value, dict):
            raise WorkflowError(f"a workflow is a JSON object, this is {_json_kind(value)}: export it {_EXPORT}")
        if isinstance(value.get("nodes"), list):
            raise WorkflowError(f"this workflow is in the format of ComfyUI's editor; export it {_EXPORT}")
        if not value:
            raise WorkflowError(f"the workflow has no nodes: export it {_EXPORT}")
        return cls({str(number): _node(str(number), node) for number, node in value.items()})

    def title(self, number: str) -> str:
        """The title a node has in the editor, else its class."""
        node = self.nodes[number]
        meta = node.get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        return title if isinstance(title, str) and title else str(node["class_type"])

    def described(self, number: str) -> str:
        """A node for messages: ``node 6 'Positive prompt' (CLIPTextEncode)``."""
        title, kind = self.title(number), self.nodes[number]["class_type"]
        return f"node {number} ({kind})" if title == kind else f"node {number} '{title}' ({kind})"

    def with_input(self, number: str, name: str, value: Any) -> Workflow:
        """The same workflow with another value for one input."""
        node = self.nodes[number]
        return Workflow({**self.nodes, number: {**node, "inputs": {**node["inputs"], name: value}}})

    def of_class(self, *classes: str) -> list[str]:
        """The ids of all nodes of these classes, in the workflow's order."""
        return [number for number, node in self.nodes.items() if node["class_type"] in classes]

    def classes(self, but: Collection[str] = ()) -> set[str]:
        """The classes of its nodes, except of those with the ids `but`."""
        return {str(node["class_type"]) for number, node in self.nodes.items() if number not in but}

    def check(self, catalog: NodeCatalog, but: Collection[str] = ()) -> None:
        """Look whether a server can run it; the nodes `but` are not looked at.

        Raises:
            WorkflowError: it cannot, with every reason: missing nodes and models with what to install, values out
                of range, links to nowhere.
        """
        problems = [catalog.missing(kind, self._named(kind)) for kind in sorted(self.classes(but) - catalog.classes)]
        for number, node in self.nodes.items():
            if number in but:
                continue
            problems += [f"{self.described(number)}: {text}" for text in self._problems_of(node, catalog)]
        if problems:
            raise WorkflowError(*problems)

    def _named(self, kind: str) -> str:
        return ", ".join(f"node {number}" for number in self.of_class(kind))

    def _problems_of(self, node: Mapping[str, Any], catalog: NodeCatalog) -> list[str]:
        kind, inputs = node["class_type"], node["inputs"]
        if kind not in catalog.classes:
            return []
        problems = []
        for name, spec in catalog.inputs(kind).items():
            if name not in inputs:
                if spec.required:
                    problems.append(f"input '{name}' is required and not there")
            elif is_link(inputs[name]):
                problems += self._problems_of_link(name, inputs[name], catalog)
            elif problem := spec.problem(inputs[name], kind):
                problems.append(problem)
        return problems

    def _problems_of_link(self, name: str, link: Link, catalog: NodeCatalog) -> list[str]:
        if len(link) != 2 or not isinstance(link[1], int):
            return [f"input '{name}' is linked to {link!r}, which is no [node, output]"]
        source, output = str(link[0]), link[1]
        if source not in self.nodes:
            return [f"input '{name}' is linked to node {source}, which is not in the workflow"]
        kind = self.nodes[source]["class_type"]
        outputs = catalog.outputs(kind) if kind in catalog.classes else output + 1
        if not 0 <= output < outputs:
            return [f"input '{name}' is linked to output {output} of {self.described(source)}, which has {outputs}"]
        return []


def _node(number: str, node: object) -> dict[str, Any]:
    if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
        raise WorkflowError(f"node {number} has no class_type: this is not a workflow in the API format ({_EXPORT})")
    if not isinstance(node.get("inputs", {}), dict):
        raise WorkflowError(f"the inputs of node {number} are no object: this is not the API format ({_EXPORT})")
    return deepcopy({**node, "inputs": node.get("inputs", {})})


def _json_kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
