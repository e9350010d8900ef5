"""LiveGraph: a workflow with a picture going in and one coming out in place of files.

Where the picture goes in: our own `LiveFrameIn`, or comfystream's `LoadTensor` and `PrimaryInputLoadImage`, or else
the only `LoadImage`. Where it comes out: `LiveFrameOut`, `SaveTensor`, `SaveImageWebsocket`, or else the only
`PreviewImage` or `SaveImage`. That is comfystream's rule (``comfystream.utils.convert_prompt``), so that workflows
made for it run as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import WorkflowError
from .workflow import Link, Nodes, Workflow, is_link

if TYPE_CHECKING:
    from .catalog import NodeCatalog

LIVE_INPUTS = ("LiveFrameIn", "LoadTensor", "PrimaryInputLoadImage")
FILE_INPUTS = ("LoadImage",)
LIVE_OUTPUTS = ("LiveFrameOut", "SaveTensor", "SaveImageWebsocket")
FILE_OUTPUTS = ("PreviewImage", "SaveImage")
# comfystream's other ends: sound passes a pipeline by, and text has no way out of it.
NOT_PICTURES = ("LoadAudioTensor", "SaveAudioTensor", "SaveTextTensor")


@dataclass(frozen=True, slots=True)
class LiveNode:
    """What stands at one end of the graph for one picture: a node's class and its inputs, links left out."""

    class_type: str
    inputs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LiveGraph:
    """A workflow whose ends are known.

    Attributes:
        workflow: as it was given.
        entries: ids of the nodes that give the live picture; all of them give the same one.
        exit: id of the node that takes the result.
        image: what the exit is linked to.
    """

    workflow: Workflow
    entries: tuple[str, ...]
    exit: str
    image: Link

    @classmethod
    def find(cls, workflow: Workflow) -> LiveGraph:
        """Find the ends of a workflow.

        Raises:
            WorkflowError: it has none, or it is not clear which.
        """
        if others := workflow.of_class(*NOT_PICTURES):
            which = ", ".join(workflow.described(number) for number in others)
            raise WorkflowError(f"only pictures go in and out here, no sound and no text: take out {which}")
        entries = workflow.of_class(*LIVE_INPUTS) or _only(workflow, FILE_INPUTS, "in", "LoadTensor")
        (exit_node,) = _only(workflow, LIVE_OUTPUTS, "out", "") or _only(workflow, FILE_OUTPUTS, "out", "SaveTensor")
        image = workflow.nodes[exit_node]["inputs"].get("images")
        if not isinstance(image, list) or not is_link(image):
            raise WorkflowError(f"{workflow.described(exit_node)} is not linked to a picture (its input 'images')")
        return cls(workflow, tuple(entries), exit_node, image)

    def inner_classes(self) -> set[str]:
        """The node classes that the server must have, its ends left out."""
        return self.workflow.classes(but=self._ends)

    def check(self, catalog: NodeCatalog) -> None:
        """Look whether a server can run what lies between the ends. Raises WorkflowError as `Workflow.check`."""
        self.workflow.check(catalog, but=self._ends)

    @property
    def _ends(self) -> tuple[str, ...]:
        return (*self.entries, self.exit)

    def prompt(self, entry: LiveNode, exit_node: LiveNode) -> Nodes:
        """What is sent to the server for one picture."""
        nodes = dict(self.workflow.nodes)
        for number in self.entries:
            nodes[number] = _placed(nodes[number], entry.class_type, entry.inputs)
        inputs = {"images": self.image, **exit_node.inputs}
        nodes[self.exit] = _placed(nodes[self.exit], exit_node.class_type, inputs)
        return nodes


def _only(workflow: Workflow, classes: tuple[str, ...], way: str, else_use: str) -> list[str]:
    """The one node of these classes; an empty list for none if there is something else to look for."""
    found = workflow.of_class(*classes)
    if len(found) == 1 or (not found and not else_use):
        return found
    if not found:
        live = LIVE_INPUTS if way == "in" else LIVE_OUTPUTS
        raise WorkflowError(
            f"nothing in the workflow says where the live picture goes {way}: it needs a node {' or '.join(live)}, "
            f"or one {' or '.join(classes)}"
        )
    which = ", ".join(workflow.described(number) for number in found)
    use = f"put a {else_use} in its place" if else_use else "keep one of them"
    raise WorkflowError(f"it is not clear where the live picture goes {way}: {which}; {use}")


def _placed(node: dict[str, Any], class_type: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {**node, "class_type": class_type, "inputs": inputs}
