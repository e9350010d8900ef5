"""ManagedServer: a ComfyUI server that we start from a folder, on a free port of this machine, and end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path

from runner.live.process.exit import describe_exit
from runner.time_limit import time_limit

from .address import ServerAddress
from .errors import ServerStartError
from .settings import ComfyFolder

logger = logging.getLogger(__name__)

LAST_LINES = 20
STOP_LIMIT_S = 4.0  # the keeper kills after 3 s
_LONGEST_LINE_BYTES = 1 << 16
_DRAIN_LIMIT_S = 1.0
_KEEPER = Path(__file__).with_name("keeper.py")
_EXTRA_PATHS = Path(__file__).with_name("node_package") / "extra_model_paths.yaml"
# What the process needs none of, and custom nodes of strangers should not see.
_SECRETS = ("AUTH_TOKEN", "COMFYUI_TOKEN", "COMFYUI_URL")


class ManagedServer:
    """One run of a ComfyUI server; `start` makes it.

    Our own nodes are given to it on its command line, nothing is written into its folder. Between it and this
    process stands a `keeper`, so that it ends with this process however that ends.

    Attributes:
        address: where it listens.
        exited: set once it has ended.
        exit_reason: how, in words: "exited with code 1", "was killed by SIGKILL"; "" while it runs.
    """

    def __init__(self, process: asyncio.subprocess.Process, address: ServerAddress, log: asyncio.StreamReader) -> None:
        self.address = address
        self.exited = asyncio.Event()
        self.exit_reason = ""
        self._process = process
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._reading = asyncio.create_task(self._read_log(log))
        self._waiting = asyncio.create_task(self._wait())

    @classmethod
    async def start(cls, folder: ComfyFolder) -> ManagedServer:
        """Start it; it does not listen yet.

        Raises:
            ServerStartError: there is no such interpreter, or no memory for a process.
        """
        port = _free_port()
        reading, writing = os.pipe()
        try:
            # The log goes through a pipe of our own: asyncio's would make waiting for the process wait for
            # everybody who has inherited it.
            log = await _reader(reading)
            process = await asyncio.create_subprocess_exec(
                *_command(folder, port),
                cwd=folder.path,
                env={name: value for name, value in os.environ.items() if name not in _SECRETS},
                stdin=subprocess.PIPE,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        except OSError as error:
            raise ServerStartError(f"ComfyUI in {folder.path} cannot be started: {error.strerror or error}") from error
        finally:
            os.close(writing)
        logger.info("ComfyUI in %s starts, port %d", folder.path, port)
        return cls(process, ServerAddress.parse(f"http://127.0.0.1:{port}"), log)

    @property
    def last_said(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._last_lines)

    async def stop(self) -> None:
        """End it, with all that it has started. Safe to call twice."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(asyncio.TimeoutError):
            async with time_limit(STOP_LIMIT_S):
                await self.exited.wait()
        with suppress(ProcessLookupError):
            if not self.exited.is_set():
                self._process.kill()
        await self._waiting

    async def _wait(self) -> None:
        code = await self._process.wait()
        await asyncio.wait([self._reading], timeout=_DRAIN_LIMIT_S)
        self._reading.cancel()
        self.exit_reason = describe_exit(128 - code if code > 128 else code)
        self.exited.set()

    async def _read_log(self, log: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await log.readline()
            except ValueError:  # longer than the reader's limit: what is there has been thrown away
                line = b"(a line too long to show)\n"
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self._last_lines.append(text)
            logger.debug("ComfyUI: %s", text)


def _command(folder: ComfyFolder, port: int) -> list[str]:
    return [
        sys.executable,
        str(_KEEPER),
        str(folder.python),
        "main.py",
        *("--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch"),
        *("--extra-model-paths-config", str(_EXTRA_PATHS)),
        *folder.arguments,
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _reader(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(_LONGEST_LINE_BYTES)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader
