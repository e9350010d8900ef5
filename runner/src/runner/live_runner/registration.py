"""Registration: keeps this runner registered with an orchestrator by heartbeats, and reads what that tells back.

Source: reference "live runner", dynamic registration.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit

from ..live.trickle.address import shown
from ..time_limit import time_limit
from .client import OrchestratorClient, OrchestratorError
from .durations import parse_duration
from .gpu import first_gpu
from .o2r import OrchestratorMessages
from .settings import LiveRunnerSettings

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

INTERVAL_S, TTL_S = 5.0, 20.0  # until the orchestrator has named its own
SHORTEST_INTERVAL_S = 0.1
LOOK_S = 0.5  # how often a runner that is not ready looks whether it is
UNREGISTER_LIMIT_S = 3.0
READY = "ready"


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait after a heartbeat that has failed.

    Attributes:
        first_s, longest_s: the orchestrator is away: the pause doubles from one to the other.
        refused_s: it has refused, which only a person can change.
    """

    first_s: float = 0.5
    longest_s: float = 15.0
    refused_s: float = 30.0


class SessionHolder(Protocol):
    """Who serves the sessions that the orchestrator tells of."""

    def ids(self) -> frozenset[str]:
        """Sessions that are served."""

    def released(self, session_id: str) -> None:
        """The orchestrator has released one."""

    def reconcile(self, told: frozenset[str], listed: frozenset[str]) -> None:
        """`told` were served when the orchestrator was asked, `listed` are what it has."""


