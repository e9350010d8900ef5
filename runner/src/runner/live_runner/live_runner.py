"""LiveRunner: one pipeline offered by the live-runner contract: its sessions, its registration, its health."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..time_limit import time_limit
from .client import OrchestratorClient
from .pipeline import StreamingPipeline
from .registration import READY, Pauses, Registration
from .sessions import POLL_S, Sessions
from .settings import LiveRunnerSettings

if TYPE_CHECKING:
    import aiohttp

    from ..live.trickle.address import StreamAddresses

logger = logging.getLogger(__name__)

HEALTH_LIMIT_S = 2.5  # an orchestrator waits 3
CLOSE_LIMIT_S = 5.0  # for sessions; the orchestrator gives up on a container after some 10


class LiveRunner:
    """Begins with `start`, ends with `close`, both in the app's lifespan. Does nothing unless it is turned on.

    Attributes:
        settings: how it is offered.
        registration: None without an orchestrator to register with, and before `start`.
    """

    def __init__(
        self,
        pipeline: StreamingPipeline,
        settings: LiveRunnerSettings,
        addresses: StreamAddresses,
        *,
        poll_s: float = POLL_S,
        pauses: Pauses | None = None,
    ) -> None:
        """`addresses`: where callbacks of sessions may go to."""
        self.settings = settings
        self.registration: Registration | None = None
        self._pipeline = pipeline
        self._addresses = addresses
        self._poll_s = poll_s
        self._pauses = pauses
        self._http: list[aiohttp.ClientSession] = []
        self._sessions: Sessions | None = None
        self._closing = False

    @property
    def busy(self) -> bool:
        """Whether a session has the pipeline, or is about to."""
        return self._sessions is not None and bool(self._sessions.ids())

    @property
    def sessions(self) -> Sessions:
        """The sessions; `start` comes first."""
        assert self._sessions is not None, "start() comes first"
        return self._sessions

    async def start(self) -> None:
        """Make ready for sessions, and begin to register if an orchestrator is named. Returns at once."""
        if not self.settings.enabled or self._sessions is not None:
            return
        from ..live.trickle.address import StreamAddresses
        from ..live.trickle.session import trickle_session

        verify = self.settings.verify_tls
        callbacks = trickle_session(self._addresses, verify_tls=verify)
        self._http.append(callbacks)
        self._sessions = Sessions(
            self._pipeline,
            OrchestratorClient(callbacks),
            self._addresses,
            known_hosts=self._known_hosts,
            poll_s=self._poll_s,
        )
        if not self.settings.dynamic:
            return
        # The orchestrator was named by whoever runs this; it needs no permission.
        named = trickle_session(StreamAddresses(), verify_tls=verify)
        self._http.append(named)
        self.registration = Registration(self.settings, named, self._sessions, self.status, pauses=self._pauses)
        self.registration.start()

    async def close(self) -> None:
        """End sessions, unregister, leave nothing behind: within `CLOSE_LIMIT_S` and `UNREGISTER_LIMIT_S`."""
        self._closing = True
        if self._sessions is not None:
            await self._sessions.close(CLOSE_LIMIT_S)
        if self.registration is not None:
            await self.registration.close()
        while self._http:
            await self._http.pop().close()

    async def health(self) -> str:
        """The pipeline's health, ``TIMEOUT`` if it does not tell within `HEALTH_LIMIT_S`, ``ERROR`` if it cannot."""
        try:
            async with time_limit(HEALTH_LIMIT_S):
                return await self._pipeline.health()
        except asyncio.TimeoutError:
            return "TIMEOUT"
        except Exception as error:
            logger.warning("the pipeline does not tell its health: %s", error or type(error).__name__)
            return "ERROR"

    def serves(self, health: str) -> bool:
        """Whether with this health of the pipeline a session is, or could be, served."""
        if self._sessions is None or self._closing:
            return False
        # A pipeline that loads again in mid-stream comes back: an orchestrator told otherwise ends the stream.
        return health in ("OK", "IDLE") or (health == "LOADING" and self._sessions.running)

    async def status(self) -> str:
        """The word for the orchestrator: ``ready``, or the health in lower case."""
        if self._closing:
            return "closing"
        health = await self.health()
        return READY if self.serves(health) else health.lower()

    def _known_hosts(self) -> frozenset[str]:
        return frozenset() if self.registration is None else self.registration.hosts
