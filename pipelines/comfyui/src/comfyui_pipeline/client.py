"""ComfyClient: one connection to a ComfyUI server, HTTP and WebSocket.

Protocol: that of ComfyUI 0.3.45 and newer (``server.py``), which lets the client name its prompts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import struct
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import aiohttp

from .address import ServerAddress
from .catalog import NodeCatalog
from .errors import InterruptedExecutionError, ServerError, ServerLost, ServerStartError, WorkflowError
from .execution import Execution
from .workflow import Nodes

logger = logging.getLogger(__name__)

ANSWER_LIMIT_S = 30.0  # of one request; a server that loads a model may be slow to answer
CONNECT_LIMIT_S = 5.0
_HEARTBEAT_S = 60.0
_POLL_S = 0.2
_FORGOTTEN_AT_ONCE = 64  # prompts; the server would keep 10,000 of them in its history
_PREVIEW_IMAGE = 1  # ComfyUI's BinaryEventTypes.PREVIEW_IMAGE: a big-endian 4-byte format follows, then the file
_BINARY_HEADER = struct.Struct(">II")


class ComfyClient:
    """A connection; `connect` makes it.

    Attributes:
        address: of the server.
        lost: resolved, with the reason, when the WebSocket has ended; a client is of no use from then on.
    """

    def __init__(self, address: ServerAddress, session: aiohttp.ClientSession, client_id: str) -> None:
        self.address = address
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._session = session
        self._client_id = client_id
        self._executions: dict[str, Execution] = {}
        self._running: Execution | None = None
        self._ended: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(cls, address: ServerAddress, *, token: str = "", limit_s: float = 0.0) -> ComfyClient:
        """Connect to a server, waiting up to `limit_s` for it to answer.

        Raises:
            ServerStartError: it does not answer, or is no ComfyUI server.
        """
        client = cls(address, _session(address, token), uuid.uuid4().hex)
        try:
            await client._wait_for_answer(limit_s)
            await client._open_socket()
        except BaseException:
            await client.close()
            raise
        return client

    async def close(self, reason: str = "the connection to ComfyUI was closed") -> None:
        """End the connection; prompts under way fail for this reason. Safe to call twice."""
        self._lose(reason)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    # ---- what is asked of the server -----------------------------------------------------------

    async def submit(self, prompt: Nodes, output_node: str) -> Execution:
        """Put a prompt into the server's queue.

        Raises:
            WorkflowError: the server refuses it, with what it says of each node.
            ServerLost: it does not answer.
        """
        execution = Execution(str(uuid.uuid4()), output_node)
        self._executions[execution.prompt_id] = execution
        body = {"prompt": prompt, "client_id": self._client_id, "prompt_id": execution.prompt_id}
        try:
            status, answer = await self._request("POST", "prompt", json=body, accepted=(200, 400))
            if status != 200 or answer.get("node_errors"):
                raise WorkflowError(*refusals(answer, prompt))
            if answer.get("prompt_id") != execution.prompt_id:
                raise ServerError(f"ComfyUI at {self.address} is older than 0.3.45: update it")
        except BaseException:
            self._executions.pop(execution.prompt_id, None)
            raise
        if self.lost.done():
            execution.fail(ServerLost(self.lost.result()))
        return execution

    async def catalog(self, classes: Iterable[str]) -> NodeCatalog:
        """Those of some node classes that the server has."""
        infos = await asyncio.gather(*(self._request("GET", f"object_info/{kind}") for kind in sorted(set(classes))))
        return NodeCatalog({kind: info for _, answer in infos for kind, info in answer.items()})

    async def system_stats(self) -> dict[str, Any]:
        """Versions, memory and devices of the server."""
        return (await self._request("GET", "system_stats"))[1]

    async def waiting(self) -> int:
        """How many prompts, of everybody, run or wait."""
        _, queue = await self._request("GET", "queue")
        return len(queue.get("queue_running", ())) + len(queue.get("queue_pending", ()))

    async def interrupt(self, execution: Execution) -> None:
        """Take a prompt out of the queue, or have its node stop as soon as it looks."""
        await self._request("POST", "queue", json={"delete": [execution.prompt_id]})
        _, queue = await self._request("GET", "queue")
        if any(execution.prompt_id in running[:2] for running in queue.get("queue_running", ())):
            await self._request("POST", "interrupt", json={"prompt_id": execution.prompt_id})
        else:  # the server tells nothing of a prompt that never ran
            self._executions.pop(execution.prompt_id, None)
            execution.fail(InterruptedExecutionError("the prompt was taken out of ComfyUI's queue"))

    async def free(self) -> None:
        """Have the server unload all models and drop its cached results, before its next prompt."""
        await self._request("POST", "free", json={"unload_models": True, "free_memory": True})

    async def upload(self, name: str, picture: bytes) -> str:
        """Store a picture in the server's folder for temporary files; what a LoadImage node calls it."""
        form = aiohttp.FormData()
        form.add_field("image", picture, filename=name, content_type="image/png")
        form.add_field("type", "temp")
        form.add_field("overwrite", "true")
        _, answer = await self._request("POST", "upload/image", data=form)
        return f"{answer.get('name', name)} [temp]"

    async def _request(
        self, method: str, path: str, *, accepted: tuple[int, ...] = (200,), **body: Any
    ) -> tuple[int, dict[str, Any]]:
        url = f"{self.address}/{path}"
        try:
            # Not elsewhere: the credentials are for this server.
            async with self._session.request(method, url, allow_redirects=False, **body) as response:
                text = await response.text()
                if response.status not in accepted:
                    raise ServerError(f"ComfyUI at {self.address} answers {_reason(response.status)} to /{path}")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ServerLost(f"ComfyUI at {self.address} does not answer: {_cause(error)}") from error
        try:
            answer = json.loads(text) if text else {}
        except ValueError:
            raise ServerError(f"what answers at {self.address} is not ComfyUI: /{path} is not JSON") from None
        return response.status, answer if isinstance(answer, dict) else {}

    # ---- what the server tells -----------------------------------------------------------------

    async def _wait_for_answer(self, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while True:
            try:
                stats = await self.system_stats()
            except ServerLost as error:
                if loop.time() >= until:
                    raise ServerStartError(str(error)) from error
                await asyncio.sleep(_POLL_S)
            except ServerError as error:
                raise ServerStartError(str(error)) from error
            else:
                break
        system = stats.get("system")
        if not isinstance(system, dict) or "comfyui_version" not in system:
            raise ServerStartError(f"what answers at {self.address} is not ComfyUI, or is older than 0.3.45")
        logger.info("ComfyUI %s answers at %s", system["comfyui_version"], self.address)

    async def _open_socket(self) -> None:
        heartbeat = None if self.address.is_loopback else _HEARTBEAT_S  # a dead process closes its sockets itself
        url = f"{self.address}/ws?clientId={self._client_id}"
        try:
            socket = await self._session.ws_connect(url, max_msg_size=0, heartbeat=heartbeat)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise ServerStartError(f"ComfyUI at {self.address} has no WebSocket: {_cause(error)}") from error
        self._start(self._listen(socket))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        reason = f"ComfyUI at {self.address} is gone: it closed the connection"
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._on_text(message.data)
                elif message.type is aiohttp.WSMsgType.BINARY:
                    self._on_binary(message.data)
                else:
                    reason = f"ComfyUI at {self.address} is gone: {_cause(socket.exception())}"
                    break
        finally:
            self._lose(reason)

    def _on_text(self, text: str) -> None:
        message = json.loads(text)
        kind, data = message.get("type", ""), message.get("data")
        execution = self._executions.get(data.get("prompt_id", "")) if isinstance(data, dict) else None
        if execution is None:
            return  # of the whole queue, or of a prompt that was given up
        if kind == "executing":
            self._running = execution
        execution.on_event(kind, data)
        if execution.done.done():
            self._forget(execution)

    def _on_binary(self, message: bytes) -> None:
        if len(message) < _BINARY_HEADER.size or self._running is None:
            return
        kind, _format = _BINARY_HEADER.unpack_from(message)
        if kind == _PREVIEW_IMAGE:
            self._running.on_picture(message[_BINARY_HEADER.size :])

    def _forget(self, execution: Execution) -> None:
        self._executions.pop(execution.prompt_id, None)
        self._ended.append(execution.prompt_id)
        if len(self._ended) >= _FORGOTTEN_AT_ONCE:
            ended, self._ended = self._ended, []
            self._start(self._clear_history(ended))

    async def _clear_history(self, ended: list[str]) -> None:
        with suppress(ServerError):  # that the server is gone is told where a picture is waited for
            await self._request("POST", "history", json={"delete": ended})

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        for execution in self._executions.values():
            execution.fail(ServerLost(self.lost.result()))
        self._executions.clear()


def refusals(answer: Mapping[str, Any], prompt: Nodes) -> list[str]:
    """What a server's refusal of a prompt (HTTP 400) says, one sentence for each reason."""
    reasons = []
    for number, errors in (answer.get("node_errors") or {}).items():
        kind = errors.get("class_type") or prompt.get(number, {}).get("class_type", "")
        for error in errors.get("errors", ()):
            reasons.append(f"node {number} ({kind}): {_sentence(error)}")
    error = answer.get("error")
    if not reasons and error:
        reasons.append(_sentence(error) if isinstance(error, dict) else str(error))
    first, *more = reasons or ["no reason is given"]
    return [f"ComfyUI refuses the workflow: {first}", *more]


def _sentence(error: Mapping[str, Any]) -> str:
    message, details = str(error.get("message", "")).rstrip("."), str(error.get("details", "")).strip()
    return f"{message}: {details}" if details else message


def _session(address: ServerAddress, token: str) -> aiohttp.ClientSession:
    headers = {}
    if address.user or address.password:
        credentials = base64.b64encode(f"{address.user}:{address.password}".encode()).decode()
        headers["Authorization"] = f"Basic {credentials}"
    elif token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = aiohttp.ClientTimeout(total=ANSWER_LIMIT_S, connect=CONNECT_LIMIT_S)
    return aiohttp.ClientSession(headers=headers, timeout=timeout)


def _reason(status: int) -> str:
    if status in (401, 403):
        return f"{status} (wrong credentials: they belong into COMFYUI_URL or COMFYUI_TOKEN)"
    return str(status)


def _cause(error: BaseException | None) -> str:
    """An error of aiohttp without the address in it."""
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.errno:
        return os.strerror(error.os_error.errno)
    if isinstance(error, aiohttp.ClientConnectionError):
        return "the connection broke"
    return str(error) or type(error).__name__
