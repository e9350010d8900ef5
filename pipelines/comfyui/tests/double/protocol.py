"""HTTP routes, the WebSocket and the queue, after ComfyUI 0.3.64's ``server.py``."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import sys
import threading
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from graph import Prompt, validate
from nodes import NODE_CLASS_MAPPINGS, folders, running

_FORMATS = {"JPEG": 1, "PNG": 2}
_PREVIEW_IMAGE = 1


@dataclass
class Queued:
    """One prompt in the queue."""

    protocol: Protocol
    number: int
    prompt_id: str
    prompt: Prompt
    client_id: str | None
    outputs: list[str]

    def send(self, kind: str, **data: Any) -> None:
        """To whoever has sent the prompt."""
        self.protocol.send(kind, {**data, "prompt_id": self.prompt_id}, self.client_id)

    def send_picture(self, form: str, image: Any) -> None:
        file = io.BytesIO()
        image.save(file, form)
        message = struct.pack(">II", _PREVIEW_IMAGE, _FORMATS[form]) + file.getvalue()
        self.protocol.send_bytes(message, self.client_id)


class Protocol:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._messages: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._more = threading.Condition()
        self._pending: deque[Queued] = deque()
        self._running: Queued | None = None
        self._history: dict[str, Any] = {}
        self._free = False
        self._number = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.add_routes(
            [
                web.get("/ws", self._websocket),
                web.get("/system_stats", self._system_stats),
                web.get("/object_info", self._object_info),
                web.get("/object_info/{name}", self._object_info),
                web.get("/prompt", self._queue_info),
                web.post("/prompt", self._post_prompt),
                web.get("/queue", self._get_queue),
                web.post("/queue", self._post_queue),
                web.get("/history", self._get_history),
                web.post("/history", self._post_history),
                web.post("/interrupt", self._interrupt),
                web.post("/free", self._post_free),
                web.post("/upload/image", self._upload),
            ]
        )
        return app

    # ---- messages, from any thread -------------------------------------------------------------

    def send(self, kind: str, data: dict[str, Any], client_id: str | None = None) -> None:
        self._loop.call_soon_threadsafe(
            self._messages.put_nowait, (json.dumps({"type": kind, "data": data}), client_id)
        )

    def send_bytes(self, message: bytes, client_id: str | None) -> None:
        self._loop.call_soon_threadsafe(self._messages.put_nowait, (message, client_id))

    async def publish(self) -> None:
        """Send messages for ever, each to one client or to all."""
        while True:
            message, client_id = await self._messages.get()
            names = list(self._sockets) if client_id is None else [client_id]
            for name in names:
                socket = self._sockets.get(name)
                with suppress(ConnectionError):  # it goes away at this moment
                    if socket is not None and not socket.closed:
                        await (socket.send_bytes if isinstance(message, bytes) else socket.send_str)(message)

    def _queue_updated(self) -> None:
        self.send("status", {"status": self._exec_info()})

    def _exec_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": len(self._pending) + (self._running is not None)}}

    # ---- the queue, from the executor's thread ---------------------------------------------------

    def next_prompt(self) -> Queued | None:
        """The next one; None where there is none but memory is to be freed."""
        with self._more:
            while not self._pending:
                if self._free:
                    return None
                self._more.wait()
            self._running = self._pending.popleft()
            self._queue_updated()
            return self._running

    def task_done(self, queued: Queued) -> None:
        with self._more:
            self._running = None
            self._history[queued.prompt_id] = {"prompt": [queued.number, queued.prompt_id, queued.prompt]}
            self._queue_updated()
        queued.send("executing", node=None)

    def take_free(self) -> bool:
        with self._more:
            free, self._free = self._free, False
            return free

    # ---- routes ----------------------------------------------------------------------------------

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        name = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[name] = socket
        self.send("status", {"status": self._exec_info(), "sid": name}, name)
        try:
            async for _ in socket:
                pass
        finally:
            self._sockets.pop(name, None)
        return socket

    async def _system_stats(self, _request: web.Request) -> web.Response:
        system = {
            "os": "posix",
            "ram_total": 1,
            "ram_free": 1,
            "comfyui_version": "0.3.64",
            "required_frontend_version": "1.27.10",
            "installed_templates_version": "0.1.95",
            "required_templates_version": "0.1.95",
            "python_version": sys.version,
            "pytorch_version": "2",
            "embedded_python": False,
            "argv": sys.argv,
        }
        names = ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")
        device = {"name": "cpu", "type": "cpu", "index": None, **dict.fromkeys(names, 1)}
        return web.json_response({"system": system, "devices": [device]})

    async def _object_info(self, request: web.Request) -> web.Response:
        wanted = request.match_info.get("name")
        names = [name for name in NODE_CLASS_MAPPINGS if wanted in (None, name)]
        return web.json_response({name: _described(name) for name in names})

    async def _queue_info(self, _request: web.Request) -> web.Response:
        return web.json_response(self._exec_info())

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        error, outputs, node_errors = validate(body["prompt"])
        if error is not None:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        with self._more:
            queued = Queued(self, self._number, prompt_id, body["prompt"], body.get("client_id"), outputs)
            self._number += 1
            self._pending.append(queued)
            self._queue_updated()
            self._more.notify()
        return web.json_response({"prompt_id": prompt_id, "number": queued.number, "node_errors": node_errors})

    async def _get_queue(self, _request: web.Request) -> web.Response:
        with self._more:
            now = [self._running] if self._running else []
            pending = list(self._pending)
        rows = [[[one.number, one.prompt_id, one.prompt, {}, one.outputs] for one in some] for some in (now, pending)]
        return web.json_response({"queue_running": rows[0], "queue_pending": rows[1]})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await request.json()
        with self._more:
            gone = set(body.get("delete", ()))
            self._pending = deque(one for one in self._pending if not (body.get("clear") or one.prompt_id in gone))
            self._queue_updated()
        return web.Response()

    async def _get_history(self, _request: web.Request) -> web.Response:
        return web.json_response(self._history)

    async def _post_history(self, request: web.Request) -> web.Response:
        for prompt_id in (await request.json()).get("delete", ()):
            self._history.pop(prompt_id, None)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        running_now = self._running
        if not body.get("prompt_id") or (running_now and running_now.prompt_id == body["prompt_id"]):
            running.interrupted.set()
        return web.Response()

    async def _post_free(self, request: web.Request) -> web.Response:
        body = await request.json()
        with self._more:
            self._free = bool(body.get("free_memory"))
            self._more.notify()
        return web.Response()

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image, kind = form["image"], str(form.get("type", "input"))
        assert isinstance(image, web.FileField)
        assert kind in ("input", "temp")
        name = Path(image.filename).name
        (folders.of(kind) / name).write_bytes(image.file.read())
        return web.json_response({"name": name, "subfolder": "", "type": kind})


def _described(name: str) -> dict[str, Any]:
    node = NODE_CLASS_MAPPINGS[name]
    declared = node.INPUT_TYPES()
    return {
        "input": declared,
        "input_order": {group: list(inputs) for group, inputs in declared.items()},
        "output": node.RETURN_TYPES,
        "output_is_list": [False] * len(node.RETURN_TYPES),
        "output_name": node.RETURN_TYPES,
        "name": name,
        "display_name": {"LoadImage": "Load Image", "ImageInvert": "Invert Image"}.get(name, name),
        "description": getattr(node, "DESCRIPTION", ""),
        "python_module": getattr(node, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": node.CATEGORY,
        "output_node": getattr(node, "OUTPUT_NODE", False),
    }
