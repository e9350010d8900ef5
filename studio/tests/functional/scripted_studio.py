"""The studio over a scripted session, as a program of its own for tests that need a real terminal."""

from __future__ import annotations

import asyncio
import signal
import sys

from scripted_session import ScriptedSession, plasma, running

from ai_runner_studio.preview.terminal import Terminal
from ai_runner_studio.tui.app import StudioApp


async def main() -> int:
    session = ScriptedSession()
    app = StudioApp(session, terminal=Terminal())  # type: ignore[arg-type]

    async def play() -> None:
        session.post(**running())
        moment = 0.0
        while True:
            session.input_tap.write(plasma(moment, 64, 64))
            session.output_tap.write(255 - plasma(moment, 64, 64))
            moment += 0.1
            await asyncio.sleep(1 / 30)

    player = asyncio.create_task(play())
    try:
        await app.run_async()
    finally:
        player.cancel()
        session.close()
    return app.return_code or 0


if __name__ == "__main__":
    # Else the kernel would end it when the terminal is closed, and nothing would be shown by that.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(asyncio.run(main()))
