"""ComfyUI: any ComfyUI workflow as a live pipeline.

Each picture is one prompt in the server's queue, which works on them one after the other, so that order is kept.
`prompts_in_flight` of them are given to it at once: while one is worked on the next one waits there already, and
the time on the way costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from runner.errors import ParamsError
from runner.live.pipelines import Pipeline
from runner.live.pipelines.loader import parse_params
from runner.live.trickle import VideoFrame, VideoOutput
from runner.time_limit import time_limit

from .errors import ComfyUIError, FrameTimeoutError, OutOfMemoryError, ServerError
from .exposed import keys, with_values
from .params import ComfyUIParams
from .rewrite import LiveGraph
from .settings import ServerChoice
from .supervisor import Supervisor
from .workflow import Nodes, Workflow

if TYPE_CHECKING:
    from .catalog import NodeCatalog
    from .client import ComfyClient
    from .execution import Execution
    from .transport.transport import Transport

logger = logging.getLogger(__name__)

INTERRUPT_LIMIT_S = 5.0  # for an interrupted prompt to end; a node that never looks makes the server hang
# Tries after memory was freed. The server frees it between two prompts: the first try may come before that.
FREED_TIMES = 2
QUICK_TRIAL_S = 2.0  # a workflow that takes longer for its first picture loads models: the pipeline counts as loading
# What the slots for pictures are made after.
_TRANSPORT_FIELDS = ("width", "height", "output_width", "output_height", "prompts_in_flight", "transport")


@dataclass(slots=True)
class InFlight:
    """A picture that the server works on, and all that is needed to give it to it again."""

    frame: VideoFrame
    transport: Transport
    slot: int
    seq: int
    client: ComfyClient
    prompt: Nodes
    execution: Execution
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """New parameters that have been checked; `transport` is None where the one in use stays."""

    params: ComfyUIParams
    graph: LiveGraph
    catalog: NodeCatalog
    transport: Transport | None


class ComfyUI(Pipeline):
    """Drives a ComfyUI server; see `ComfyUIParams` and `ServerChoice`."""

    params_class = ComfyUIParams

    def __init__(self) -> None:
        self._in_flight: asyncio.Queue[InFlight] = asyncio.Queue()
        self._seq = 0
        self._warm: ComfyClient | None = None  # a picture has come back through it: models are loaded
        self._trial: asyncio.Task[None] | None = None
        self._supervisor: Supervisor | None = None
        self._transport: Transport | None = None
        self._params: ComfyUIParams
        self._graph: LiveGraph
        self._catalog: NodeCatalog

    # ---- life --------------------------------------------------------------------------------

    async def initialize(self, **params: Any) -> None:
        """Connect to the server, or start it; try the way for pictures and the workflow with one picture.

        Raises:
            ComfyUIError: one of its children says what is wrong, and the way out.
        """
        self._params = _parsed(params)
        supervisor = self._supervisor = Supervisor(ServerChoice.choose(self._params, os.environ))
        try:
            await supervisor.start()
            client = await supervisor.client()
            graph = _graph_of(self._params)
            self._catalog = await client.catalog(graph.inner_classes())
            graph.check(self._catalog)
            self._transport = await _open(client, self._params)
            await self._try(client, graph, self._params, self._transport)
        except BaseException:
            await self.stop()
            raise
        self._graph = graph
        logger.info("ComfyUI: ready, pictures go by %s; inputs: %s", self._transport.name, ", ".join(keys(graph)))

    async def stop(self) -> None:
        """Let go of the pictures under way, of their memory, and of the server."""
        if self._trial is not None:
            self._trial.cancel()
        if self._transport is not None:
            self._transport.close()
        if self._supervisor is not None:
            await self._supervisor.stop()

    @classmethod
    def prepare_models(cls) -> None:
        """Look whether the server that the environment names can be used; its models are ComfyUI's own affair.

        Raises:
            SettingsError: it cannot.
        """
        choice = ServerChoice.choose(ComfyUIParams(), os.environ)
        where = f"{choice.folder.path}/models" if choice.folder else f"the models folder of {choice.address}"
        logger.info("ComfyUI loads its models itself, from %s: put those of your workflows there", where)

    # ---- pictures ----------------------------------------------------------------------------

    async def put_video_frame(self, frame: VideoFrame, request_id: str) -> None:
        """Put a prompt for this picture into the server's queue; waits while enough of them are under way.

        Raises:
            ServerLost: the server is gone, and `reloading` until it is back.
        """
        client = self._server.connected()
        transport, slot = await self._take_slot()
        try:
            async with self._server.watching(client):
                flight = await self._submit(client, transport, slot, frame, self._graph)
        except BaseException:
            transport.give_back(slot)
            raise
        flight.request_id = request_id
        self._in_flight.put_nowait(flight)

    async def get_processed_video_frame(self) -> VideoOutput:
        """The result of the oldest picture under way.

        Raises:
            ExecutionError: this picture is lost, the next one goes on.
            ServerError: the same, and the server is being brought back.
        """
        flight = await self._in_flight.get()
        try:
            async with self._server.watching(flight.client):
                await self._finish(flight, self._limit_s(flight))
                picture = await flight.transport.take(flight.slot, flight.seq, flight.execution)
        finally:
            flight.transport.give_back(flight.slot)
            self._in_flight.task_done()
        return VideoOutput(flight.frame.replace_tensor(picture), flight.request_id)

    async def flush(self) -> None:
        """The end of a stream: wait until every picture under way has come back, or is lost."""
        await self._in_flight.join()

    def reloading(self) -> asyncio.Task[None] | None:
        """A task until a server that was lost is back."""
        return self._server.returning()

    async def _take_slot(self) -> tuple[Transport, int]:
        """A slot of the transport that is in use when it is there."""
        while True:
            transport = self._transport
            assert transport is not None
            slot = await transport.take_slot()
            if transport is self._transport:
                return transport, slot
            transport.give_back(slot)

    async def _submit(
        self, client: ComfyClient, transport: Transport, slot: int, frame: VideoFrame, graph: LiveGraph
    ) -> InFlight:
        self._seq += 1
        seq = self._seq
        await transport.put(client, slot, frame.tensor)
        prompt = graph.prompt(transport.entry(slot, seq), transport.exit(slot, seq))
        return InFlight(frame, transport, slot, seq, client, prompt, await client.submit(prompt, graph.exit))

    def _limit_s(self, flight: InFlight) -> float:
        """Models may have to be loaded first: after a restart of the server, and while another workflow is tried."""
        loading = self._warm is not flight.client or self._is_trying
        return self._params.load_timeout_s if loading else self._params.frame_timeout_s

    async def _finish(self, flight: InFlight, limit_s: float) -> None:
        """Wait until the server is done with a picture; where its memory was full, again after freeing it."""
        for _ in range(FREED_TIMES):
            try:
                await self._wait(flight, limit_s)
                break
            except OutOfMemoryError as error:
                logger.warning("%s: its models are unloaded, and the picture is tried again", error)
                await flight.client.free()
                flight.execution = await flight.client.submit(flight.prompt, flight.execution.output_node)
                limit_s = self._params.load_timeout_s
        else:
            await self._wait_once_more(flight, limit_s)
        self._warm = flight.client
        self._server.proven()

    async def _wait_once_more(self, flight: InFlight, limit_s: float) -> None:
        try:
            await self._wait(flight, limit_s)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"{error}, also after all models were unloaded: use smaller pictures (width, height), a smaller "
                "model, or start ComfyUI with --lowvram"
            ) from error

    async def _wait(self, flight: InFlight, limit_s: float) -> None:
        try:
            async with time_limit(limit_s):
                await asyncio.shield(flight.execution.done)
        except asyncio.TimeoutError:
            raise await self._stalled(flight, limit_s) from None

    async def _stalled(self, flight: InFlight, limit_s: float) -> ComfyUIError:
        """Interrupt a prompt that takes too long, and restart a server that does not hear; what to tell."""
        text = f"a picture took more than {limit_s:g} s"
        try:
            others = await flight.client.waiting() - self._in_flight.qsize() - 1
            await flight.client.interrupt(flight.execution)
            await asyncio.wait([flight.execution.done], timeout=INTERRUPT_LIMIT_S)
        except ServerError as error:
            await self._server.restart(flight.client, f"{text}: {error}")
            return error
        if flight.execution.done.done():
            wait = f" while {others} prompts of others were in ComfyUI's queue" if others > 0 else ""
            return FrameTimeoutError(f"{text}{wait} and was interrupted (frame_timeout_s, load_timeout_s)")
        way_out = "it is started again" if self._server.is_managed else "restart it"
        text = f"{text}, and ComfyUI does not react to an interrupt: {way_out}"
        await self._server.restart(flight.client, text)
        return ServerError(text)

    # ---- params ------------------------------------------------------------------------------

    async def update_params(self, **params: Any) -> asyncio.Task[None] | None:
        """Take new parameters with the next picture. A new workflow is tried first, while the old one goes on.

        Returns:
            a task while a new workflow loads its models. It never fails: if the workflow does, the old one stays.

        Raises:
            WorkflowError: the server cannot run the workflow, or has no such input. Nothing has changed.
            ExecutionError: the workflow failed on its first picture. Nothing has changed.
        """
        new = _parsed(params)
        _refuse_changes(self._params, new)
        if self._is_trying:
            raise ParamsError("another workflow is loading its models: send the parameters again when it has")
        client = await self._server.client()
        graph, same = _graph_of(new), new.prompt == self._params.prompt
        catalog = self._catalog if same else await client.catalog(graph.inner_classes())
        graph.check(catalog)
        resized = any(getattr(new, name) != getattr(self._params, name) for name in _TRANSPORT_FIELDS)
        transport = await _open(client, new) if resized else None
        change = Change(new, graph, catalog, transport)
        if same and transport is None:
            self._adopt(change)
            return None
        trial = self._trial = asyncio.create_task(self._adopt_tried(client, change))
        done, _ = await asyncio.wait([trial], timeout=QUICK_TRIAL_S)
        if not done:
            return asyncio.create_task(_told(trial))
        await trial
        return None

    def params_in_force(self) -> ComfyUIParams:
        """Those of the workflow that serves: after another one has failed, the ones before."""
        return self._params

    async def _adopt_tried(self, client: ComfyClient, change: Change) -> None:
        try:
            assert self._transport is not None
            async with self._server.watching(client):
                await self._try(client, change.graph, change.params, change.transport or self._transport)
        except BaseException:
            if change.transport is not None:
                change.transport.close()
            raise
        self._adopt(change)

    @property
    def _server(self) -> Supervisor:
        assert self._supervisor is not None, "initialize comes first"
        return self._supervisor

    @property
    def _is_trying(self) -> bool:
        """Whether a new workflow is at its first picture."""
        return self._trial is not None and not self._trial.done()

    def _adopt(self, change: Change) -> None:
        self._params, self._graph, self._catalog = change.params, change.graph, change.catalog
        if change.transport is not None and self._transport is not None:
            self._transport.retire()
            self._transport = change.transport

    async def _try(self, client: ComfyClient, graph: LiveGraph, params: ComfyUIParams, transport: Transport) -> None:
        """One grey picture through a workflow: the server's own checks, models loaded, the size of the result."""
        import torch

        grey = VideoFrame(torch.full((1, params.height, params.width, 3), 0.5), 0, Fraction(1))
        flight = await self._submit(client, transport, transport.trial_slot, grey, graph)
        await self._finish(flight, params.load_timeout_s)
        await transport.take(flight.slot, flight.seq, flight.execution)


