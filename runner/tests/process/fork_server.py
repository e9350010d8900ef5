"""Forks pipeline processes that have torch already: importing it takes 1.6 s of CPU, a fork takes milliseconds.

One server for each process that runs tests. Run as a program it serves; `ForkServer` is the other end of it. What it
forks is set up as a spawned process is: working folder, environment and import path of the test.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from runner.live.process.channel import Unpacker
from runner.live.process.descendants import join_run
from runner.live.process.launch import AdoptedChild, ChildHandle, Wires, can_adopt, close_boot, open_wires
from runner.live.process.messages import Boot, Forked

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_REQUEST_BYTES = 1 << 20
FOLDER = os.path.dirname(__file__)


@dataclass(frozen=True)
class Request:
    """What a process is set up with; its descriptors come along. `template`: it is one, see `Boot`."""

    folder: str
    path: list[str]
    environ: dict[str, str]
    parent_pid: int
    verbose: bool
    template: bool


class ForkServer:
    """The tests' end."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_BYTES)
        self._control = ours
        join_run()
        environ = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}  # as `child.main` sets it before torch is imported
        # A line of its own, as `multiprocessing` has it: there the stacks of its threads end.
        start = f"import sys; sys.path.append({FOLDER!r}); import fork_server as f; f.serve({theirs.fileno()})"
        command = [sys.executable, "-c", start]
        self._process = subprocess.Popen(command, env=environ, pass_fds=[theirs.fileno()])
        theirs.close()

    def spawn(self, _name: str, *, verbose: bool, template: bool = False) -> tuple[ChildHandle, Wires]:
        """In place of `launch.spawn`."""
        wires, boot = open_wires(verbose=verbose, template=template)
        request = Request(os.getcwd(), sys.path, dict(os.environ), os.getpid(), verbose, template)
        with _adopting():
            ends = [boot.control.fileno(), boot.stdout.fileno(), boot.stderr.fileno()]
            socket.send_fds(self._control, [json.dumps(asdict(request)).encode()], ends)
            [forked] = Unpacker().feed(self._control.recv(_REQUEST_BYTES))
        close_boot(boot)
        assert isinstance(forked, Forked)
        return AdoptedChild(forked.pid), wires

    def close(self) -> None:
        self._control.close()
        self._process.wait(60)


@contextmanager
def _adopting() -> Iterator[None]:
    """Be the parent of what is forked; before and after it, whatever the product says."""
    before = ctypes.c_int()
    ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    assert can_adopt()
    yield
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def serve(descriptor: int) -> None:
    """Fork until the tests' end is closed."""
    del sys.modules[__name__]  # else it would be taken for a file of the user's, which are watched
    control = socket.socket(fileno=descriptor)
    import torch  # noqa: F401

    from runner.live.code import patch, source, store  # noqa: F401
    from runner.live.pipelines import loader, transform  # noqa: F401
    from runner.live.process import child, forking, tensor  # noqa: F401

    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 3)
        if not data:
            return
        request = Request(**json.loads(data))
        here = Boot(control, None, None, request.parent_pid, request.verbose)  # type: ignore[arg-type]
        boot = forking._fork(here, descriptors)
        if boot is not None:
            os.chdir(request.folder)
            os.environ.clear()
            os.environ.update(request.environ)
            sys.path[:] = request.path
            child.main(replace(boot, template=request.template))
