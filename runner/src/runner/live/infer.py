"""The runner host's command line: ``python -m runner.live.infer --pipeline-import pkg.module:Class``.

It loads the pipeline into a process of its own, guards it, and serves the control API on 127.0.0.1
or a Unix socket. Ends in order on SIGTERM, SIGINT and SIGHUP, and with ``--studio`` also when its
standard input is closed, which happens when whoever started it dies, however violently.
"""

# Nothing heavy up here: the spawned pipeline process imports this module too.
from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .host import RunnerHost
    from .pipelines.spec import PipelineSpec
    from .streamer.protocol.protocol import ProtocolName
    from .streamer.protocol.trickle import TrickleOptions

DEFAULT_PORT = 8888
SHUTDOWN_LIMIT_S = 4.5  # an orderly end takes less; after that the process ends itself


def main(arguments: list[str] | None = None) -> int:
    """Run the host; the exit code: 0 ended in order, 2 wrong use."""
    from .project_folder import name_project

    name_project()
    from ..errors import RunnerError
    from .log import configure
    from .process.debugging import HOOK

    try:
        options = _parser().parse_args(arguments)
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    configure(options.verbose)
    if options.studio:
        os.environ.setdefault("PYTHONBREAKPOINT", HOOK)
    if sys.platform == "linux" and not os.path.exists("/proc/self/fd"):
        print("error: /proc: not mounted; the runner needs it to share memory between its processes", file=sys.stderr)
        return 2
    try:
        spec = _spec(options)
        trickle = _trickle(options)
        listening = _bind(options)
    except (RunnerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return asyncio.run(_serve(options, spec, trickle, listening))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner.live.infer", description="Run a live video pipeline in a guarded process."
    )
    env = os.environ
    what = parser.add_argument_group("pipeline (one of the first two)")
    what.add_argument("--pipeline", default="", help="a PipelineSpec as JSON, or a built-in name (noop)")
    what.add_argument("--pipeline-import", default=env.get("PIPELINE_IMPORT", ""), metavar="PKG.MODULE:CLASS")
    what.add_argument("--params-import", default=env.get("PARAMS_IMPORT", ""), metavar="PKG.MODULE:CLASS")
    what.add_argument("--initial-params", default="", metavar="JSON", help="object given to initialize()")
    what.add_argument(
        "--typed-params", default="", metavar="JSON", help="object: name -> text of initial params that a person typed"
    )
    api = parser.add_argument_group("control API")
    api.add_argument("--http-port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    api.add_argument("--http-host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    api.add_argument("--http-socket", default="", metavar="PATH", help="a Unix socket instead of a port")
    stream = parser.add_argument_group("stream to start at once")
    stream.add_argument("--subscribe-url", default="", metavar="URL", help="where frames come from")
    stream.add_argument("--publish-url", default="", metavar="URL", help="where frames go to")
    stream.add_argument("--control-url", default="", metavar="URL", help="where params come from")
    stream.add_argument("--events-url", default="", metavar="URL", help="where status, errors and restarts are told")
    stream.add_argument("--request-id", default="", metavar="ID")
    stream.add_argument("--manifest-id", default="", metavar="ID")
    stream.add_argument("--stream-id", default="", metavar="ID")
    _network_flags(parser)
    verbose = env.get("VERBOSE_LOGGING") == "1"
    parser.add_argument("-v", "--verbose", action="store_true", default=verbose, help="debug logs")
    parser.add_argument(
        "--studio", action="store_true", help="as --supervised, with preview taps and restarts without limit"
    )
    parser.add_argument(
        "--supervised",
        action="store_true",
        help="end when standard input closes; say on standard output what is started",
    )
    parser.add_argument(
        "--run-folder",
        default="",
        metavar="DIR",
        help="where to note the channels that somebody else must close if this host is killed",
    )
    reload = parser.add_argument_group("reloading")
    reload.add_argument(
        "--keep-weights",
        action="store_true",
        help="put new code into the running process where frames show that it takes effect",
    )
    reload.add_argument(
        "--in-place",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="a function whose changes need no such proof; may be repeated",
    )
    reload.add_argument("--standby", action="store_true", help="keep a process ready that has done the imports")
    reload.add_argument(
        "--standby-reserve", type=int, default=1024, metavar="MB", help="RAM to stay free beside it (%(default)s)"
    )
    reload.add_argument(
        "--replace",
        choices=("auto", "overlap", "hand-over"),
        default="auto",
        help="the old process serves until the new one is proven, or ends first; auto: by the free memory",
    )
    reload.add_argument("--snapshots", default="", metavar="DIR", help="keep what was loaded, to go back to")
    parser.add_argument("--load-timeout", type=float, default=180.0, metavar="S", help="default: %(default)s")
    return parser


def _network_flags(parser: argparse.ArgumentParser) -> None:
    """Raises StreamError: an environment variable has a value that it cannot have."""
    from .network_settings import NetworkSettings, frame_rate

    said = NetworkSettings.from_env(os.environ)
    network = parser.add_argument_group("streams of the network")
    network.add_argument(
        "--stream-protocol",
        choices=("trickle", "local"),
        default=said.protocol,
        help="local: the URLs of a stream are files, cameras or addresses of this machine (%(default)s)",
    )
    network.add_argument(
        "--max-fps",
        type=lambda text: frame_rate(text, "--max-fps"),
        default=said.max_fps,
        metavar="FPS",
        help="pictures above this rate are left out, 0 takes all (%(default)g)",
    )
    network.add_argument(
        "--hardware",
        choices=("auto", "hardware", "software"),
        default=said.hardware,
        help="whether the GPU decodes and encodes (%(default)s)",
    )
    network.add_argument(
        "--allow",
        default=said.allow,
        metavar="HOSTS",
        help="hosts or networks that streams may be on, with commas between; all if it is empty",
    )
    network.add_argument(
        "--verify-tls",
        action="store_true",
        default=said.verify_tls,
        help="refuse certificates that are not signed; orchestrators have their own ones",
    )


def _spec(options: argparse.Namespace) -> PipelineSpec:
    """The pipeline that the flags name.

    Raises:
        RunnerError, ValueError: they name none, or not in a form that can be read.
    """
    from ..errors import ImportPathError
    from .pipelines.loader import split_import_path
    from .pipelines.spec import PipelineSpec, builtin_pipeline_spec

    if options.pipeline_import:
        spec = PipelineSpec(pipeline_cls=options.pipeline_import, params_cls=options.params_import or None)
    elif options.pipeline.lstrip().startswith("{"):
        spec = _spec_from_json(options.pipeline)
    else:
        builtin = builtin_pipeline_spec(options.pipeline or "noop")
        if builtin is None:
            raise ImportPathError(f"'{options.pipeline}' is no built-in pipeline (noop is); use --pipeline-import")
        spec = builtin
    for path in filter(None, (spec.pipeline_cls, spec.params_cls)):
        split_import_path(path)
    if options.initial_params:
        spec.initial_params = {**spec.initial_params, **_json_object("--initial-params", options.initial_params)}
    if options.typed_params:
        spec.typed_params = _json_object("--typed-params", options.typed_params)
    return spec


def _spec_from_json(text: str) -> PipelineSpec:
    from pydantic import ValidationError

    from .pipelines.spec import PipelineSpec

    try:
        return PipelineSpec.model_validate(_json_object("--pipeline", text))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ValueError(f"--pipeline is no PipelineSpec: {'; '.join(problems)}") from error


def _json_object(flag: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{flag} is not JSON: {error} in {text}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{flag} must be a JSON object, not {text}")
    return value


def _trickle(options: argparse.Namespace) -> TrickleOptions:
    """How streams of the network are handled.

    Raises:
        AddressError: the allow-list is none.
    """
    from .streamer.protocol.trickle import TrickleOptions
    from .trickle.address import StreamAddresses

    return TrickleOptions(
        max_fps=options.max_fps or None,
        hardware=options.hardware,
        addresses=StreamAddresses(options.allow),
        verify_tls=options.verify_tls,
    )


def _bind(options: argparse.Namespace) -> socket.socket:
    """The socket to listen on.

    Raises:
        ValueError: it cannot be had.
    """
    if options.http_socket:
        path = options.http_socket
        _remove_abandoned(path)
        listening = socket.socket(socket.AF_UNIX)
        address: object = path
    else:
        listening = socket.socket(socket.AF_INET6 if ":" in options.http_host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address = (options.http_host, options.http_port)
    try:
        listening.bind(address)  # type: ignore[arg-type]
    except OSError as error:
        listening.close()
        way_out = "" if options.http_socket else "; --http-port 0 takes a free one"
        raise ValueError(f"cannot listen on {address}: {error.strerror or error}{way_out}") from error
    listening.listen(64)
    return listening


def _remove_abandoned(path: str) -> None:
    """Take away a socket that nobody listens on any more.

    Raises:
        ValueError: somebody does.
    """
    if not os.path.exists(path) or not stat.S_ISSOCK(os.stat(path).st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        raise ValueError(f"cannot listen on {path}: another host does")
    os.unlink(path)


async def _serve(
    options: argparse.Namespace, spec: PipelineSpec, trickle: TrickleOptions, listening: socket.socket
) -> int:
    from dataclasses import replace

    from .host import RunnerHost
    from .process.policy import PRODUCTION, STUDIO, ReloadOptions
    from .process.resources import FOLDER_PREFIX
    from .process.segment import sweep_segments
    from .run_folder import sweep_run_folders

    sweep_segments()
    sweep_run_folders(FOLDER_PREFIX)
    policy = replace(STUDIO if options.studio else PRODUCTION, load_timeout_s=options.load_timeout)
    reload = ReloadOptions(
        keep_weights=options.keep_weights,
        trusted=tuple(options.in_place),
        standby=options.standby,
        standby_min_free_bytes=options.standby_reserve << 20,
        replace=options.replace,
        snapshots=Path(options.snapshots) if options.snapshots else None,
    )
    host = RunnerHost(
        spec,
        policy,
        log=not options.studio,
        options=reload,
        trickle=trickle,
        run_folder=Path(options.run_folder) if options.run_folder else None,
        taps=options.studio,
        verbose=options.verbose,
    )
    ending = _Ending(host, lambda: _tidy(options))
    supervised = options.supervised or options.studio
    ending.watch(stdin=supervised)
    told = asyncio.Event()
    telling = asyncio.create_task(_tell_processes(host, told)) if supervised else None
    # The process first: it imports torch while the web framework is imported here.
    host.start()
    await asyncio.sleep(0.01)  # until it has been told what to load
    try:
        server = _server(host, options.stream_protocol)
        asking = asyncio.create_task(ending.tell(server))
        if options.subscribe_url:
            await _first_stream(host, options)
        _tell({"listening": _url(listening)})
        told.set()
        await server.serve(sockets=[listening])
        asking.cancel()
    finally:
        ending.limit()
        await host.close()
        if telling is not None:
            telling.cancel()
        ending.tidy()
    return 0


async def _tell_processes(host: RunnerHost, told: asyncio.Event) -> None:
    """Print a line on stdout for each pipeline process, after the line that names the address (`told`).

    Lines outlive this process, which events do not: its parent can end the processes that it has left behind.
    """
    from .events import LoadStepped

    async for event in host.hub.listen():
        if isinstance(event, LoadStepped) and event.step == "start process":
            await told.wait()
            _tell({"revision": event.revision, "process": event.pid})


def _tell(fact: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is there any more; standard input tells that
        print(json.dumps(fact), flush=True)


def _server(host: RunnerHost, protocol: ProtocolName):  # type: ignore[no-untyped-def]  # uvicorn is imported here only
    import uvicorn

    from .api.app import create_api

    class Server(uvicorn.Server):
        """Ends the endless event streams before it waits for connections to end."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Signals are `_Ending`'s: uvicorn's own way raises them again, before the pipeline could be stopped."""
            yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            host.hub.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        create_api(host, protocol), log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    return Server(config)


class _Ending:
    """How this process ends: when it is asked to, in order, and after `SHUTDOWN_LIMIT_S` without it."""

    def __init__(self, host: RunnerHost, tidy: Callable[[], None]) -> None:
        """`tidy`: removes what this process has made on disk; may be called twice."""
        self.tidy = tidy
        self._host = host
        self._asked = asyncio.Event()

    def watch(self, *, stdin: bool) -> None:
        """Listen to signals and, with `stdin`, for the end of it: its other end is held by the studio alone."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask)
        if stdin:
            threading.Thread(target=self._wait_stdin, args=(loop,), name="stdin", daemon=True).start()

    async def tell(self, server: Any) -> None:
        """Pass on to the web server that it is time."""
        await self._asked.wait()
        server.should_exit = True

    def limit(self) -> None:
        """From now on there are `SHUTDOWN_LIMIT_S` left."""
        threading.Thread(target=self._end_for_sure, name="end", daemon=True).start()

    def _ask(self) -> None:
        self._asked.set()
        self.limit()

    def _wait_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(self._asked.set)
        self._end_for_sure()

    def _end_for_sure(self) -> None:
        time.sleep(SHUTDOWN_LIMIT_S)
        self._host.kill()
        self.tidy()
        os._exit(1)


async def _first_stream(host: RunnerHost, options: argparse.Namespace) -> None:
    from ..errors import AddressError, RunnerError
    from .streamer.protocol.protocol import StreamRequest

    try:
        request = StreamRequest(
            source=options.subscribe_url,
            sink=options.publish_url or None,
            request_id=options.request_id or "stream",
            protocol=options.stream_protocol,
            manifest_id=options.manifest_id,
            stream_id=options.stream_id,
            control_url=options.control_url,
            events_url=options.events_url,
        )
        await host.begin(request, {})
    except RunnerError as error:
        way_out = " (files and cameras need --stream-protocol local)" if isinstance(error, AddressError) else ""
        logging.error("%s%s", error, way_out)


def _url(listening: socket.socket) -> str:
    address = listening.getsockname()
    return f"unix:{address}" if isinstance(address, str) else f"http://{address[0]}:{address[1]}"


def _tidy(options: argparse.Namespace) -> None:
    """Remove what was kept, the socket and, if the studio made one for it, its folder."""
    if options.snapshots:
        from .code.store import SnapshotStore

        with contextlib.suppress(OSError):
            store = SnapshotStore(Path(options.snapshots))
            store.prune(())
            store.sweep()
            os.rmdir(options.snapshots)
    if not options.http_socket:
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(options.http_socket)
    if options.studio:
        with contextlib.suppress(OSError):  # not empty: not made for this
            os.rmdir(os.path.dirname(options.http_socket))


if __name__ == "__main__":
    sys.exit(main())
