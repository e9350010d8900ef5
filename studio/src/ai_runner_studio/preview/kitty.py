"""The kitty graphics protocol: pictures sent beside the text, by direct data or by a file in memory.

Inside tmux the sequences are wrapped for its passthrough, and the picture is shown by placeholder
characters (``U+10EEEE``), because only text is sure to stand where tmux puts it.
"""

from __future__ import annotations

import base64
import os
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runner.live.running import is_running

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLACEHOLDER = "\U0010eeee"
_CHUNK_BYTES = 4096
_FOLDERS = ("/dev/shm", tempfile.gettempdir())  # a file in memory costs no disk
_FILE_PREFIX = "tty-graphics-protocol-ai-runner-"  # terminals delete only files named like the first three words


def placed(pixels: NDArray[np.uint8], image: int, columns: int, rows: int, *, by_file: bool) -> str:
    """Send a picture as image number `image` and show it at the cursor, over `columns` x `rows` cells.

    Args:
        pixels: uint8 (H, W, 3), RGB.
        by_file: through a temporary file that the terminal deletes; only for one on this machine.
    """
    control = f"a=T,i={image},p=1,c={columns},r={rows},C=1"
    return _sent(pixels, control, by_file=by_file)


def virtual(pixels: NDArray[np.uint8], image: int, columns: int, rows: int, *, by_file: bool) -> str:
    """Send a picture that `placeholder_rows` will show, wrapped for tmux."""
    return passed_through(_sent(pixels, f"a=T,U=1,i={image},p=1,c={columns},r={rows}", by_file=by_file))


def deleted(image: int) -> str:
    """Take a picture away and free it."""
    return f"\x1b_Ga=d,d=I,i={image},q=2\x1b\\"


def passed_through(sequences: str) -> str:
    """The same sequences, wrapped so that tmux hands each on to the terminal it runs in."""
    parts = sequences.split("\x1b\\")
    return "".join("\x1bPtmux;" + (part + "\x1b\\").replace("\x1b", "\x1b\x1b") + "\x1b\\" for part in parts if part)


def placeholder_rows(image: int, columns: int, rows: int) -> list[str]:
    """The text that shows image `image` (1-255): its number is the colour, its row a combining mark."""
    return [
        f"\x1b[38;5;{image}m{PLACEHOLDER}{ROW_MARKS[row]}{ROW_MARKS[0]}{PLACEHOLDER * (columns - 1)}\x1b[39m"
        for row in range(min(rows, len(ROW_MARKS)))
    ]


def query(image: int, *, by_file: bool) -> str:
    """Ask whether a picture could be sent in this way; an able terminal answers ``OK``."""
    pixel = np.zeros((1, 1, 3), np.uint8)
    return _sent(pixel, f"a=q,i={image}", by_file=by_file, quiet=False)


def sweep() -> None:
    """Delete files that a terminal was sent and did not take."""
    for path in _written:
        path.unlink(missing_ok=True)
    _written.clear()


def sweep_abandoned() -> None:
    """Delete such files of a studio that was killed."""
    for folder in _FOLDERS:
        for path in Path(folder).glob(f"{_FILE_PREFIX}*-*"):
            owner = path.name.removeprefix(_FILE_PREFIX).partition("-")[0]
            if owner.isdecimal() and not is_running(int(owner)):
                path.unlink(missing_ok=True)


_written: list[Path] = []


def _sent(pixels: NDArray[np.uint8], control: str, *, by_file: bool, quiet: bool = True) -> str:
    height, width = pixels.shape[:2]
    control = f"{control},f=24,s={width},v={height}" + (",q=2" if quiet else "")
    if by_file:
        name = base64.b64encode(str(_written_file(pixels)).encode()).decode()
        return f"\x1b_G{control},t=t;{name}\x1b\\"
    packed = zlib.compress(pixels.tobytes(), 1)
    data = base64.b64encode(packed).decode()
    chunks = [data[start : start + _CHUNK_BYTES] for start in range(0, len(data), _CHUNK_BYTES)]
    parts = [f"\x1b_G{control},o=z,m={int(len(chunks) > 1)};{chunks[0]}\x1b\\"]
    for number, chunk in enumerate(chunks[1:], 2):
        parts.append(f"\x1b_Gm={int(number < len(chunks))},q=2;{chunk}\x1b\\")
    return "".join(parts)


def _written_file(pixels: NDArray[np.uint8]) -> Path:
    folder = next(folder for folder in _FOLDERS if os.access(folder, os.W_OK))
    descriptor, name = tempfile.mkstemp(prefix=f"{_FILE_PREFIX}{os.getpid()}-", dir=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(np.ascontiguousarray(pixels).data)
    path = Path(name)
    _written.append(path)
    # The terminal deletes what it has read; what is left of the older ones was never read.
    while len(_written) > 8:
        _written.pop(0).unlink(missing_ok=True)
    return path


# The combining marks that number rows and columns, in the order in which the protocol lists them (a mark
# of class 230 without a decomposition, of Unicode 6.0); enough for the rows of any terminal in sight.
_MARKS = (
    "0305 030D 030E 0310 0312 033D 033E 033F 0346 034A 034B 034C 0350 0351 0352 0357 035B 0363 0364 0365 0366 "
    "0367 0368 0369 036A 036B 036C 036D 036E 036F 0483 0484 0485 0486 0487 0592 0593 0594 0595 0597 0598 0599 "
    "059C 059D 059E 059F 05A0 05A1 05A8 05A9 05AB 05AC 05AF 05C4 0610 0611 0612 0613 0614 0615 0616 0617 0657 "
    "0658 0659 065A 065B 065D 065E 06D6 06D7 06D8 06D9 06DA 06DB 06DC 06DF 06E0 06E1 06E2 06E4 06E7 06E8 06EB "
    "06EC 0730 0732 0733 0735 0736 073A 073D 073F 0740 0741 0743 0745 0747 0749 074A"
)
ROW_MARKS = tuple(chr(int(mark, 16)) for mark in _MARKS.split())
