"""Execution: one prompt on its way through the server, as the messages of the WebSocket tell it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from .errors import ExecutionError, InterruptedExecutionError, OutOfMemoryError

_OUT_OF_MEMORY = re.compile(r"out of memory|OutOfMemory|Allocation on device", re.IGNORECASE)
_LONGEST_MESSAGE = 500  # characters of a node's exception


class Execution:
    """One prompt that the server has taken.

    Attributes:
        prompt_id: its name on the server.
        output_node: id of the node whose pictures are wanted.
        pictures: what that node has sent so far over the WebSocket: PNG or JPEG files.
        done: resolved when the prompt has ended well; an `ExecutionError` or a `ServerError` if not.
    """

    def __init__(self, prompt_id: str, output_node: str) -> None:
        self.prompt_id = prompt_id
        self.output_node = output_node
        self.pictures: list[bytes] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(_looked_at)
        self._node: str | None = None

    def on_event(self, kind: str, data: Mapping[str, Any]) -> None:
        """A message about this prompt."""
        match kind:
            case "executing":
                self._node = data.get("node")
                if self._node is None:  # the server has nothing more to do for it
                    self._succeed()
            case "execution_success":
                self._succeed()
            case "execution_interrupted":
                self.fail(InterruptedExecutionError(f"the prompt was interrupted in ComfyUI at {_node_of(data)}"))
            case "execution_error":
                self.fail(_error_of(data))

    def on_picture(self, picture: bytes) -> None:
        """A picture that came while this prompt was running; previews of samplers come in the same way."""
        if self._node == self.output_node:
            self.pictures.append(picture)

    def fail(self, error: Exception) -> None:
        """End it with an error, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)

    def _succeed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _looked_at(done: asyncio.Future[None]) -> None:
    """Nobody may ever ask a prompt that is given up how it went."""
    if not done.cancelled():
        done.exception()


def _error_of(data: Mapping[str, Any]) -> ExecutionError:
    kind, message = str(data.get("exception_type", "")), str(data.get("exception_message", "")).strip()
    if _OUT_OF_MEMORY.search(kind) or _OUT_OF_MEMORY.search(message):
        return OutOfMemoryError(f"ComfyUI has not enough GPU memory for {_node_of(data)}")
    return ExecutionError(f"{_node_of(data)} failed: {kind.rpartition('.')[2]}: {message[:_LONGEST_MESSAGE]}")


def _node_of(data: Mapping[str, Any]) -> str:
    return f"node {data.get('node_id')} ({data.get('node_type')})"
