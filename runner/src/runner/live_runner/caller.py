"""SessionCaller: who calls a session's route, from the headers that an orchestrator's proxy adds."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import RunnerError

ID_HEADER = "Livepeer-Session-Id"
TOKEN_HEADER = "Livepeer-Session-Token"
CONTROL_HEADER = "Livepeer-Session-Control"
ROUTE_HEADER = "Livepeer-Runner-Route"
_SESSION_ID = re.compile(r"[A-Za-z0-9_.:~-]{1,128}")  # it gets into logs
_VALUE_LIMIT = 2048


class SessionError(RunnerError):
    """A session's request that is refused.

    Attributes:
        http_status: what it is answered with.
    """

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """One request's session.

    Attributes:
        token: authorises the callbacks of this session.
        control_url: base URL of those callbacks.
        route: runner id or label by which the orchestrator found this runner.
    """

    session_id: str
    token: str = field(repr=False)
    control_url: str = field(repr=False)
    route: str = ""

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> SessionCaller:
        """The session of a request.

        Raises:
            SessionError: headers are missing or make no sense; such a request did not come through an orchestrator.
        """
        values = {name: headers.get(name, "").strip() for name in (ID_HEADER, TOKEN_HEADER, CONTROL_HEADER)}
        missing = [name for name, value in values.items() if not value]
        if missing:
            raise SessionError(
                400,
                f"without {' and '.join(missing)}; these headers are added by the orchestrator: "
                "send the request to the session's app_url",
            )
        if any(len(value) > _VALUE_LIMIT for value in values.values()):
            raise SessionError(400, f"the session's headers are longer than {_VALUE_LIMIT:,} characters")
        if not _SESSION_ID.fullmatch(values[ID_HEADER]):
            raise SessionError(400, f"{ID_HEADER} has characters that a session id cannot have")
        route = headers.get(ROUTE_HEADER, "").strip()[:_VALUE_LIMIT]
        return cls(values[ID_HEADER], values[TOKEN_HEADER], values[CONTROL_HEADER], route)

    def same_secret(self, other: SessionCaller) -> bool:
        """Whether both know the same token; takes as long when they differ."""
        return hmac.compare_digest(self.token.encode(), other.token.encode())
