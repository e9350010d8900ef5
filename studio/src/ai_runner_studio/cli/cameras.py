"""``ai-runner-studio cameras``: capture devices by name."""

from __future__ import annotations

from typing import Annotated

import typer


def command(json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the cameras, with what to give as --input."""
    from ..sources.cameras import cameras, can_list

    found = cameras()
    if json:
        import json as encoder
        from dataclasses import asdict

        typer.echo(encoder.dumps({"cameras": [asdict(camera) for camera in found]}, indent=2))
    elif found:
        for camera in found:
            problem = f"  ({camera.problem})" if camera.problem else ""
            typer.echo(f"{camera.input:<10}  {camera.name}  {camera.path}{problem}")
    elif can_list():
        typer.echo("No camera found (there is no capture device below /dev).")
    else:
        typer.echo("Cameras cannot be listed on this system; try --input webcam:0, webcam:1, ...")
