"""Sessions: the one session that this runner serves, and who may start, change and end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from ..errors import AddressError
from .callbacks import SessionCallbacks
from .caller import CONTROL_HEADER, SessionCaller, SessionError
from .client import OrchestratorClient
from .pipeline import StreamingPipeline
from .session import CHANNELS, Session, SessionState

if TYPE_CHECKING:
    from ..live.trickle.address import StreamAddresses

logger = logging.getLogger(__name__)

POLL_S = 1.0
_UNRELEASED_KEPT = 16


class Sessions:
    """At most one at a time. Sessions that the orchestrator still has to release are remembered."""

    def __init__(
        self,
        pipeline: StreamingPipeline,
        client: OrchestratorClient,
        addresses: StreamAddresses,
        *,
        known_hosts: Callable[[], Collection[str]] = tuple,
        poll_s: float = POLL_S,
    ) -> None:
        """`known_hosts`: names that callbacks may go to; none: all that `addresses` allows."""
        self._pipeline = pipeline
        self._client = client
        self._addresses = addresses
        self._known_hosts = known_hosts
        self._poll_s = poll_s
        self._current: Session | None = None
        self._telling: set[Session] = set()  # the pipeline is free of them, the orchestrator not told yet
        self._unreleased: dict[str, SessionCallbacks] = {}
        self._retries: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def running(self) -> bool:
        """Whether a session uses the pipeline."""
        return self._current is not None and self._current.state is SessionState.RUNNING

    async def start(self, caller: SessionCaller, params: dict[str, Any]) -> dict[str, Any]:
        """Start the caller's session; for the one that runs already, the same answer again.

        Raises:
            SessionError: busy with another session, a callback URL that is not allowed, or nothing could be begun.
            ParamsError: the parameters are refused.
        """
        self._check_control(caller)
        while (current := self._current) is not None:
            if current.state is SessionState.ENDING:
                await current.wait_free()
            elif current.id == caller.session_id:
                _check_token(current, caller)
                return await current.start(params)
            elif await current.callbacks.alive(CHANNELS):
                raise SessionError(503, "this runner serves another session; it has room for 1")
            else:  # released, and the news is still on its way
                current.end("the orchestrator has released it", tell=False)
        if self._closing:
            raise SessionError(503, "this runner is shutting down")
        callbacks = SessionCallbacks(self._client, caller.control_url, caller.token)
        self._current = Session(
            caller, self._pipeline, callbacks, poll_s=self._poll_s, vacated=self._vacated, ended=self._ended
        )
        return await self._current.start(params)

    async def update(self, caller: SessionCaller, params: dict[str, Any]) -> dict[str, Any]:
        """Change the parameters of the caller's stream; the ones in force.

        Raises:
            SessionError: no such session. ParamsError: they are refused.
        """
        return await self._of(caller).update(params)

    async def stop(self, caller: SessionCaller) -> None:
        """End the caller's session; returns when the pipeline is free.

        Raises:
            SessionError: no such session.
        """
        session = self._of(caller)
        session.end("the client has stopped it", tell=True)
        await session.wait_free()

    async def close(self, limit_s: float) -> None:
        """End everything; the orchestrator is told as far as that goes within the limit."""
        self._closing = True
        if self._current is not None:
            self._telling.add(self._current)
            self._current.end("this runner shuts down", tell=True)
        await asyncio.gather(*(session.finish(limit_s) for session in list(self._telling)))
        for task in list(self._retries):
            task.cancel()
        await asyncio.gather(*self._retries, return_exceptions=True)

    # ---- what the orchestrator tells ---------------------------------------------------------

    def ids(self) -> frozenset[str]:
        """Sessions that are served."""
        current = self._current
        return frozenset() if current is None or current.state is SessionState.ENDING else frozenset([current.id])

    def released(self, session_id: str) -> None:
        """The orchestrator has released a session: its channels are closed."""
        self._unreleased.pop(session_id, None)
        current = self._current
        if current is not None and current.id == session_id:
            current.end("the orchestrator has released it", tell=False)

    def reconcile(self, told: frozenset[str], listed: frozenset[str]) -> None:
        """Bring both sides together: `told` were served when the orchestrator was asked, `listed` are what it has.

        What it has not any more is ended here. What it still has, though it was ended here, it is asked again to
        release. Others that it has are reserved, and will be started.
        """
        for session_id in told - listed:
            self.released(session_id)
        for session_id, callbacks in list(self._unreleased.items()):
            del self._unreleased[session_id]
            if session_id in listed and not self._closing:
                logger.info("session %s is over, and the orchestrator still has it: asking again", session_id)
                self._retry(session_id, callbacks)

    # ---- inside ------------------------------------------------------------------------------

    def _of(self, caller: SessionCaller) -> Session:
        current = self._current
        if current is None:
            raise SessionError(404, f"no session {caller.session_id} runs here: start it first")
        if current.id != caller.session_id:
            raise SessionError(409, "this runner serves another session")
        _check_token(current, caller)
        return current

    def _check_control(self, caller: SessionCaller) -> None:
        import yarl

        try:
            self._addresses.check(caller.control_url)
        except AddressError as error:
            raise SessionError(403, f"{CONTROL_HEADER} is not allowed: {error}") from error
        url, hosts = yarl.URL(caller.control_url), self._known_hosts()
        if url.raw_query_string:
            raise SessionError(400, f"{CONTROL_HEADER} has a query, which the base of callbacks cannot have")
        host = (url.raw_host or "").lower()
        if hosts and host not in hosts:
            raise SessionError(403, f"{CONTROL_HEADER} names {host}, which is not the orchestrator of this runner")

    def _vacated(self, session: Session) -> None:
        if self._current is session:
            self._current = None
        if session.ending:
            self._telling.add(session)

    def _ended(self, session: Session, told: bool) -> None:
        self._telling.discard(session)
        if not told:
            self._remember(session.id, session.callbacks)

    def _remember(self, session_id: str, callbacks: SessionCallbacks) -> None:
        self._unreleased[session_id] = callbacks
        while len(self._unreleased) > _UNRELEASED_KEPT:
            self._unreleased.pop(next(iter(self._unreleased)))

    def _retry(self, session_id: str, callbacks: SessionCallbacks) -> None:
        async def stop_again() -> None:
            if not await callbacks.stop():
                self._remember(session_id, callbacks)

        task = asyncio.create_task(stop_again(), name=f"stop {session_id} again")
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)


def _check_token(session: Session, caller: SessionCaller) -> None:
    if not session.caller.same_secret(caller):
        raise SessionError(403, f"session {session.id} has another token")
