"""Draws docs/pictures/studio.svg: the studio as it really runs, on a bundled clip.

    python docs/pictures/make_studio_picture.py [--size 120x36] [--pipeline PATH] [--input NAME] [FILE.svg]

Turn it into a PNG with: rsvg-convert --zoom 1 FILE.svg -o docs/pictures/studio.png
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from ai_runner_studio.session import Session
from ai_runner_studio.settings import Settings
from ai_runner_studio.tui.app import StudioApp

SETTLE_S = 6.0  # of streaming, so that the figures mean something


async def draw(arguments: argparse.Namespace) -> None:
    width, height = (int(number) for number in arguments.size.split("x"))
    session = Session(Settings(arguments.pipeline, input=arguments.input, preview="blocks"))
    await session.start()
    try:
        app = StudioApp(session)
        async with app.run_test(size=(width, height)) as pilot:
            while session.snapshot.serving is None:
                await pilot.pause(0.2)
            await pilot.pause(SETTLE_S)
            Path(arguments.file).write_text(app.export_screenshot(title="ai-runner-studio"))
    finally:
        await session.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", default=str(Path(__file__).with_name("studio.svg")))
    parser.add_argument("--size", default="120x36")
    parser.add_argument("--pipeline", default="ai_runner_samples.edges.pipeline:Edges")
    parser.add_argument("--input", default="astronaut")
    asyncio.run(draw(parser.parse_args()))
