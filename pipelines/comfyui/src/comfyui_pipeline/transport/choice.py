"""Which transport works with a server: found out by trying, with a picture that must come back bit by bit."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

import torch

from runner.time_limit import time_limit

from ..client import ComfyClient
from ..errors import ComfyUIError, TransportError
from ..node_package.custom_nodes.ai_runner_live_frames import VERSION
from .memory import FrameMemory, shared_folder, sweep
from .shared_memory import CLASSES, SharedMemory
from .transport import Transport
from .upload import Upload

logger = logging.getLogger(__name__)

_PROBE_LIMIT_S = 30.0  # behind what else the server is at
_INSTALL = "comfyui-nodes install COMFYUI_FOLDER, then restart ComfyUI"


async def open_transport(client: ComfyClient, wanted: str, slots: int, pixels: int) -> Transport:
    """The best transport that works with a server.

    Args:
        wanted: "auto", or the name of one.
        slots: prompts in flight.
        pixels: of the largest picture or result.

    Raises:
        TransportError: the one that is wanted does not work, with the reason.
    """
    if wanted == "upload":
        return Upload(slots)
    try:
        return await _shared_memory(client, slots, pixels)
    except TransportError as error:
        if wanted != "auto":
            raise
        logger.warning("pictures are uploaded to ComfyUI, which is slower and not exact: %s", error)
        return Upload(slots)


async def _shared_memory(client: ComfyClient, slots: int, pixels: int) -> SharedMemory:
    catalog = await client.catalog(CLASSES)
    if not catalog.classes.issuperset(CLASSES):
        raise TransportError(f"ComfyUI at {client.address} lacks our nodes: {_INSTALL}")
    if f"(node package {VERSION})" not in catalog.description(CLASSES[0]):
        raise TransportError(f"ComfyUI at {client.address} has another version of our nodes: {_INSTALL}")
    folder = shared_folder()
    if swept := sweep(folder):
        logger.info("%d segments of killed processes were removed from %s", swept, folder)
    ways = (FrameMemory.create, partial(FrameMemory.create_file, folder=folder))
    reasons = []
    for make in ways:
        try:
            transport = SharedMemory(slots, pixels, make)
        except OSError as error:
            reasons.append(f"no memory for it: {error.strerror}")
            continue
        try:
            await _probe(client, transport)
        except ComfyUIError as error:
            transport.close()
            reasons.append(str(error))
        except BaseException:
            transport.close()
            raise
        else:
            return transport
    raise TransportError(f"ComfyUI at {client.address} does not share memory with this process: {'; '.join(reasons)}")


async def _probe(client: ComfyClient, transport: SharedMemory) -> None:
    """One small picture there and back. Raises ComfyUIError if it does not arrive as it was."""
    slot, seq = transport.trial_slot, 0
    picture = torch.rand(1, 8, 8, 3)
    await transport.put(client, slot, picture)
    entry, exit_node = transport.entry(slot, seq), transport.exit(slot, seq)
    nodes = {
        "in": {"class_type": entry.class_type, "inputs": entry.inputs},
        "out": {"class_type": exit_node.class_type, "inputs": {"images": ["in", 0], **exit_node.inputs}},
    }
    execution = await client.submit(nodes, "out")
    try:
        async with time_limit(_PROBE_LIMIT_S):
            await asyncio.shield(execution.done)
    except asyncio.TimeoutError:
        await client.interrupt(execution)
        raise TransportError("it is busy with something else") from None
    if not torch.equal(await transport.take(slot, seq, execution), picture):
        raise TransportError("a picture did not come back as it was")
