"""A process that publishes or subscribes with PyPI's pytrickle: ``pytrickle_peer.py FOLDER publish|subscribe URL COUNT``.

With a folder in the place of COUNT it publishes the files in it, in the order of their names.

The package itself imports torch, OpenCV and an old PyAV. Its two clients need none of them, so they are
imported without the package's own ``__init__``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any


def module(folder: str, name: str) -> Any:
    package = types.ModuleType("pytrickle")
    package.__path__ = [str(Path(folder) / "pytrickle")]
    sys.modules.setdefault("pytrickle", package)
    return importlib.import_module(f"pytrickle.{name}")


def content(seq: int) -> bytes:
    """What segment `seq` is made of: every length, and no two alike."""
    return hashlib.sha256(str(seq).encode()).digest() * (1 + seq * 997)


def contents(what: str) -> list[bytes]:
    return [content(seq) for seq in range(int(what))] if what.isdigit() else files(Path(what))


def files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


async def publish(folder: str, url: str, what: str) -> None:
    publisher = module(folder, "publisher").TricklePublisher(url, "video/mp2t")
    async with publisher:
        for seq, data in enumerate(contents(what)):
            async with await publisher.next() as segment:
                for start in range(0, len(data), 32 * 1024):
                    await segment.write(data[start : start + 32 * 1024])
            print(json.dumps({"seq": seq}), flush=True)
            await asyncio.to_thread(sys.stdin.readline)  # its close cancels what has not gone out yet


async def subscribe(folder: str, url: str, count: str) -> None:
    async with module(folder, "subscriber").TrickleSubscriber(url, start_seq=0) as subscriber:
        for _ in range(int(count)):
            segment = await subscriber.next()
            if segment is None:
                break
            data = b""
            while chunk := await segment.read():
                data += chunk
            print(json.dumps({"seq": segment.seq(), "sha256": hashlib.sha256(data).hexdigest()}), flush=True)


if __name__ == "__main__":
    role = {"publish": publish, "subscribe": subscribe}[sys.argv[2]]
    asyncio.run(role(sys.argv[1], sys.argv[3], sys.argv[4]))