def _parsed(params: dict[str, Any]) -> ComfyUIParams:
    parsed = parse_params(ComfyUIParams, params)
    assert isinstance(parsed, ComfyUIParams)
    return parsed


def _graph_of(params: ComfyUIParams) -> LiveGraph:
    """The graph that params mean. Raises WorkflowError."""
    return with_values(LiveGraph.find(Workflow.parse(params.prompt)), params.inputs)


def _refuse_changes(old: ComfyUIParams, new: ComfyUIParams) -> None:
    for name in ("server_url", "folder"):
        if getattr(old, name) != getattr(new, name):
            text = "another server is taken at the next start only"
            raise ParamsError(f"{name}: {text}", {name: text})


async def _open(client: ComfyClient, params: ComfyUIParams) -> Transport:
    from .transport.choice import open_transport

    width, height = params.get_output_resolution()
    pixels = max(width * height, params.width * params.height)
    return await open_transport(client, params.transport, params.prompts_in_flight, pixels)


async def _told(trial: asyncio.Task[None]) -> None:
    """The end of a trial, which is told but does not end the pipeline: the old workflow goes on."""
    try:
        await trial
    except (ComfyUIError, asyncio.CancelledError) as error:
        logger.error("the new workflow was not taken, the one before goes on: %s", error, extra={"report_error": True})
