"""StreamingPipeline: what a live runner needs of the pipeline that it serves."""

from __future__ import annotations

from typing import Any, Protocol


class StreamingPipeline(Protocol):
    """One pipeline that serves one stream at a time."""

    @property
    def model_id(self) -> str:
        """Its name on the network."""

    async def start_stream(
        self,
        subscribe_url: str,
        publish_url: str,
        control_url: str = "",
        events_url: str = "",
        params: dict[str, Any] = ...,
        request_id: str = "",
        manifest_id: str = "",
        stream_id: str = "",
    ) -> None:
        """Begin a stream between trickle channels.

        Raises:
            RunnerError: it is refused; the message says why.
        """

    async def update_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replace the parameters of the running stream; the ones in force.

        Raises:
            ParamsError: they are refused.
        """

    async def stop_stream(self) -> None:
        """End the stream. Does nothing if there is none."""

    async def status(self) -> dict[str, Any]:
        """The status object of contract 5.2; ``state`` is always there."""

    async def health(self) -> str:
        """``LOADING``, ``OK``, ``ERROR`` or ``IDLE``."""
