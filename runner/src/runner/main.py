"""The pipeline that the environment names: ``python -m runner.main``, or ``uvicorn runner.main:app``.

`runner.command_line` says which variables there are. Under uvicorn the host, the port and what happens at the end
are uvicorn's own affair; give it ``--timeout-graceful-shutdown 1``.
"""

from __future__ import annotations

import sys

from runner.app import create_app, serve
from runner.command_line import parse
from runner.live.log import configure


def main() -> None:
    """As `runner.app.start_app`, but flags that are not known are an error."""
    serve(parse(sys.argv[1:], strict=True), None, None, None, {})


if __name__ == "__main__":
    main()
else:
    configure()
    app = create_app()
