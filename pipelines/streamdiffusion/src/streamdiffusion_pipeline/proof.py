"""``python -m streamdiffusion_pipeline.proof``: load the params on standard input and paint one picture; exit code 0.

Run by `prepare.prove` with ``HF_HUB_OFFLINE=1``: the hub's library looks at that variable when it is imported.
"""

from __future__ import annotations

import sys

from .errors import ModelError
from .params import StreamDiffusionParams


def main() -> int:
    """1 if it cannot be done, with the reason as the last line of standard error."""
    from PIL import Image

    from .painter import Painter

    params = StreamDiffusionParams.model_validate_json(sys.stdin.read())
    try:
        # Any picture does for the IP-Adapter: the real one comes with the parameters of a stream.
        painter: Painter[None] = Painter.load(params, Image.new("RGB", (64, 64)))
        painter.try_out()
    except ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
