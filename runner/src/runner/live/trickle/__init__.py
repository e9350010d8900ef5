"""Frames, the media path, and trickle itself. Importing this package loads neither torch nor av nor aiohttp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .frame import (
    DEFAULT_HEIGHT,
    DEFAULT_WIDTH,
    AudioFrame,
    AudioOutput,
    InputFrame,
    OutputFrame,
    RawFrame,
    SideData,
    VideoFrame,
    VideoOutput,
)

if TYPE_CHECKING:
    from .publisher import TricklePublisher
    from .subscriber import TrickleSubscriber

__all__ = [
    "DEFAULT_HEIGHT",
    "DEFAULT_WIDTH",
    "AudioFrame",
    "AudioOutput",
    "InputFrame",
    "OutputFrame",
    "RawFrame",
    "SideData",
    "TricklePublisher",
    "TrickleSubscriber",
    "VideoFrame",
    "VideoOutput",
]

_LATE = {"TricklePublisher": "publisher", "TrickleSubscriber": "subscriber"}  # these load aiohttp


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LATE[name]}", __name__), name)
