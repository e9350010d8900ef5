"""A double of the ComfyUI server: its protocol and a small graph interpreter, without its models and its editor.

It is started as the real one is (``python main.py --listen ... --port ...``), loads custom nodes as the real one does,
and speaks as the real one was recorded to speak: ``test_double.py`` compares the two message by message.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import shutil
import sys
import threading
from pathlib import Path

from aiohttp import web
from graph import Executor
from nodes import NODE_CLASS_MAPPINGS, folders
from protocol import Protocol


def main() -> None:
    options = _options()
    folders.base = options.base_directory
    for place in ("input", "temp", "output"):
        folders.of(place).mkdir(parents=True, exist_ok=True)
    for place in [Path(__file__).parent / "custom_nodes", *_extra_paths(options.extra_model_paths_config)]:
        _load_custom_nodes(place)
    asyncio.run(_serve(options.listen, options.port))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--base-directory", type=Path, required=True)
    parser.add_argument("--disable-auto-launch", action="store_true")
    parser.add_argument("--extra-model-paths-config", action="append", type=Path, default=[])
    return parser.parse_args()


def _extra_paths(configs: list[Path]) -> list[Path]:
    """As ComfyUI's ``utils/extra_config.py``: relative paths are those of the file that says them."""
    lines = [(config, line.strip()) for config in configs for line in config.read_text().splitlines()]
    key = "custom_nodes: "
    return [config.parent / line.removeprefix(key) for config, line in lines if line.startswith(key)]


def _load_custom_nodes(place: Path) -> None:
    for package in sorted(place.iterdir()):
        if package.name.startswith("__") or not (package / "__init__.py").is_file():
            continue
        spec = importlib.util.spec_from_file_location(package.name, package / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[package.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for node_class in module.NODE_CLASS_MAPPINGS.values():
            node_class.RELATIVE_PYTHON_MODULE = f"custom_nodes.{package.name}"
        NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)


async def _serve(host: str, port: int) -> None:
    protocol = Protocol(asyncio.get_running_loop())
    threading.Thread(target=Executor(protocol).run, daemon=True).start()
    runner = web.AppRunner(protocol.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    _, port = runner.addresses[0]
    print(f"To see the GUI go to: http://{host}:{port}", flush=True)
    try:
        await protocol.publish()
    finally:
        shutil.rmtree(folders.of("temp"), ignore_errors=True)


if __name__ == "__main__":
    main()
