"""The newer live-runner contract: a pipeline served to an orchestrator by sessions. Off until it is asked for.

Importing this package loads neither aiohttp nor fastapi.
"""

from .pipeline import StreamingPipeline
from .settings import LiveRunnerSettings, SettingsError

__all__ = ["LiveRunnerSettings", "SettingsError", "StreamingPipeline"]
