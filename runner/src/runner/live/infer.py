"""The runner host's command line: ``python -m runner.live.infer --pipeline-import pkg.module:Class``.

It loads the pipeline into a process of its own, guards it, and serves the control API on 127.0.0.1
or a Unix socket. Ends on SIGTERM and SIGINT, and with ``--studio`` also when its standard input is
closed, which happens when whoever started it dies, however violently.
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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .host import RunnerHost
    from .pipelines.spec import PipelineSpec

DEFAULT_PORT = 8888
SHUTDOWN_LIMIT_S = 4.5  # an orderly end takes less; after that the process ends itself


def main(arguments: list[str] | None = None) -> int:
    """Run the host; the exit code: 0 ended in order, 2 wrong use."""
    from ..errors import RunnerError

    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        spec = _spec(options)
        listening = _bind(options)
    except (RunnerError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # The folder that -m was run from is where the pipeline's own modules are looked for.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return asyncio.run(_serve(options, spec, listening))


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
    api = parser.add_argument_group("control API")
    api.add_argument("--http-port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    api.add_argument("--http-host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    api.add_argument("--http-socket", default="", metavar="PATH", help="a Unix socket instead of a port")
    stream = parser.add_argument_group("stream to start at once")
    protocol = env.get("STREAM_PROTOCOL", "local")
    stream.add_argument("--stream-protocol", default=protocol, help="default: %(default)s")
    stream.add_argument("--subscribe-url", default="", help="where frames come from")
    stream.add_argument("--publish-url", default="", help="where frames go to")
    verbose = env.get("VERBOSE_LOGGING") == "1"
    parser.add_argument("-v", "--verbose", action="store_true", default=verbose, help="debug logs")
    parser.add_argument(
        "--studio", action="store_true", help="preview taps, restarts without limit, ends when standard input closes"
    )
    parser.add_argument("--load-timeout", type=float, default=180.0, metavar="S", help="default: %(default)s")
    return parser


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
        spec = PipelineSpec.model_validate_json(options.pipeline)
    else:
        builtin = builtin_pipeline_spec(options.pipeline or "noop")
        if builtin is None:
            raise ImportPathError(f"'{options.pipeline}' is no built-in pipeline (noop is); use --pipeline-import")
        spec = builtin
    for path in filter(None, (spec.pipeline_cls, spec.params_cls)):
        split_import_path(path)
    if options.initial_params:
        initial = json.loads(options.initial_params)
        if not isinstance(initial, dict):
            raise ValueError(f"--initial-params must be a JSON object, not {options.initial_params}")
        spec.initial_params = {**spec.initial_params, **initial}
    return spec


def _bind(options: argparse.Namespace) -> socket.socket:
    """The socket to listen on.

    Raises:
        ValueError: it cannot be had.
    """
    if options.http_socket:
        path = options.http_socket
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
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


async def _serve(options: argparse.Namespace, spec: PipelineSpec, listening: socket.socket) -> int:
    from .host import RunnerHost
    from .process.policy import PRODUCTION, STUDIO
    from .process.segment import sweep_segments

    sweep_segments()
    policy = STUDIO if options.studio else PRODUCTION
    host = RunnerHost(spec, policy, protocol=options.stream_protocol, taps=options.studio, verbose=options.verbose)
    # The process first: it imports torch while the web framework is imported here.
    host.start()
    await asyncio.sleep(0)
    server = _server(host)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    if options.studio:
        _end_with_stdin(loop, server)
    if options.subscribe_url:
        await _first_stream(host, options)
    print(json.dumps({"listening": _url(listening)}), flush=True)
    try:
        await server.serve(sockets=[listening])
    finally:
        threading.Thread(target=_end_for_sure, daemon=True).start()
        await host.close()
        if options.http_socket:
            _remove(options.http_socket)
    return 0


def _server(host: RunnerHost):  # type: ignore[no-untyped-def]  # uvicorn is imported here only
    import uvicorn

    from .api.app import create_api

    class Server(uvicorn.Server):
        """Ends the endless event streams before it waits for connections to end, and leaves signals to us."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again once it has ended, and so before the host has.
            yield

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            host.hub.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        create_api(host), log_level="warning", access_log=False, timeout_graceful_shutdown=1, ws="none"
    )
    return Server(config)


async def _first_stream(host: RunnerHost, options: argparse.Namespace) -> None:
    from ..errors import RunnerError
    from .streamer.protocol.protocol import StreamRequest

    try:
        await host.start_stream(StreamRequest(source=options.subscribe_url, sink=options.publish_url or None))
    except RunnerError as error:
        logging.error("%s", error)


def _end_with_stdin(loop: asyncio.AbstractEventLoop, server: object) -> None:
    """End when standard input does: its other end is held by the studio and by nobody else."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(setattr, server, "should_exit", True)
        _end_for_sure()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _end_for_sure() -> None:
    time.sleep(SHUTDOWN_LIMIT_S)
    # The pipeline process dies with this one.
    os._exit(1)


def _url(listening: socket.socket) -> str:
    address = listening.getsockname()
    return f"unix:{address}" if isinstance(address, str) else f"http://{address[0]}:{address[1]}"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    sys.exit(main())
