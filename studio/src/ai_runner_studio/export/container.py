"""Container: one container that an orchestrator would have started, from its start to its removal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import EngineError
from .run_record import own_record
from .runtime import ContainerRequest, Runtime

NAME = "ai-runner-studio-verify"
START_LIMIT_S = 180.0  # the orchestrator's own, for "running"
STOP_GRACE_S = 8  # the orchestrator's own, from SIGTERM to SIGKILL
_ENGINE_LIMIT_S = 60.0  # for the engine's own work around that


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended. `stop_s`: from the signal on, the engine's own work included."""

    exit_code: int
    stop_s: float


class Container:
    """A running one, with companions that share its network."""

    def __init__(self, runtime: Runtime, request: ContainerRequest, name: str) -> None:
        self._runtime = runtime
        self._request = request
        self._name = name
        self._companions: list[str] = []

    async def started_at(self) -> float:
        """When it was started, by the engine's clock, in seconds since the epoch.

        Raises:
            EngineError: the engine does not know it.
        """
        return _seconds((await self._state())["StartedAt"])

    async def companion(self, request: ContainerRequest, limit_s: float, codes: tuple[int, ...] = (0,)) -> str:
        """Run another container in this one's network to its end; its standard output.

        Raises:
            EngineError: it fails or takes longer.
        """
        name = f"{self._name}-{len(self._companions) + 1}"
        self._companions.append(name)
        shared = replace(request, name=name, network=f"container:{self._name}")
        command = self._runtime.run_command(shared, detached=False)
        return await self._runtime.call(*command[len(self._runtime.program) :], limit_s=limit_s, codes=codes)

    async def stop(self) -> Ended:
        """Stop it as the orchestrator does: SIGTERM, 8 s, SIGKILL.

        Raises:
            EngineError: the engine cannot.
        """
        began = time.monotonic()
        await self._runtime.call(
            "stop", "--time", str(STOP_GRACE_S), self._name, limit_s=STOP_GRACE_S + _ENGINE_LIMIT_S
        )
        stop_s = time.monotonic() - began
        return Ended(int((await self._state())["ExitCode"]), stop_s)

    async def running(self) -> bool:
        """Whether it still runs."""
        return bool((await self._state())["Running"])

    async def log(self) -> list[str]:
        """What it has written."""
        try:
            return await self._log()
        except EngineError as error:
            return [f"(no log: {error})"]

    async def _log(self) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *self._runtime.program,
            "logs",
            self._name,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,  # where the runner's log is
        )
        out, _ = await process.communicate()
        return out.decode(errors="replace").splitlines()

    async def _state(self) -> dict[str, Any]:
        answer = await self._runtime.call("container", "inspect", self._name)
        return dict(json.loads(answer)[0]["State"])

    async def remove(self) -> None:
        """Remove it and its companions, running or not."""
        for name in [*self._companions, self._name]:
            with contextlib.suppress(EngineError):  # gone already, or never come to be
                await self._runtime.call("rm", "--force", name, limit_s=_ENGINE_LIMIT_S)


@contextlib.asynccontextmanager
async def container(runtime: Runtime, request: ContainerRequest) -> AsyncIterator[Container]:
    """A container that was started; it is removed when this is left, however that happens.

    Raises:
        EngineError: it could not be started.
    """
    made = Container(runtime, request, request.name)
    try:
        command = runtime.run_command(request, detached=True)
        await runtime.call(*command[len(runtime.program) :], limit_s=START_LIMIT_S)
        yield made
    finally:
        await asyncio.shield(made.remove())


def unique_name() -> str:
    """For a container; not the orchestrator's kind of name, whose containers it removes when it starts.

    The part from the record lets the next export remove the container if this one is killed.
    """
    return f"{NAME}-{own_record().token}-{secrets.token_hex(4)}"


def _seconds(text: str) -> float:
    """Of a time as engines tell it: RFC 3339 with nanoseconds, which `fromisoformat` does not read before 3.11."""
    day, _, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0]
    zone = rest[len(digits) :] or "Z"
    whole = datetime.fromisoformat(day.rstrip("Z") + ("+00:00" if zone == "Z" else zone))
    return whole.timestamp() + (float(f"0.{digits}") if digits.isdigit() else 0.0)
