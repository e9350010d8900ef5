"""``python -m runner.live_runner runners-json``: what an orchestrator's operator needs to register this runner."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import RunnerError
from .runners_json import DEFAULT_HEALTH_PATH, ROUTINGS, runners_json
from .settings import SETTINGS, LiveRunnerSettings

_OFFER = ("runner_url", "app", "version", "metadata", "mode", "capacity", "proxy", "price", "currency", "price_unit")
_TEACHING = """
examples:
  python -m runner.live_runner runners-json --runner-url http://10.0.0.5:8000 --model-id my-pipeline > runners.json
  python -m runner.live_runner runners-json --runner-url http://runner:8000 --model-id my-pipeline \\
      --price 0.25 --price-unit hour --label my-pipeline-1 --routing label

then, where the orchestrator runs:
  livepeer -orchestrator -serviceAddr HOST:8935 -liveRunnerConfig runners.json
or, while it runs:
  curl -X POST http://127.0.0.1:7935/registerLiveRunners --data-binary @runners.json

The runner itself is started with LIVE_RUNNER=1, which turns the routes on. Every flag can also be set by the
environment variable that is named beside it; the flag goes first. exit code: 0 printed, 2 wrong use.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = _parser().parse_args(arguments)
    flags = {name: getattr(options, name) for name in _OFFER}
    try:
        # What is printed needs neither the switch nor the secret of a registration.
        settings = LiveRunnerSettings.from_env(model_id=options.model_id, flags={**flags, "enabled": "0"})
        if not options.model_id and settings.app == LiveRunnerSettings().app:
            raise RunnerError("name the pipeline: --model-id my-pipeline, or --app live-video-to-video/my-pipeline")
        print(
            runners_json(
                settings,
                label=options.label,
                routing=options.routing,
                health_url=options.health_url,
                gpu=_gpu() if options.gpu else None,
            )
        )
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not settings.price:
        print("note: no price; an orchestrator on chain refuses that (--price 0.25)", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner.live_runner", description="Tools for serving a pipeline by the live-runner contract."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "runners-json",
        help="print the file that registers this runner with an orchestrator",
        description="Print the file that registers this runner with an orchestrator (static registration).",
        epilog=_TEACHING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--model-id",
        default=os.environ.get("MODEL_ID", ""),
        metavar="NAME",
        help="the pipeline's name on the network [MODEL_ID]",
    )
    for name in _OFFER:
        setting = SETTINGS[name]
        command.add_argument(
            setting.flag,
            dest=name,
            metavar="URL" if name == "runner_url" else name.upper(),
            help=f"{setting.meaning} [{setting.variable}]",
        )
    command.add_argument("--label", default="", help="names this runner across registrations (default: its model)")
    command.add_argument(
        "--routing", choices=ROUTINGS, default="runner-id", help="what public URLs have in them (default: %(default)s)"
    )
    command.add_argument(
        "--health-url", default=DEFAULT_HEALTH_PATH, metavar="URL", help="polled every 5 s (default: %(default)s)"
    )
    command.add_argument("--gpu", action="store_true", help="add this machine's first GPU, as its driver tells it")
    return parser


def _gpu() -> dict[str, object]:
    from .gpu import first_gpu

    found = first_gpu()
    if found is None:
        raise RunnerError("--gpu: no NVIDIA GPU and driver is found on this machine; leave the flag out")
    return found


if __name__ == "__main__":
    sys.exit(main())
