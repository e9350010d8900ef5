"""What the environment says of streams of the network."""

from __future__ import annotations

import pytest

from runner.errors import StreamError
from runner.live.network_settings import NetworkSettings


def test_nothing_said_is_what_the_network_expects() -> None:
    for environ in ({}, dict.fromkeys(("MAX_FPS", "STREAM_PROTOCOL", "TRICKLE_HARDWARE", "TRICKLE_ALLOW"), "")):
        said = NetworkSettings.from_env(environ)
        assert (said.protocol, said.max_fps, said.hardware, said.verify_tls) == ("trickle", 24.0, "auto", False)


def test_what_is_said_counts() -> None:
    environ = {"MAX_FPS": "0", "STREAM_PROTOCOL": "local", "TRICKLE_HARDWARE": "software", "TRICKLE_VERIFY_TLS": "1"}
    said = NetworkSettings.from_env(environ)
    assert (said.protocol, said.max_fps, said.hardware, said.verify_tls) == ("local", 0.0, "software", True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_FPS", "abc"),
        ("MAX_FPS", "-3"),
        ("MAX_FPS", "inf"),
        ("STREAM_PROTOCOL", "zeromq"),
        ("TRICKLE_HARDWARE", "gpu"),
        ("TRICKLE_ALLOW", "no host!"),
    ],
)
def test_what_cannot_be_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(StreamError, match=f"^{name}.*{value}"):
        NetworkSettings.from_env({name: value})
