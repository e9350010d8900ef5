from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("scope")
hookimpl = pluggy.HookimplMarker("scope")

# Where Scope would have read and installed plugins from, when the registry was imported.
installed_from: list[str] = []


class ScopeHookSpec:
    @hookspec
    def register_pipelines(self, register: Any) -> None: ...

    @hookspec
    def register_nodes(self, register: Any) -> None: ...


@dataclass(frozen=True)
class FailedPluginInfo:
    package_name: str
    entry_point_name: str
    error_type: str
    error_message: str


class PluginManager:
    def __init__(self) -> None:
        self._pm = pluggy.PluginManager("scope")
        self._pm.add_hookspecs(ScopeHookSpec)
        self._failed: list[FailedPluginInfo] = []

    def load_plugins(self) -> None:
        for distribution in distributions():
            for point in distribution.entry_points.select(group="scope"):
                try:
                    point.load()
                except Exception as error:
                    name = distribution.metadata["Name"]
                    self._failed.append(FailedPluginInfo(name, point.name, type(error).__name__, str(error)))
                    self._pm.set_blocked(point.name)
        self._pm.load_setuptools_entrypoints("scope")

    def register_plugin_nodes(self) -> None:
        from scope.core.nodes.registry import NodeRegistry

        self._pm.hook.register_nodes(register=NodeRegistry.register)
        self._pm.hook.register_pipelines(register=NodeRegistry.register)

    def get_failed_plugins(self) -> list[FailedPluginInfo]:
        return list(self._failed)


_manager = PluginManager()


def get_plugin_manager() -> PluginManager:
    return _manager


def ensure_plugins_installed() -> None:
    installed_from.append(os.environ.get("DAYDREAM_SCOPE_PLUGINS_DIR", "~/.daydream-scope/plugins"))


def load_plugins() -> None:
    _manager.load_plugins()


def register_plugin_nodes() -> None:
    _manager.register_plugin_nodes()
