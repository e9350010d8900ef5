"""NetworkSettings: what the environment says of streams of the network. The host's flags begin with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ..errors import StreamError
from .trickle.address import ALLOW_ENV, VERIFY_TLS_ENV, StreamAddresses
from .trickle.codecs import Hardware, hardware_setting

NetworkProtocol = Literal["trickle", "local"]
MAX_FPS = 24.0  # the network's own cap

PROTOCOL_ENV, MAX_FPS_ENV = "STREAM_PROTOCOL", "MAX_FPS"


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How streams of the network are handled. A variable that is empty counts as not set.

    Attributes:
        protocol: ``local``: the URLs of a stream are files, cameras or addresses of this machine.
        max_fps: pictures above this rate are left out, 0 takes all.
        hardware: whether the GPU decodes and encodes.
        allow: hosts and networks that streams may be on, see `StreamAddresses`.
        verify_tls: refuse certificates that nobody known has signed.
    """

    protocol: NetworkProtocol = "trickle"
    max_fps: float = MAX_FPS
    hardware: Hardware = "auto"
    allow: str = ""
    verify_tls: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> NetworkSettings:
        """What the environment says.

        Raises:
            StreamError: a variable has a value that it cannot have.
        """
        protocol = environ.get(PROTOCOL_ENV) or "trickle"
        if protocol not in get_args(NetworkProtocol):
            raise StreamError(f"{PROTOCOL_ENV} is '{protocol}'; it can be {' or '.join(get_args(NetworkProtocol))}")
        allow = environ.get(ALLOW_ENV, "")
        StreamAddresses(allow)
        return cls(
            protocol=cast(NetworkProtocol, protocol),
            max_fps=frame_rate(environ.get(MAX_FPS_ENV) or str(MAX_FPS), MAX_FPS_ENV),
            hardware=hardware_setting(environ),
            allow=allow,
            verify_tls=environ.get(VERIFY_TLS_ENV) == "1",
        )

    @property
    def addresses(self) -> StreamAddresses | None:
        """The rule for the URLs of a stream; None where they are no URLs of a network."""
        return StreamAddresses(self.allow) if self.protocol == "trickle" else None


def frame_rate(text: str, name: str) -> float:
    """A cap on the frame rate, as it is written.

    Raises:
        StreamError: it is none; `name` says where it came from.
    """
    try:
        fps = float(text)
    except ValueError:
        fps = -1.0
    if fps < 0 or not math.isfinite(fps):
        raise StreamError(f"{name} is '{text}'; it must be pictures per second, or 0 for all of them")
    return fps
