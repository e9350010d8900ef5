"""OrchestratorClient: JSON calls to an orchestrator, each with limits, and errors that hold no secret."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from ..errors import AddressError, RunnerError
from ..time_limit import time_limit

if TYPE_CHECKING:
    import aiohttp

ANSWER_LIMIT_BYTES = 1 << 20
REASON_LIMIT = 200  # characters of an orchestrator's reason that are passed on
CALL_LIMIT_S = 5.0
_FIRST_PAUSE_S = 0.2


class OrchestratorError(RunnerError):
    """A call to the orchestrator has failed.

    Attributes:
        status: its HTTP answer; None: there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether it may help to try again."""
        return self.status is None or self.status >= 500


class OrchestratorClient:
    """Calls through one HTTP session; whoever made the session closes it."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def call(
        self,
        what: str,
        method: str,
        url: str,
        *,
        headers: dict[str, str],
        body: dict[str, Any] | None = None,
        limit_s: float = CALL_LIMIT_S,
        tries: int = 1,
    ) -> Any:
        """The JSON of the answer, None if it has none. `what` is said in errors, `headers` may hold secrets.

        Raises:
            OrchestratorError: no answer within `limit_s`, or not a good one, `tries` times.
        """
        for attempt in range(1, tries + 1):
            try:
                async with time_limit(limit_s):
                    return await self._once(what, method, url, headers, body)
            except asyncio.TimeoutError:
                failure = OrchestratorError(f"{what}: no answer from the orchestrator within {limit_s:g} s")
            except OrchestratorError as error:
                failure = error
            if not failure.passing or attempt == tries:
                raise failure
            await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("tries is at least 1")

    async def _once(
        self, what: str, method: str, url: str, headers: dict[str, str], body: dict[str, Any] | None
    ) -> Any:
        import aiohttp

        try:
            # A redirect would carry the secrets to wherever it points.
            async with self._http.request(method, url, headers=headers, json=body, allow_redirects=False) as answer:
                data = await _read(answer)
        except AddressError as error:
            raise OrchestratorError(f"{what}: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise OrchestratorError(f"{what}: {_reason(error)}") from None  # its text may hold the URL
        if answer.status >= 300:
            reason = _told(data, headers)
            raise OrchestratorError(
                f"{what}: the orchestrator answered {answer.status}{': ' * bool(reason)}{reason}", answer.status
            )
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except ValueError:
            raise OrchestratorError(f"{what}: the orchestrator's answer is not JSON", answer.status) from None


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(32 * 1024):
        data += chunk
        if len(data) > ANSWER_LIMIT_BYTES:
            raise ValueError("the answer is too long")
    return bytes(data)


def _reason(error: Exception) -> str:
    """Why there is no answer, in words, without the URL."""
    import aiohttp

    from ..live.trickle.session import cause

    if isinstance(error, aiohttp.ClientSSLError):
        return (
            "the orchestrator's TLS certificate is not trusted; name its authority in SSL_CERT_FILE, or, for a "
            "self-signed one in a network of your own, set LIVE_RUNNER_VERIFY_TLS=0"
        )
    return f"the orchestrator cannot be reached ({cause(error)})"


def _told(data: bytes, headers: dict[str, str]) -> str:
    """The reason in an answer, one short line, without what we sent as secrets."""
    text = " ".join(data[: 4 * REASON_LIMIT].decode(errors="replace").split())
    for secret in headers.values():
        text = text.replace(secret, "***") if secret else text
    return text[:REASON_LIMIT]
