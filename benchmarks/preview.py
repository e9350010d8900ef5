"""What does a picture on the terminal cost: CPU time to make its bytes, and how many bytes?

    python -m benchmarks.preview [--pictures 60]

The pictures are those of the bundled sample `shapes`, at 1280x720, as they come out of a tap, and fill
the region. Kitty and sixel pictures have the pixels that the region has with cells of 10x20, kitty at
most as many as the studio sends. *same rows* is the share of rows that did not change since
the picture before: those are not sent again. The terminal's own work, and Textual's, is not in here.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import publish

REGIONS = ((120, 34), (200, 56))  # columns, rows
CELL = (10, 20)  # pixels
KITTY_PIXELS = 512 * 512
SIZE = (1280, 720)

Picture = NDArray[np.uint8]
Encode = Callable[[Picture], list[str]]


def pictures_of_sample(count: int) -> list[Picture]:
    """The first pictures of the sample, uint8 (720, 1280, 3)."""
    import ai_runner_samples
    from runner.live.trickle import RawFrame
    from runner.live.trickle.decoder import Decoder, Location

    path = Path(ai_runner_samples.__file__).with_name("videos") / "shapes.mp4"
    decoder = Decoder(Location(str(path), path.name), *SIZE)
    frames = (item.pixels.copy() for item in decoder if isinstance(item, RawFrame))
    pictures = list(itertools.islice(frames, count))
    decoder.close()
    return pictures


def ways(columns: int, rows: int) -> dict[str, Encode]:
    """Name -> from a picture to the rows of text (or the one sequence) that show it."""
    from ai_runner_studio.preview import blocks, kitty, ramp, sixel
    from ai_runner_studio.preview.scale import nearest, resize

    width, height = columns * CELL[0], rows * CELL[1]
    fewer = min(1.0, (KITTY_PIXELS / (width * height)) ** 0.5)
    kitty_size = (round(width * fewer), round(height * fewer))

    def kitty_direct(picture: Picture) -> list[str]:
        return [kitty.placed(nearest(picture, *kitty_size), 1, columns, rows, by_file=False)]

    def kitty_file(picture: Picture) -> list[str]:
        return [kitty.placed(nearest(picture, *kitty_size), 1, columns, rows, by_file=True)]

    return {
        "blocks 24-bit": lambda picture: blocks.encode_rows(resize(picture, columns, 2 * rows), "24-bit"),
        "blocks few levels": lambda picture: blocks.encode_rows(resize(picture, columns, 2 * rows), "few levels"),
        "blocks 256": lambda picture: blocks.encode_rows(resize(picture, columns, 2 * rows), "256"),
        "characters": lambda picture: ramp.encode_rows(resize(picture, columns, rows)),
        "kitty": kitty_direct,
        "kitty by file": kitty_file,
        "sixel": lambda picture: [sixel.encode(nearest(picture, width, height)).decode("ascii")],
    }


def measure(encode: Encode, pictures: list[Picture]) -> dict[str, float]:
    """Medians per picture: CPU ms, kB if all is sent, kB if only the rows that changed are, share of equal rows."""
    encode(pictures[0])
    cpu_ms, sizes, changed_sizes, same = [], [], [], []
    before: list[str] = []
    for picture in pictures:
        began = time.process_time()
        rows = encode(picture)
        cpu_ms.append((time.process_time() - began) * 1000)
        sizes.append(sum(len(row.encode()) for row in rows) / 1000)
        if len(rows) > 1 and before:
            changed = [row for row, old in zip(rows, before, strict=True) if row != old]
            changed_sizes.append(sum(len(row.encode()) for row in changed) / 1000)
            same.append(1 - len(changed) / len(rows))
        before = rows
    return {
        "CPU ms": round(statistics.median(cpu_ms), 2),
        "kB": round(statistics.median(sizes), 1),
        "kB changed": round(statistics.median(changed_sizes or sizes), 1),
        "same rows": round(statistics.median(same or [0.0]), 2),
    }


def main(count: int) -> None:
    from ai_runner_studio.preview import kitty

    pictures = pictures_of_sample(count)
    rows: list[dict[str, Any]] = []
    for columns, lines in REGIONS:
        for name, encode in ways(columns, lines).items():
            rows.append({"cells": f"{columns}x{lines}", "way": name, **measure(encode, pictures)})
    kitty.sweep()
    publish("preview", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60, help="default: %(default)s")
    main(parser.parse_args().pictures)
