"""The container's HTTP server (contract parts 3 and 7.1).

`create_app` is for any ASGI server, `start_app` for entrypoints.

An entrypoint package is a few lines::

    from runner.app import start_app
    from runner.live.pipelines import PipelineSpec

    start_app(PipelineSpec(name="my-model", pipeline_cls="my_pipeline.pipeline:MyPipeline"))

The pipeline runs in a runner host of its own, which this process supervises: nothing that a pipeline does keeps
the server from answering.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import __version__
from .command_line import Options, named_pipeline, parse
from .errors import RunnerError
from .hardware import Hardware
from .live.log import LineWriter, configure
from .live.network_settings import NetworkSettings
from .live.pipelines import PipelineSpec
from .live_runner import LiveRunnerSettings
from .live_runner.routes import attach
from .pipelines.live_video_to_video import LiveVideoToVideoPipeline
from .routes import hardware, health, live_video_to_video, metrics, version
from .routes.answers import answer_errors
from .routes.body_limit import BodyLimit

logger = logging.getLogger(__name__)


def create_app(pipeline: PipelineSpec | LiveVideoToVideoPipeline | None = None) -> FastAPI:
    """The ASGI app; its lifespan starts and ends the pipeline's host.

    Under an ASGI server of somebody else's (``uvicorn runner.main:app``) the process stays when the host has ended
    for good, and ``/health`` says ERROR; `start_app` ends the process then.

    Args:
        pipeline: by default what the environment names, see `runner.command_line.named_pipeline`.
    """
    app = FastAPI(
        title="Livepeer AI Runner",
        description="An application to run AI pipelines",
        version=__version__,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.wanted = pipeline
    answer_errors(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(_StartupFailure)
    for routes in (health, hardware, version, metrics, live_video_to_video):
        app.include_router(routes.router)
    return app


class _StartupFailure:
    """ASGI middleware: why the app does not start is told in one line; the traceback would say it of this code."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def shortened(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                lines = message.get("message", "").strip().splitlines() or [""]
                message = {**message, "message": lines[-1]}
            await send(message)

        await self._app(scope, receive, shortened if scope["type"] == "lifespan" else send)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    pipeline = _pipeline(app.state.wanted)
    app.state.pipeline = pipeline
    app.state.addresses = NetworkSettings.from_env(os.environ).addresses
    app.state.hardware = Hardware()
    settings = LiveRunnerSettings.from_env(model_id=pipeline.model_id)
    live_runner = attach(app, pipeline, settings, app.state.addresses)
    app.state.in_session = lambda: live_runner.busy
    await pipeline.start()
    await live_runner.start()
    logger.info("serving %s, version %s", pipeline.model_id, pipeline.version)
    try:
        yield
    finally:
        await live_runner.close()
        await pipeline.close()


def _pipeline(wanted: PipelineSpec | LiveVideoToVideoPipeline | None) -> LiveVideoToVideoPipeline:
    """The pipeline that was given, or that the environment names.

    Raises:
        RunnerError: it names none.
    """
    if isinstance(wanted, LiveVideoToVideoPipeline):
        pipeline = wanted
    else:
        pipeline = LiveVideoToVideoPipeline(wanted or named_pipeline(os.environ))
    model_id = os.environ.get("MODEL_ID")
    if model_id and model_id != pipeline.model_id:
        logger.warning(
            "MODEL_ID is '%s', but the pipeline's name is '%s': an orchestrator's requests will be refused. "
            "Give the PipelineSpec the name '%s'.",
            model_id,
            pipeline.model_id,
            model_id,
        )
    return pipeline


def start_app(
    pipeline: PipelineSpec | LiveVideoToVideoPipeline | None = None,
    host: str | None = None,
    port: int | None = None,
    **uvicorn_kwargs: Any,
) -> None:
    """Serve a pipeline until SIGTERM, SIGINT or SIGHUP; what runs then is ended in order within 7 s.

    With ``PREPARE_MODELS=1`` or ``--prepare-models`` it only prepares the pipeline's models, and returns. The
    flags ``--host``, ``--port``, ``--version`` and ``--help`` are understood too; flags that it does not know are
    left to the entrypoint.

    Args:
        pipeline: by default what the environment names, see `runner.command_line.named_pipeline`.
        host: to listen on. By default `HOST`, else 127.0.0.1: only this machine. Container images set ``0.0.0.0``.
        port: by default `PORT`, else 8000; 0 takes a free one.
        **uvicorn_kwargs: further settings of `uvicorn.Config`.

    Raises:
        SystemExit: 1 with one line that says why: wrong use, a port in use, models that were not prepared, a host
            that has ended for good (so that a container's restart policy acts).
    """
    serve(parse(sys.argv[1:], strict=False), pipeline, host, port, uvicorn_kwargs)


def serve(
    options: Options,
    pipeline: PipelineSpec | LiveVideoToVideoPipeline | None,
    host: str | None,
    port: int | None,
    uvicorn_kwargs: dict[str, Any],
) -> None:
    """`start_app` with its command line read. What is asked for there comes before `host` and `port`."""
    lines = LineWriter()
    configure(stream=lines)
    try:
        code = _serve(options, pipeline, host, port, uvicorn_kwargs, lines)
    except RunnerError as error:
        lines.write(f"error: {error}\n")
        code = 1
    except KeyboardInterrupt:  # before the server listened to signals
        code = 130
    finally:
        lines.close()
    if code:
        raise SystemExit(code)


def _serve(
    options: Options,
    wanted: PipelineSpec | LiveVideoToVideoPipeline | None,
    host: str | None,
    port: int | None,
    uvicorn_kwargs: dict[str, Any],
    lines: LineWriter,
) -> int:
    pipeline = _pipeline(wanted)
    if options.prepare_models:
        from .prepare import prepare_models

        return prepare_models(pipeline.pipeline_spec)
    import uvicorn

    from .server import AppServer, listen, url

    NetworkSettings.from_env(os.environ)  # what is wrong there is told in one line, before anything is started
    pipeline.on_line = lines.write_line
    defaults: dict[str, Any] = {"log_config": None, "log_level": "warning", "access_log": False, "ws": "none"}
    config = uvicorn.Config(create_app(pipeline), **{**defaults, "timeout_graceful_shutdown": 1, **uvicorn_kwargs})
    server = AppServer(config, pipeline, lines.close)
    if {"uds", "fd"} & uvicorn_kwargs.keys():
        server.run()
    else:
        listening = listen(options.host or host or "127.0.0.1", _first_given(options.port, port, 8000))
        logger.info("listening on %s", url(listening))
        with listening:
            server.run(sockets=[listening])
    return server.exit_code if server.started else 1


def _first_given(*ports: int | None) -> int:
    return next(port for port in ports if port is not None)
