"""Session: one client's use of the pipeline, from the channels that are opened for it to their end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, TypeVar

from ..errors import AddressError, ParamsError, RunnerError, StreamError, TrickleError
from ..time_limit import time_limit
from .callbacks import Channel, SessionCallbacks
from .caller import SessionCaller, SessionError
from .client import OrchestratorError
from .pipeline import StreamingPipeline

logger = logging.getLogger(__name__)

CHANNELS = {"in": "video/mp2t", "out": "video/mp2t", "control": "application/json", "events": "application/json"}
START_LIMIT_S = 45.0  # the pipeline has limits of its own, below these
UPDATE_LIMIT_S = 25.0
STOP_LIMIT_S = 12.0
RELEASE_LEAD_S = 1.0  # how long a stream that ends waits for the orchestrator to have released its session
STATUS_LIMIT_S = 3.0
STATUS_FAILURES = 10  # in a row: nobody answers for the stream any more
BEGIN_LIMIT_S = 5.0  # a stream that the pipeline has not told of by then has not begun, or is over already

_Done = TypeVar("_Done")


class SessionState(str, Enum):
    """STARTING: channels are opened and the stream is begun; RUNNING; ENDING, to the very end."""

    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"


class Session:
    """One session.

    Attributes:
        state: see `SessionState`.
        caller: who has started it; its token authorises later requests.
        callbacks: its callbacks, which outlive it until the orchestrator has released it.
    """

    def __init__(
        self,
        caller: SessionCaller,
        pipeline: StreamingPipeline,
        callbacks: SessionCallbacks,
        *,
        poll_s: float,
        vacated: Callable[[Session], None],
        ended: Callable[[Session, bool], None],
    ) -> None:
        """`poll_s`: how often the pipeline is asked for its state. `vacated`: called once, when the pipeline is
        free again. `ended`: called once at the very end, with whether the orchestrator knows of it.
        """
        self.state = SessionState.STARTING
        self.caller = caller
        self.callbacks = callbacks
        self._pipeline = pipeline
        self._poll_s = poll_s
        self._vacated, self._ended = vacated, ended
        self._channels: dict[str, Channel] = {}
        self._free = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        """The orchestrator's id of it."""
        return self.caller.session_id

    @property
    def ending(self) -> bool:
        """Whether `end` was called; a start that has failed ends without it."""
        return self._ending is not None

    async def start(self, params: dict[str, Any]) -> dict[str, Any]:
        """Begin it; a second call waits for the first one. The answer for the client, with the public URLs.

        Raises:
            SessionError: it could not be begun; everything is released again.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start(params), name=f"start {self.id}")
        await asyncio.wait([self._starting])  # a caller that goes away leaves the start alone
        if self._starting.cancelled():
            raise SessionError(409, f"session {self.id} was ended while it started")
        self._starting.result()
        urls = {name: channel.url for name, channel in self._channels.items() if name in CHANNELS}
        return {"session": self.id, **urls}

    async def update(self, params: dict[str, Any]) -> dict[str, Any]:
        """Replace the stream's parameters; the ones in force.

        Raises:
            SessionError, ParamsError: they are refused, or the session is not there any more.
        """
        if self._starting is not None:
            await asyncio.wait([self._starting])
        if self.state is not SessionState.RUNNING:
            raise SessionError(409, f"session {self.id} is {self.state.value}")
        return await _limited(self._pipeline.update_params(params), UPDATE_LIMIT_S, "update the parameters")

    def end(self, reason: str, *, tell: bool) -> None:
        """Begin to end it, for `reason`; `tell`: the orchestrator does not know yet. Safe to call twice."""
        if self._ending is None:
            logger.info("session %s ends: %s", self.id, reason)
            self.state = SessionState.ENDING
            self._ending = asyncio.create_task(self._end(tell), name=f"end {self.id}")

    async def wait_free(self) -> None:
        """Until the pipeline is free again."""
        await self._free.wait()

    async def finish(self, limit_s: float) -> None:
        """Until the orchestrator was told; after the limit that is given up."""
        if self._ending is not None:
            _, late = await asyncio.wait([self._ending], timeout=limit_s)
            if late:
                self._ending.cancel()
                await asyncio.wait(late)

    # ---- beginning ---------------------------------------------------------------------------

    async def _start(self, params: dict[str, Any]) -> None:
        begun = False
        try:
            self._channels = await self.callbacks.open_channels(CHANNELS)
            begun = True
            await _limited(self._stream(params), START_LIMIT_S, "start the stream")
        except Exception as error:
            self.state = SessionState.ENDING
            logger.warning("session %s cannot start: %s", self.id, error)
            if begun:
                await self._stop_stream()
            await self.callbacks.delete_channels(list(CHANNELS))
            self._vacate()
            raise _refusal(error) from error
        self.state = SessionState.RUNNING
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.id}")
        logger.info("session %s runs", self.id)

    async def _stream(self, params: dict[str, Any]) -> None:
        urls = {name: self._channels[name].internal_url for name in CHANNELS}
        await self._pipeline.start_stream(
            urls["in"],
            urls["out"],
            urls["control"],
            urls["events"],
            params=params,
            request_id=self.id,
            manifest_id=self.id,
            stream_id=self.id,
        )

    # ---- its end -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Until the stream is over by itself."""
        self.end(await self._stream_over(), tell=True)

    async def _stream_over(self) -> str:
        ran, failures, begin_by = False, 0, time.monotonic() + BEGIN_LIMIT_S
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                async with time_limit(STATUS_LIMIT_S):
                    state = (await self._pipeline.status()).get("state")
            except Exception as error:  # whatever it is, the pipeline may be back in a moment
                failures += 1
                if failures >= STATUS_FAILURES:
                    return f"the pipeline does not answer ({type(error).__name__})"
                continue
            failures = 0
            if state == "ERROR":
                return "the pipeline has failed"
            if state != "OFFLINE":
                ran = True
            elif ran:
                return "the stream is over"
            elif time.monotonic() > begin_by:
                return "the stream was over at once"

    async def _end(self, tell: bool) -> None:
        tasks = [task for task in (self._starting, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        told = await self._release() if tell else await self._stop()
        self._ended(self, told)

    async def _release(self) -> bool:
        """Stop the stream and have the session released; whether it is.

        First the release, which closes the channels: a client that sees its output end can reserve again at once.
        An orchestrator that does not answer holds up neither the pipeline nor the end of the channels.
        """
        releasing = asyncio.create_task(self.callbacks.stop(), name=f"release {self.id}")
        try:
            await asyncio.wait([releasing], timeout=RELEASE_LEAD_S)
            await self._stop()
            told = await releasing
        finally:
            releasing.cancel()
        if not told:
            await self.callbacks.delete_channels(list(CHANNELS))
        return told

    async def _stop(self) -> bool:
        await self._stop_stream()
        self._vacate()
        return True

    async def _stop_stream(self) -> None:
        try:
            async with time_limit(STOP_LIMIT_S):
                await self._pipeline.stop_stream()
        except Exception as error:  # it ends all the same; the pipeline's own guardian sees to the rest
            logger.warning("session %s: the stream does not stop in order: %s", self.id, error or type(error).__name__)

    def _vacate(self) -> None:
        if not self._free.is_set():
            self._free.set()
            self._vacated(self)


async def _limited(work: Awaitable[_Done], limit_s: float, what: str) -> _Done:
    try:
        async with time_limit(limit_s):
            return await work
    except asyncio.TimeoutError:
        raise SessionError(504, f"{what}: the pipeline has not done it within {limit_s:g} s") from None


def _refusal(error: Exception) -> RunnerError:
    """What the client is told of a start that failed."""
    if isinstance(error, (ParamsError, SessionError)):
        return error
    if isinstance(error, (OrchestratorError, AddressError, TrickleError)):
        return SessionError(502, str(error))
    if isinstance(error, StreamError):
        return SessionError(400, str(error))
    if isinstance(error, RunnerError):
        return SessionError(503, str(error))
    return SessionError(500, f"the pipeline could not start the stream ({type(error).__name__}); its log says more")
