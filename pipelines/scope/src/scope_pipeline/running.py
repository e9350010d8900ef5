"""RunningPipeline: one constructed Scope pipeline, driven as Scope's own server drives it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from .form import Filled

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# Given to one call and not to the next: pictures to begin with, scales that the pipeline remembers.
_ONCE = frozenset({"first_frame_image", "images", "last_frame_image", "lora_scales", "vace_ref_images"})


class RunningPipeline:
    """Everything here is called from one worker thread; it may take seconds.

    Attributes:
        filled: the params in force.
        input_size: how many frames the next call takes; None if it makes pictures without any.
    """

    def __init__(self, node: Any, filled: Filled) -> None:
        self.filled = filled
        self._node = node
        self._begin_anew = True  # Scope's `init_cache`: on the first call, and where asked for
        self._once = {name: value for name, value in filled.values.items() if name in _ONCE}
        self._transition = filled.values.get("transition")
        self.input_size = self._ask_input_size()

    @property
    def chunk_size(self) -> int:
        """How many frames are gathered for a call: one where it takes none, as the sign to go on."""
        return self.input_size or 1

    def update(self, filled: Filled) -> None:
        """Take other params from the next call on.

        The cache stays, as in Scope, unless `reset_cache` is set or the mode is another: pipelines notice by
        themselves that the prompts have changed, and go over to them without a cut.
        """
        before, self.filled = self.filled, filled
        self._begin_anew |= filled.params.reset_cache or filled.form.mode != before.form.mode
        changed = {name: value for name, value in filled.values.items() if before.values.get(name) != value}
        self._once |= {name: value for name, value in changed.items() if name in _ONCE}
        self._transition = changed.get("transition", self._transition)
        self.input_size = self._ask_input_size()

    def call(self, frames: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """One step of the pipeline.

        Args:
            frames: float, each (1, H, W, 3), RGB in [0, 1]; `chunk_size` of them.

        Returns:
            (T, H, W, 3), float in [0, 1]; None if it made no picture, or the frames were gathered for other params.
        """
        import torch

        if self._node is None or len(frames) != self.chunk_size:
            return None
        arguments = self._arguments()
        if self.input_size is not None:
            # uint8, as in Scope: plugins hand these to OpenCV.
            arguments["video"] = [(frame * 255.0).round().clamp(0, 255).to(torch.uint8) for frame in frames]
        with torch.no_grad():
            result = self._node(**self._accepted(arguments))
        self._after_call(arguments)
        return _pictures(result)

    def close(self) -> None:
        """Let go of models and threads."""
        shutdown = getattr(self._node, "shutdown", None)
        self._node = None
        if shutdown is not None:
            shutdown()

    def _arguments(self) -> dict[str, Any]:
        filled = self.filled
        arguments = {name: value for name, value in filled.values.items() if name not in _ONCE}
        arguments |= self._once
        arguments.pop("transition", None)
        if self._transition is not None:
            arguments["transition"] = self._transition
        if getattr(filled.form.pipeline.config_class, "supports_prompts", True):
            arguments["prompts"] = filled.params.weighted_prompts()
        if "denoising_steps" in arguments:  # a config class calls it so, a running pipeline this
            arguments.setdefault("denoising_step_list", arguments["denoising_steps"])
        arguments["init_cache"] = self._begin_anew
        return arguments

    def _accepted(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Those arguments that the pipeline's call names; nearly all take any."""
        parameters = signature(type(self._node).__call__).parameters
        if "input" in parameters and "video" in arguments:  # its name before Scope had ports
            arguments = {**arguments, "input": arguments["video"]}
        if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
            return arguments
        return {name: value for name, value in arguments.items() if name in parameters}

    def _after_call(self, arguments: dict[str, Any]) -> None:
        self._begin_anew = False
        self._once.clear()
        if self._transition is not None:
            state = getattr(self._node, "state", None)
            if state is None or not state.get("_transition_active", False):
                self._transition = None
        controller = arguments.get("ctrl_input")
        if controller is not None and hasattr(controller, "mouse"):
            controller.mouse = (0.0, 0.0)  # a way, not a place: it has been gone
        self.input_size = self._ask_input_size()

    def _ask_input_size(self) -> int | None:
        prepare = getattr(self._node, "prepare", None)
        if prepare is None:
            return None
        wanted = dict(self.filled.values)
        if self.filled.form.mode == "video":
            wanted["video"] = True  # Scope's sign that pictures will come
        parameters = signature(prepare).parameters
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
            wanted = {name: value for name, value in wanted.items() if name in parameters}
        requirements = prepare(**wanted)
        return None if requirements is None else max(1, int(requirements.input_size))


def _pictures(result: Any) -> torch.Tensor | None:
    """The pictures in what a pipeline gave back: a dict with `video`, or, from an older one, just the tensor.

    Raises:
        TypeError: it is neither.
    """
    import torch

    video = result.get("video") if isinstance(result, dict) else result
    if video is None:
        return None
    if not isinstance(video, torch.Tensor):
        raise TypeError(f"the Scope pipeline gave back {type(video).__name__}, expected a tensor (T, H, W, 3)")
    if video.ndim == 5:  # (B, C, T, H, W), in [-1, 1] where anything is negative: what preprocessors give
        batch, channels, count, height, width = video.shape
        video = video.permute(0, 2, 3, 4, 1).reshape(batch * count, height, width, channels)
        video = (video + 1) / 2 if bool((video < 0).any()) else video
    if video.ndim != 4 or video.shape[-1] != 3:
        raise TypeError(f"the Scope pipeline gave back a tensor of shape {tuple(video.shape)}, expected (T, H, W, 3)")
    return video.float() / 255 if video.dtype == torch.uint8 else video.float().clamp(0, 1)