class Registration:
    """One registration, from `start` to `close`.

    Attributes:
        runner_id: given by the orchestrator, empty before.
        registered: whether the orchestrator knows this runner, as far as can be said.
        problem: why it does not, empty while it does.
    """

    def __init__(
        self,
        settings: LiveRunnerSettings,
        http: aiohttp.ClientSession,
        sessions: SessionHolder,
        status: Callable[[], Awaitable[str]],
        *,
        pauses: Pauses | None = None,
    ) -> None:
        """`status`: ``ready`` while a session could be served, else a word that says why not."""
        self.runner_id = ""
        self.registered = False
        self.problem = "not registered yet"
        self._settings = settings
        self._http = http
        self._client = OrchestratorClient(http)
        self._base = settings.orchestrator.rstrip("/")
        self._sessions, self._status = sessions, status
        self._pauses = pauses or Pauses()
        self._secret = ""  # of the heartbeats, once registered
        self._hosts = {(urlsplit(self._base).hostname or "").lower()}
        self._interval_s, self._ttl_s = INTERVAL_S, TTL_S
        self._last_good = 0.0
        self._failures = 0
        self._told_status = ""
        self._wanted = asyncio.Event()  # a heartbeat, before it is due
        self._gpu: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._messages: asyncio.Task[None] | None = None

    @property
    def hosts(self) -> frozenset[str]:
        """Host names of the orchestrator: as it was configured, and as it calls itself."""
        return frozenset(self._hosts)

    def start(self) -> None:
        """Begin to register, in the background: an orchestrator that is away keeps nobody waiting."""
        self._task = asyncio.create_task(self._run(), name="live-runner heartbeats")

    async def close(self) -> None:
        """Unregister, within `UNREGISTER_LIMIT_S`. Safe to call twice."""
        for task in filter(None, (self._task, self._messages)):
            task.cancel()
            await asyncio.wait([task])
        self._task = self._messages = None
        secret, self._secret = self._secret, ""
        if not secret:
            return
        url = f"{self._base}/runners/{quote(self.runner_id, safe='')}/unregister"
        try:
            headers = {"Authorization": secret}
            await self._client.call("unregister", "POST", url, headers=headers, limit_s=UNREGISTER_LIMIT_S)
            logger.info("unregistered from %s", shown(self._base))
        except OrchestratorError as error:
            if error.status not in (401, 404):  # it has forgotten us already
                logger.warning("%s; the orchestrator forgets this runner in %g s", error, self._ttl_s)
        self.registered, self.problem = False, "closed"

    # ---- heartbeats --------------------------------------------------------------------------

    async def _run(self) -> None:
        self._gpu = await asyncio.to_thread(_gpu)
        while True:
            try:
                await self._beat()
            except OrchestratorError as error:
                pause = self._after(error)
            except Exception:  # heartbeats must not end by a mistake of ours
                logger.exception("a heartbeat has failed")
                pause = self._pauses.longest_s
            else:
                pause = self._interval_s
            await self._pause(pause)

    async def _pause(self, pause_s: float) -> None:
        """Until the next heartbeat is due: at once when one is wanted, or this runner has become ready.

        Other changes of the status wait: an orchestrator takes no callbacks of a runner that is not ready, and a
        session that ends with the change is to be released first.
        """
        due = time.monotonic() + pause_s
        while not self._wanted.is_set() and (left_s := due - time.monotonic()) > 0:
            with contextlib.suppress(asyncio.TimeoutError):
                async with time_limit(min(left_s, LOOK_S)):
                    await self._wanted.wait()
            if self.registered and self._told_status != READY and await self._status() == READY:
                break
        self._wanted.clear()

    async def _beat(self) -> None:
        told = self._sessions.ids()
        body = await self._body(told)
        answer = await self._client.call(
            "heartbeat" if self._secret else "register",
            "POST",
            f"{self._base}/runners/heartbeat",
            headers={"Authorization": self._secret or self._settings.secret},
            body=body,
        )
        self._learn(answer)
        listed = answer.get("session_ids") or []
        self._sessions.reconcile(told, frozenset(item for item in listed if isinstance(item, str)))

    async def _body(self, told: frozenset[str]) -> dict[str, Any]:
        self._told_status = await self._status()
        body = self._settings.offer() | {"status": self._told_status, "session_ids": sorted(told)}
        if self.runner_id:
            body["runner_id"] = self.runner_id
        if self._gpu:
            body["gpu"] = self._gpu
        return body

    def _learn(self, answer: object) -> None:
        if not isinstance(answer, Mapping):
            raise OrchestratorError("register: the orchestrator's answer is no JSON object")
        first = not self._secret
        runner_id, secret = answer.get("runner_id"), answer.get("heartbeat_secret")
        if first and not (isinstance(runner_id, str) and runner_id and isinstance(secret, str) and secret):
            raise OrchestratorError("register: the orchestrator gave no runner_id or no heartbeat_secret")
        if isinstance(runner_id, str) and runner_id:
            self.runner_id = runner_id
        if isinstance(secret, str) and secret:
            self._secret = secret
        self._ttl_s = max(2 * SHORTEST_INTERVAL_S, _duration(answer, "heartbeat_ttl", TTL_S))
        asked = _duration(answer, "heartbeat_interval", INTERVAL_S)
        self._interval_s = max(SHORTEST_INTERVAL_S, min(asked, self._ttl_s / 2))
        host = _host(answer.get("orchestrator"))
        if host:
            self._hosts.add(host)
        self._last_good = time.monotonic()
        self._failures = 0
        self.registered, self.problem = True, ""
        if first:
            logger.info("registered with %s as %s, as %s", shown(self._base), self.runner_id, self._settings.app)
        self._listen(answer.get("o2r"))

    def _listen(self, channel: object) -> None:
        """Read the channel of a first answer; later answers name none."""
        if not isinstance(channel, Mapping):
            return
        url = channel.get("internal_url") or channel.get("url")
        if not isinstance(url, str):
            return
        if self._messages is not None:
            self._messages.cancel()
        messages = OrchestratorMessages(url, self._http, self._session_event, self._wanted.set)
        self._messages = asyncio.create_task(messages.run(), name="live-runner messages")

    def _session_event(self, event: str, session_id: str) -> None:
        logger.info("the orchestrator has %s session %s", event, session_id)
        if event == "released":
            self._sessions.released(session_id)

    # ---- when it fails -----------------------------------------------------------------------

    def _after(self, error: OrchestratorError) -> float:
        """Seconds until the next try."""
        if error.status in (401, 403, 404) and self._secret:
            # 404: it does not know us any more. An orchestrator that has started anew checks every unknown
            # runner against its bootstrap secret, and says 401.
            logger.warning("%s; registering again", error)
            self._forget()
            return 0.0
        if error.status in (400, 401, 403, 404) and self.runner_id:
            self.runner_id = ""  # that id may not be had again yet: take any
            return 0.0
        self._lapse()
        self.problem = str(error)
        if error.status is not None and error.status < 500:
            logger.error("%s%s", error, _advice(error.status))
            return self._pauses.refused_s
        pause: float = min(self._pauses.first_s * 2 ** min(self._failures, 16), self._pauses.longest_s)
        self._failures += 1
        if self._failures == 1 or self._failures % 10 == 0:
            logger.warning("%s; trying on (%d so far)", error, self._failures)
        # A heartbeat that is late costs the registration; and a hundred runners do not come back in step.
        return min(pause, self._interval_s if self.registered else pause) * random.uniform(0.8, 1.0)

    def _lapse(self) -> None:
        """After the time to live the orchestrator has released our sessions, and closed their channels."""
        if self.registered and time.monotonic() - self._last_good > self._ttl_s:
            logger.warning("no heartbeat has come through for %g s: the registration is gone", self._ttl_s)
            self.registered = False
            self._sessions.reconcile(self._sessions.ids(), frozenset())

    def _forget(self) -> None:
        self._secret = ""
        self.registered, self.problem = False, "the orchestrator does not know this runner any more"
        if self._messages is not None:
            self._messages.cancel()
            self._messages = None
        self._sessions.reconcile(self._sessions.ids(), frozenset())


def _gpu() -> dict[str, Any] | None:
    with contextlib.suppress(Exception):  # a driver's trouble is no reason not to register
        return first_gpu()
    return None


def _duration(answer: Mapping[str, Any], name: str, default: float) -> float:
    try:
        return parse_duration(str(answer.get(name) or "")) or default
    except ValueError:
        return default


def _host(url: object) -> str:
    try:
        return (urlsplit(url).hostname or "").lower() if isinstance(url, str) else ""
    except ValueError:
        return ""


def _advice(status: int) -> str:
    if status in (401, 403):
        return "; LIVE_RUNNER_SECRET must be the orchestrator's -orchSecret"
    if status == 404:
        return "; the orchestrator takes no registrations: it needs -useLiveRunners and -orchSecret"
    return ""
