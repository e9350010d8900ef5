"""The plan in words."""

from __future__ import annotations

import pytest

from ai_runner_studio.export.plan import LeftOut
from ai_runner_studio.export.summary import size_text, summary

from .plans import plan


def test_it_names_what_is_in_the_image_and_what_is_not() -> None:
    weights = LeftOut(what="weights.bin", why="prepared on the machine that serves", bytes=3_400_000)
    made = plan(left_out=(weights, LeftOut(what=".env", why="it may hold a secret")))
    lines = summary(made).splitlines()
    assert f"image     {made.tag}" in lines
    assert f"pipeline  {made.pipeline_import}" in lines
    assert [line for line in lines if line.startswith(f"  {made.own[0].name} {made.own[0].version} (")]
    for layer in made.layers:
        assert [line for line in lines if line.split()[:2] == [layer.name, str(len(layer.requirements))]]
    at = lines.index("not in the image:")
    assert lines[at + 1 :] == [
        "  weights.bin (3.4 MB): prepared on the machine that serves",
        "  .env: it may hold a secret",
    ]


@pytest.mark.parametrize(("size", "text"), [(999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (1_000_000, "1.0 MB")])
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
