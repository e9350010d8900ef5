"""What the command line and the environment ask of the container's HTTP server."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from . import __version__
from .errors import PipelineLoadError, RunnerError
from .import_path import split_import_path
from .live.pipelines import PipelineSpec, builtin_pipeline_spec
from .pipelines.live_video_to_video import LiveVideoToVideoPipeline

_ENVIRONMENT = """environment:
  PIPELINE_IMPORT    package.module:Class of the pipeline; PARAMS_IMPORT that of its parameters
  PIPELINE           live-video-to-video
  MODEL_ID           name of the pipeline on the network; without PIPELINE_IMPORT a built-in one (noop)
  HOST, PORT         where to listen (127.0.0.1, 8000)
  AUTH_TOKEN         bearer token that starts of streams must bring
  MODEL_DIR          where models lie (~/.lpData/models)
  VERSION            what /version tells
  PREPARE_MODELS=1   as --prepare-models
  VERBOSE_LOGGING=1  debug logs; LOG_FORMAT=json: JSON lines
  MAX_FPS            pictures above this rate are left out (24), 0 takes all
  TRICKLE_HARDWARE   auto, hardware or software: whether the GPU decodes and encodes
  TRICKLE_ALLOW      hosts and networks that streams may be on, with commas between them
  TRICKLE_VERIFY_TLS=1  refuse certificates that nobody known has signed
  LIVE_RUNNER=1      serve the live-runner contract too
"""


class UsageError(RunnerError):
    """Asked for wrongly: a flag's or a variable's value."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for; None where nothing was."""

    host: str | None = None
    port: int | None = None
    prepare_models: bool = False


def parse(arguments: Sequence[str], *, strict: bool, environ: Mapping[str, str] | None = None) -> Options:
    """Read flags and environment; flags come first.

    Args:
        strict: flags that are not known are an error; else they are somebody else's.

    Raises:
        SystemExit: for ``--help``, ``--version`` and wrong flags, as argparse does.
    """
    env = os.environ if environ is None else environ
    parser = argparse.ArgumentParser(
        prog="python -m runner.main" if strict else None,
        description="Serve a live video pipeline over HTTP.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--host", default=env.get("HOST") or None, help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=_port, default=env.get("PORT") or None, help="0 takes a free one (8000)")
    parser.add_argument("--prepare-models", action="store_true", help="only download and compile models, then exit")
    parser.add_argument("--version", action="version", version=f"ai-runner-base {__version__}")
    options = parser.parse_args(arguments) if strict else parser.parse_known_args(arguments)[0]
    return Options(options.host, options.port, options.prepare_models or env.get("PREPARE_MODELS") == "1")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port (0 to 65535)")
    return int(text)


def named_pipeline(environ: Mapping[str, str]) -> PipelineSpec:
    """The pipeline that the environment names: by `PIPELINE_IMPORT`, or a built-in one by `MODEL_ID`.

    Raises:
        PipelineLoadError: it names none that this runner could serve.
    """
    kind, model_id = environ.get("PIPELINE") or LiveVideoToVideoPipeline.name, environ.get("MODEL_ID") or ""
    if kind != LiveVideoToVideoPipeline.name:
        raise PipelineLoadError(f"PIPELINE is '{kind}': this runner serves {LiveVideoToVideoPipeline.name}")
    if pipeline_import := environ.get("PIPELINE_IMPORT"):
        params_import = environ.get("PARAMS_IMPORT") or None
        for path in filter(None, (pipeline_import, params_import)):
            split_import_path(path)
        return PipelineSpec(name=model_id, pipeline_cls=pipeline_import, params_cls=params_import)
    if not model_id:
        raise PipelineLoadError(
            "no pipeline is named: set PIPELINE_IMPORT=package.module:Class, or MODEL_ID=noop for the built-in one"
        )
    spec = builtin_pipeline_spec(model_id)
    if spec is None:
        raise PipelineLoadError(f"MODEL_ID is '{model_id}', which is not built in (noop is): set PIPELINE_IMPORT too")
    return spec
