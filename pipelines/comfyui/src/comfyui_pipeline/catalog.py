"""NodeCatalog: the node classes that a server has, from its ``/object_info``, and what their inputs take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Where the files lie that an input of this name offers, below ComfyUI's models folder.
_MODEL_FOLDERS = {
    "ckpt_name": "checkpoints",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "style_model_name": "style_models",
    "hypernetwork_name": "hypernetworks",
    "gligen_name": "gligen",
}
_MODEL_FOLDERS_OF_CLASS = {
    "CLIPVisionLoader": "clip_vision",
    "UpscaleModelLoader": "upscale_models",
    "LatentUpscaleModelLoader": "latent_upscale_models",
}
_LISTED = 8  # values named in a message
# Classes that are not in ComfyUI's main program, and what brings them.
_BROUGHT_BY = {
    "LiveFrameIn": "our own nodes: comfyui-nodes install COMFYUI_FOLDER, then restart ComfyUI",
    "LiveFrameOut": "our own nodes: comfyui-nodes install COMFYUI_FOLDER, then restart ComfyUI",
    "SaveImageWebsocket": "custom_nodes/websocket_image_save.py, which ComfyUI ships; copy it back",
}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What one input of a node class takes.

    Attributes:
        kind: ``INT``, ``FLOAT``, ``STRING``, ``BOOLEAN``, ``COMBO``, or the type of a link (``IMAGE``, ...).
        options: of a COMBO; None where the node checks the value itself (names of uploaded files).
        minimum, maximum: of a number, both included; None: no bound.
    """

    name: str
    kind: str
    required: bool
    options: tuple[Any, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    @classmethod
    def parse(cls, name: str, declared: Any, *, required: bool) -> InputSpec:
        """From the server's JSON: ``[kind, settings]``, or ``[[options], settings]`` in the older form."""
        kind = declared[0] if isinstance(declared, list) and declared else "*"
        more = declared[1] if isinstance(declared, list) and len(declared) > 1 else {}
        settings: Mapping[str, Any] = more if isinstance(more, dict) else {}
        options = kind if isinstance(kind, list) else settings.get("options")
        if isinstance(kind, list):
            kind = "COMBO"
        checked_by_node = any(key.endswith("_upload") and value for key, value in settings.items())
        if kind != "COMBO" or checked_by_node or not isinstance(options, list) or "remote" in settings:
            options = None
        return cls(
            name,
            str(kind),
            required and not settings.get("lazy"),
            None if options is None else tuple(options),
            settings.get("min") if kind in ("INT", "FLOAT") else None,
            settings.get("max") if kind in ("INT", "FLOAT") else None,
        )

    def problem(self, value: Any, node_class: str) -> str:
        """What is wrong with a value, as a sentence without its end; empty if nothing is."""
        if self.kind in ("INT", "FLOAT"):
            return self._number_problem(value)
        if self.kind == "BOOLEAN" and not isinstance(value, bool):
            return f"input '{self.name}' is {value!r}, not true or false"
        if self.kind == "STRING" and isinstance(value, dict):
            return f"input '{self.name}' is an object, not text"
        if self.options is not None and value not in self.options:
            return self._choice_problem(value, node_class)
        return ""

    def _number_problem(self, value: Any) -> str:
        try:
            number = int(value) if self.kind == "INT" else float(value)
        except (TypeError, ValueError, OverflowError):
            return f"input '{self.name}' is {value!r}, not a number"
        if self.minimum is not None and number < self.minimum:
            return f"input '{self.name}' is {number}, the least is {self.minimum}"
        if self.maximum is not None and number > self.maximum:
            return f"input '{self.name}' is {number}, the most is {self.maximum}"
        return ""

    def _choice_problem(self, value: Any, node_class: str) -> str:
        assert self.options is not None
        folder = _MODEL_FOLDERS_OF_CLASS.get(node_class) or _MODEL_FOLDERS.get(self.name)
        there = ", ".join(str(option) for option in self.options[:_LISTED]) or "none"
        if len(self.options) > _LISTED:
            there += f", and {len(self.options) - _LISTED} more"
        if folder:
            return f"model '{value}' is missing: put it into ComfyUI's models/{folder} (there: {there})"
        return f"input '{self.name}' is {value!r}, which is not to be had (there: {there})"


class NodeCatalog:
    """Some node classes of a server.

    Attributes:
        classes: their names.
    """

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        """`object_info`: what the server says, class name -> description."""
        self._info = object_info
        self.classes = frozenset(object_info)

    def inputs(self, kind: str) -> dict[str, InputSpec]:
        """The inputs of a class by name, required ones first."""
        declared = self._info[kind].get("input", {})
        specs = {}
        for group in ("required", "optional"):
            for name, value in (declared.get(group) or {}).items():
                specs[name] = InputSpec.parse(name, value, required=group == "required")
        return specs

    def outputs(self, kind: str) -> int:
        """How many outputs a class has."""
        return len(self._info[kind].get("output") or ())

    def description(self, kind: str) -> str:
        """The text that a class describes itself with."""
        return str(self._info[kind].get("description") or "")

    @staticmethod
    def missing(kind: str, where: str) -> str:
        """That the server lacks a class, and what to install; `where`: the nodes that need it."""
        if brought := _BROUGHT_BY.get(kind):
            return f"the server has no node class '{kind}' ({where}); it comes with {brought}"
        return (
            f"the server has no node class '{kind}' ({where}): install the custom node that has it (ComfyUI-Manager: "
            f"Install Missing Custom Nodes, or search for '{kind}'), then restart ComfyUI"
        )
