"""What runs inside a template: a process that has done the third-party imports and forks pipeline processes.

It never imports the user's own code, runs nothing of torch, and has no thread and no event loop: what
is forked from it is as if it had just been started. It ends when the host closes its socket.
"""

from __future__ import annotations

import array
import gc
import os
import socket
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from .channel import Unpacker, pack
from .messages import Boot, Fork, Forked, Message, Preload, Preloaded
from .sources import imported_sources
from .warm import import_ahead

_ADOPTION_LIMIT_S = 2.0
_DESCRIPTORS = 3


def serve_template(boot: Boot) -> Boot:
    """Do what the host asks for. Returns in each forked process, with what that was given to boot from."""
    unpacker = Unpacker()
    descriptors: list[int] = []
    while True:
        data, received = _receive(boot.control)
        descriptors += received
        if not data:
            os._exit(0)
        for message in unpacker.feed(data):
            if isinstance(message, Preload):
                _send(boot, _preload(message.modules))
            elif isinstance(message, Fork):
                given, descriptors = descriptors[:_DESCRIPTORS], descriptors[_DESCRIPTORS:]
                forked = _fork(boot, given)
                if forked is not None:
                    return forked


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """The next bytes, and the descriptors that came with them."""
    fds = array.array("i")
    try:
        data, ancillary, _flags, _address = control.recvmsg(65536, socket.CMSG_LEN(_DESCRIPTORS * fds.itemsize))
    except ConnectionError:
        return b"", []
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def _send(boot: Boot, message: Message) -> None:
    with suppress(OSError):
        boot.control.sendall(pack(message))


def _preload(modules: tuple[str, ...]) -> Preloaded:
    import_ahead(modules)
    imported_sources()  # what it finds out of each module is known to all that are forked
    gc.collect()
    gc.freeze()  # what is there now is not looked at again, so that its pages stay shared with what is forked
    reason = _unsafe()
    return Preloaded(forks=not reason, reason=reason, modules=len(sys.modules))


def _unsafe() -> str:
    """Why this process must not be forked; "" if it may be.

    Fork copies only the thread that forks. Libraries that know it (OpenBLAS) end their threads before;
    after a fork for trial, what still runs beside this thread would be missing in the new process.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is in use after the imports"
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    threads = len(os.listdir("/proc/self/task"))
    return f"the imports have left {threads - 1} threads running" if threads > 1 else ""


def _fork(boot: Boot, descriptors: list[int]) -> Boot | None:
    """Fork a process that the host inherits. The new one gets its boot, this one None."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        grandchild = os.fork()
        if grandchild:
            os.write(writer, grandchild.to_bytes(8, "little"))
            os._exit(0)
        os.close(reader)
        os.close(writer)
        return _born(boot, descriptors)
    os.close(writer)
    number = os.read(reader, 8)
    os.close(reader)
    os.waitpid(pid, 0)
    for descriptor in descriptors:
        os.close(descriptor)
    _send(boot, Forked(int.from_bytes(number, "little")))
    return None


def _born(boot: Boot, descriptors: list[int]) -> Boot:
    """In the new process: wait until it is the host's child, and forget the template's wires."""
    deadline = time.monotonic() + _ADOPTION_LIMIT_S
    while os.getppid() != boot.parent_pid and time.monotonic() < deadline:
        time.sleep(0.0005)
    boot.control.close()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()  # else every process would draw the same numbers
    control, stdout, stderr = descriptors
    return Boot(
        socket.socket(fileno=control),
        Connection(stdout, readable=False),
        Connection(stderr, readable=False),
        boot.parent_pid,
        boot.verbose,
    )
