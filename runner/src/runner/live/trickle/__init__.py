"""Frames and the media path. Importing this package loads neither torch nor av nor numpy."""

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

__all__ = [
    "DEFAULT_HEIGHT",
    "DEFAULT_WIDTH",
    "AudioFrame",
    "AudioOutput",
    "InputFrame",
    "OutputFrame",
    "RawFrame",
    "SideData",
    "VideoFrame",
    "VideoOutput",
]
