"""Which codecs there really are on this machine: NVIDIA's decoder and encoder where they work, software elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, cast, get_args

from ...errors import SinkError, SourceError, StreamError

if TYPE_CHECKING:
    import av.codec.hwaccel
    import av.error
    from av.video.codeccontext import VideoCodecContext

Hardware = Literal["auto", "hardware", "software"]
"""``auto`` takes hardware that works, ``hardware`` insists on it, ``software`` leaves it alone."""

HARDWARE_VARIABLE = "TRICKLE_HARDWARE"
SOFTWARE_ENCODER, HARDWARE_ENCODER = "libx264", "h264_nvenc"
_DEVICE = "cuda"
_PROBE_SIDE = 256  # pixels; NVENC refuses much smaller pictures
# Two streams that begin at once would otherwise both open the device to look at it.
_probing = threading.Lock()


def hardware_setting(environ: Mapping[str, str] = os.environ) -> Hardware:
    """What the environment asks for, ``auto`` if nothing.

    Raises:
        StreamError: it asks for something else.
    """
    wanted = environ.get(HARDWARE_VARIABLE, "").strip().lower() or "auto"
    if wanted not in get_args(Hardware):
        raise StreamError(f"{HARDWARE_VARIABLE} is {wanted!r}; it can be {', '.join(get_args(Hardware))}")
    return cast(Hardware, wanted)


def choose_encoder(wanted: Hardware) -> str:
    """FFmpeg's name of the H.264 encoder to use. The first call opens the device, which takes a moment.

    Raises:
        SinkError: hardware is insisted on, and there is none that works.
    """
    if wanted == "software":
        return SOFTWARE_ENCODER
    with _probing:
        trouble = _encoder_trouble()
    if not trouble:
        return HARDWARE_ENCODER
    if wanted == "hardware":
        raise SinkError(f"Encoding in hardware ({HARDWARE_ENCODER}) does not work here: {trouble}. {_way_out()}")
    return SOFTWARE_ENCODER


def choose_device(wanted: Hardware) -> av.codec.hwaccel.HWAccel | None:
    """What `av.open` needs to decode in hardware, None to decode in software.

    Tracks that the device cannot decode are decoded in software all the same.

    Raises:
        SourceError: hardware is insisted on, and there is none that works.
    """
    if wanted == "software":
        return None
    with _probing:
        trouble = _decoder_trouble()
    if not trouble:
        from av.codec.hwaccel import HWAccel

        return HWAccel(_DEVICE)
    if wanted == "hardware":
        raise SourceError(f"Decoding in hardware ({_DEVICE}) does not work here: {trouble}. {_way_out()}")
    return None


def encoder_options(encoder: str) -> dict[str, str]:
    """How that encoder gives each picture out at once, and key frames only as IDR pictures (contract 2.2)."""
    if encoder == HARDWARE_ENCODER:
        return {
            "preset": "p2",
            "tune": "ull",
            "zerolatency": "1",
            "delay": "0",
            "bf": "0",
            "forced-idr": "1",
            "aud": "1",
        }
    return {"preset": "superfast", "tune": "zerolatency", "bf": "0", "forced-idr": "1", "aud": "1"}


def _way_out() -> str:
    return f"Set {HARDWARE_VARIABLE}=auto to use software where there is no hardware"


@lru_cache(maxsize=1)
def _encoder_trouble() -> str:
    """Why NVENC cannot be used, empty if it can: one small picture was encoded."""
    import av
    import av.error

    if HARDWARE_ENCODER not in av.codecs_available:
        return f"this build of FFmpeg has no {HARDWARE_ENCODER}"
    try:
        codec = cast("VideoCodecContext", av.CodecContext.create(HARDWARE_ENCODER, "w"))
        codec.width = codec.height = _PROBE_SIDE
        codec.pix_fmt, codec.framerate = "yuv420p", Fraction(30)
        codec.options = encoder_options(HARDWARE_ENCODER)
        packets = codec.encode(av.VideoFrame(_PROBE_SIDE, _PROBE_SIDE, "yuv420p")) + codec.encode(None)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        return _reason(error)
    return "" if packets else "it gave nothing back"


@lru_cache(maxsize=1)
def _decoder_trouble() -> str:
    """Why the device cannot be used, empty if it can: it was opened for H.264."""
    import av
    import av.error
    from av.codec.hwaccel import HWAccel, hwdevices_available

    if _DEVICE not in hwdevices_available():
        return f"this build of FFmpeg has no {_DEVICE}"
    try:
        HWAccel(_DEVICE).create(av.Codec("h264", "r"))
    except (av.error.FFmpegError, OSError, ValueError, NotImplementedError) as error:
        return _reason(error)
    return ""


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
