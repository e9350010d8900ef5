"""Containers that can be written. A module of its own: the studio checks the name of an output without loading av."""

from __future__ import annotations

from typing import NamedTuple


class Codecs(NamedTuple):
    """Names of FFmpeg's encoders."""

    video: str
    audio: str


_H264_AAC = Codecs("libx264", "aac")
CODECS = {
    ".mp4": _H264_AAC,
    ".m4v": _H264_AAC,
    ".mov": _H264_AAC,
    ".mkv": Codecs("libx264", "libopus"),
    ".webm": Codecs("libvpx-vp9", "libopus"),
    ".ts": _H264_AAC,
    ".flv": _H264_AAC,
}
