"""An orchestrator's live-runner side, written from the reference: registry, sessions, reverse proxy, callbacks.

Real sockets on 127.0.0.1; the trickle channels are those of a real relay. What a test wants to see is kept in lists,
what it wants to go wrong is set in attributes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from runner.live.trickle.relay import TrickleRelay

SESSION_HEADERS = ("Livepeer-Runner-Route", "Livepeer-Session-Id", "Livepeer-Session-Token", "Livepeer-Session-Control")


@dataclass
class Session:
    """One reserved session: its token, its channels by name."""

    token: str = field(default_factory=lambda: f"token-{secrets.token_hex(12)}")
    channels: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Runner:
    """One registered runner: what it last said, its sessions, its channel."""

    body: dict[str, Any]
    secret: str = field(default_factory=lambda: f"heartbeat-{secrets.token_hex(12)}")
    sessions: dict[str, Session] = field(default_factory=dict)
    last: float = field(default_factory=time.monotonic)
    o2r: str = ""
    static: bool = False


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Orchestrator:
    """The stand-in.

    Attributes:
        runners: registered ones by id.
        heartbeats: every accepted body, in order; `refused`: statuses of refused ones.
        callbacks: ``METHOD /path`` of every callback, after ``/session/<id>``.
        unregistered: ids that have said good-bye.
        unknown_status: answer to a heartbeat of a runner that is not known: 404 by the reference; 401 is what an
            orchestrator gives that was started anew, and compares with its bootstrap secret.
        failing: callback path -> status that it answers with instead.
        slow_s: callbacks wait that long.
        all_secrets: every secret that was ever given out; none may be logged.
    """

    def __init__(self, secret: str = "bootstrap-secret", interval: str = "150ms", ttl: str = "20s") -> None:
        self.secret, self.interval, self.ttl = secret, interval, ttl
        self.runners: dict[str, Runner] = {}
        self.heartbeats: list[dict[str, Any]] = []
        self.refused: list[int] = []
        self.callbacks: list[str] = []
        self.unregistered: list[str] = []
        self.unknown_status = 404
        self.failing: dict[str, int] = {}
        self.slow_s = 0.0
        self.control_base = ""
        self.relay = TrickleRelay()
        self.all_secrets = [secret]
        self._ssl: ssl.SSLContext | None = None
        self._web: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None
        self._count = 0
        # Reserves the port while nobody listens on it.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port = self._kept.getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._ssl else 'http'}://127.0.0.1:{self.port}"

    async def start(self, certificate: ssl.SSLContext | None = None) -> None:
        self._ssl = certificate
        await self.relay.start()
        self._http = aiohttp.ClientSession(auto_decompress=False)
        await self.come_back()

    async def close(self) -> None:
        await self.go_away()
        assert self._http is not None
        await self._http.close()
        await self.relay.close()
        self._kept.close()

    async def go_away(self) -> None:
        """Nobody listens on the port any more."""
        if self._web is not None:
            await self._web.cleanup()
            self._web = None

    async def come_back(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_post("/runners/heartbeat", self._heartbeat)
        app.router.add_post("/runners/{runner}/unregister", self._unregister)
        app.router.add_get("/discovery", self._discovery)
        app.router.add_post("/apps/{runner}/session", self._reserve)
        app.router.add_post("/apps/{runner}/session/{session}/stop", self._client_stop)
        app.router.add_route("*", "/apps/{runner}/session/{session}/app/{path:.*}", self._proxy)
        app.router.add_post("/runner/{runner}/session/{session}/channels", self._open_channels)
        app.router.add_delete("/runner/{runner}/session/{session}/channels", self._delete_channels)
        app.router.add_post("/runner/{runner}/session/{session}/stop", self._runner_stop)
        self._web = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._web.setup()
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        await web.SockSite(self._web, listening, ssl_context=self._ssl).start()

    def forget(self) -> None:
        """As an orchestrator that was started anew: no runner is known, no channel is left."""
        self.runners.clear()

    async def release(self, runner_id: str, session_id: str) -> None:
        """End a session and its channels, and tell the runner."""
        runner = self.runners[runner_id]
        session = runner.sessions.pop(session_id, None)
        if session is not None:
            for channel in session.channels.values():
                await self._drop_channel(channel)
            await self.tell(runner, {"event": "released", "session": session_id, "timestamp": "2026-01-01T00:00:00Z"})

    async def tell(self, runner: Runner, message: dict[str, Any]) -> None:
        """Write to the runner's o2r channel."""
        assert self._http is not None
        if runner.o2r:
            async with self._http.post(f"{runner.o2r}/-1", data=json.dumps(message).encode()) as answer:
                assert answer.status == 200

    def register_static(self, entry: dict[str, Any]) -> str:
        """What an operator's runners.json does."""
        runner_id = f"runner_static{len(self.runners)}"
        self.runners[runner_id] = Runner({**entry, "status": "ready"}, static=True)
        return runner_id

    # ---- registry ----------------------------------------------------------------------------

    async def _heartbeat(self, request: web.Request) -> web.Response:
        body, auth = await request.json(), request.headers.get("Authorization", "")
        runner_id = body.get("runner_id", "")
        self._expire()
        runner = self.runners.get(runner_id)
        first = runner is None
        if runner is None:
            if auth != self.secret:
                known_secret = auth.startswith("heartbeat-")
                return self._refuse(self.unknown_status if known_secret else 401, "invalid registration authorization")
            self._count += 1
            runner_id = runner_id or f"runner_{self._count}"
            runner = self.runners[runner_id] = Runner(body)
            self.all_secrets.append(runner.secret)
            runner.o2r = self._create(f"{runner_id}-{secrets.token_hex(8)}-o2r", "application/json")["internal_url"]
        elif auth != runner.secret:
            return self._refuse(401, "invalid heartbeat authorization")
        runner.body, runner.last = body, time.monotonic()
        self.heartbeats.append(body)
        answer: dict[str, Any] = {
            "runner_id": runner_id,
            "orchestrator": self.url,
            "heartbeat_interval": self.interval,
            "heartbeat_ttl": self.ttl,
            "session_ids": list(runner.sessions),
        }
        if first:
            answer["heartbeat_secret"] = runner.secret
            answer["o2r"] = {"name": "o2r", "url": runner.o2r, "channel_name": "x", "mime_type": "application/json"}
        return web.json_response(answer)

    def _expire(self) -> None:
        limit_s = float(self.ttl.removesuffix("s"))
        for runner_id, runner in list(self.runners.items()):
            if not runner.static and time.monotonic() - runner.last > limit_s:
                del self.runners[runner_id]

    def _refuse(self, status: int, text: str) -> web.Response:
        self.refused.append(status)
        return web.Response(status=status, text=text)

    async def _unregister(self, request: web.Request) -> web.Response:
        runner = self.runners.get(request.match_info["runner"])
        if runner is None:
            return self._refuse(404, "runner not found")
        if request.headers.get("Authorization") != runner.secret:
            return self._refuse(401, "invalid authorization")
        del self.runners[request.match_info["runner"]]
        self.unregistered.append(request.match_info["runner"])
        return web.Response(status=204)

    async def _discovery(self, _request: web.Request) -> web.Response:
        ready = [
            {"url": f"{self.url}/apps/{runner_id}/session", "app": runner.body["app"]}
            for runner_id, runner in self.runners.items()
            if runner.body.get("status", "") in ("", "ready")
        ]
        return web.json_response([{"address": self.url, "runners": ready}])

    # ---- clients -----------------------------------------------------------------------------

    async def _reserve(self, request: web.Request) -> web.Response:
        runner_id = request.match_info["runner"]
        runner = self.runners.get(runner_id)
        if runner is None or runner.body.get("status", "") not in ("", "ready"):
            return web.Response(status=404, text="runner not found")
        if len(runner.sessions) >= runner.body["capacity"]:
            return web.Response(status=503, text="no capacity available for runner")
        session_id = f"session_{secrets.token_hex(4)}"
        runner.sessions[session_id] = Session()
        self.all_secrets.append(runner.sessions[session_id].token)
        await self.tell(runner, {"event": "reserved", "session": session_id, "timestamp": "2026-01-01T00:00:00Z"})
        control = f"{self.url}/apps/{runner_id}/session/{session_id}"
        return web.json_response({"session_id": session_id, "app_url": f"{control}/app", "control_url": control})

    async def _client_stop(self, request: web.Request) -> web.Response:
        await self.release(request.match_info["runner"], request.match_info["session"])
        return web.Response(status=204)

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        runner_id, session_id = request.match_info["runner"], request.match_info["session"]
        runner = self.runners.get(runner_id)
        if runner is None or session_id not in runner.sessions:
            return web.Response(status=404, text="runner session not found")
        headers = {key: value for key, value in request.headers.items() if key not in ("Host", *SESSION_HEADERS)}
        headers |= self.session_headers(runner_id, session_id)
        assert self._http is not None
        target = f"{runner.body['runner_url'].rstrip('/')}/{request.match_info['path']}"
        try:
            async with self._http.request(
                request.method, target, params=request.query, headers=headers, data=await request.read()
            ) as answer:
                kept = {"Content-Type": answer.headers.get("Content-Type", "application/octet-stream")}
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=str(error))

    def session_headers(self, runner_id: str, session_id: str) -> dict[str, str]:
        """The four headers that the proxy adds."""
        base = self.control_base or self.url
        session = self.runners[runner_id].sessions[session_id]
        control = f"{base}/runner/{runner_id}/session/{session_id}"
        return dict(zip(SESSION_HEADERS, (runner_id, session_id, session.token, control), strict=True))

    # ---- callbacks ---------------------------------------------------------------------------

    async def _session(self, request: web.Request) -> Session:
        path = f"{request.method} /{request.path.rpartition('/')[2]}"
        self.callbacks.append(path)
        await asyncio.sleep(self.slow_s)
        if path in self.failing:
            raise Refused(self.failing[path], "made to fail")
        runner = self.runners.get(request.match_info["runner"])
        session = runner.sessions.get(request.match_info["session"]) if runner is not None else None
        if session is None:
            raise Refused(404, "runner session not found")
        if request.headers.get("Livepeer-Session-Token") != session.token:
            raise Refused(401, "invalid authorization")
        return session

    async def _open_channels(self, request: web.Request) -> web.Response:
        try:
            session = await self._session(request)
        except Refused as error:
            return web.Response(status=error.status, text=str(error))
        opened = []
        for asked in (await request.json())["channels"]:
            name = asked["name"]
            if name not in session.channels:
                secret_name = f"{request.match_info['session']}{secrets.token_hex(8)}-{name}"
                session.channels[name] = self._create(secret_name, asked["mime_type"]) | {"name": name}
            opened.append(session.channels[name])
        return web.json_response({"channels": opened})

    async def _delete_channels(self, request: web.Request) -> web.Response:
        try:
            session = await self._session(request)
        except Refused as error:
            return web.Response(status=error.status, text=str(error))
        names = (await request.json())["channels"]
        for name in names:
            if name not in session.channels:
                return web.Response(status=404, text="trickle channel not found")
            await self._drop_channel(session.channels.pop(name))
        return web.json_response({"deleted": names})

    async def _runner_stop(self, request: web.Request) -> web.Response:
        try:
            await self._session(request)
        except Refused as error:
            return web.Response(status=error.status, text=str(error))
        await self.release(request.match_info["runner"], request.match_info["session"])
        return web.Response(status=204)

    def _create(self, channel: str, kind: str) -> dict[str, str]:
        self.relay.create(channel, kind)
        self.all_secrets.append(channel)
        internal = self.relay.url + channel
        public = internal.replace("127.0.0.1", "localhost")
        return {"channel_name": channel, "url": public, "internal_url": internal, "mime_type": kind}

    async def _drop_channel(self, channel: dict[str, str]) -> None:
        assert self._http is not None
        async with self._http.delete(channel["internal_url"]) as answer:
            await answer.read()  # 400: the runner has closed it already
