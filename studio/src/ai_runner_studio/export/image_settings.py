"""Settings of an image: flag over environment over ``[tool.ai-runner-studio.image]`` in pyproject.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SettingsError, UsageError
from ..option import Option
from ..settings import Settings
from ..settings_file import TABLE, nearest
from ..settings_load import Given, base_settings
from .plan import Platform
from .steps import checked_steps, read_steps
from .target import MACHINES

NAME_FORM = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
_REFERENCE = re.compile(r"[\w][\w.:/@-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(?:=[\w.+~:-]+)?")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_SECRET = re.compile(r"token|secret|passw|credential|api_?key|private_?key|auth", re.IGNORECASE)

OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option("name", "text"),
        Option("model-id", "text"),
        Option("entrypoint", "text"),
        Option("base", "text"),
        Option("python-version", "text"),
        Option("platform", "text", tuple(MACHINES)),
        Option("torch", "text"),
        Option("apt", "texts"),
        Option("env", "table"),
        Option("labels", "table"),
        Option("steps", "texts"),
        Option("dockerfile-append", "path"),
        Option("include", "texts"),
        Option("allow", "texts"),
        Option("offline", "yes-no"),
    )
}


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What an image is told, already resolved. Empty texts: the project or its interpreter decides.

    Attributes:
        run: the settings that every command has: pipeline, params, project, interpreter.
        name: of the image. model_id: the network's name of the pipeline, for an entrypoint that is made.
        entrypoint: the console script to start, where several could be meant.
        base: reference of the base image. python_version: ``3.11``. platform: ``linux/amd64``.
        torch: flavour of torch, or ``none`` to leave torch to the base image.
        apt: Debian packages. environment, labels: on top of what the plan has.
        steps: Dockerfile lines of the project, checked.
        include: files and folders to take in addition, for a project without a package.
        allow: texts that the scan for leaks takes as harmless.
        offline: whether third-party wheels go into the context.
    """

    run: Settings
    name: str = ""
    model_id: str = ""
    entrypoint: str = ""
    base: str = ""
    python_version: str = ""
    platform: Platform = "linux/amd64"
    torch: str = ""
    apt: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    steps: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    offline: bool = False


def image_settings(given: Given, flags: Mapping[str, Any], environ: Mapping[str, str]) -> ImageSettings:
    """Settings of one image.

    Args:
        given: what every command is given. flags: those of the image, by option's name.

    Raises:
        UsageError: no pipeline is named, or a value cannot be used; it says where it stands.
    """
    said = _Said(given, flags, environ)
    python, torch = said.get("python-version", ""), said.get("torch", "")
    _must(python, r"3\.1\d", "--python-version", "a version like 3.11, from 3.10 on")
    _must(torch, r"cpu|cu\d{2,3}|rocm[\d.]+|xpu|none", "--torch", "cpu, cu130 or the like, or none")
    _must(said.get("base", ""), _REFERENCE, "--base", "an image reference like python:3.11-slim-bookworm")
    _must(said.get("name", ""), NAME_FORM, "--name", "lower-case letters and digits, with . _ - between")
    apt = said.get("apt", [])
    for package in apt:
        _must(package, _PACKAGE, "apt", "names of Debian packages")
    return ImageSettings(
        run=base_settings(given),
        name=said.get("name", ""),
        model_id=said.get("model-id", ""),
        entrypoint=said.get("entrypoint", ""),
        base=said.get("base", ""),
        python_version=python,
        platform=said.get("platform", "linux/amd64"),
        torch=torch,
        apt=tuple(sorted(set(apt))),
        environment=_environment(said.get("env", {})),
        labels=_texts(said.get("labels", {}), "labels"),
        steps=_steps(said),
        include=tuple(said.get("include", [])),
        allow=tuple(said.get("allow", [])),
        offline=bool(said.get("offline", False)),
    )


class _Said:
    """Values of image options, from the first place that names them."""

    def __init__(self, given: Given, flags: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._given = given
        self._flags = {name: value for name, value in flags.items() if value is not None and value != []}
        self._environment = {name: _parsed(option, environ) for name, option in OPTIONS.items()}
        table = given.get("image", {})
        self._table = {name: _checked(name, value, given) for name, value in table.items()}

    def get(self, name: str, default: Any) -> Any:
        for values in (self._flags, self._environment, self._table):
            if values.get(name) is not None:
                value = values[name]
                if values is self._flags:
                    return _flag(name, value)
                return value
        return default

    def path(self, name: str) -> Path | None:
        """A path made absolute: from the file it starts at the file's folder, else at the current one."""
        value = self.get(name, None)
        if value is None:
            return None
        from_file = name not in self._flags and self._environment.get(name) is None and self._given.file
        base = self._given.file.path.parent if from_file and self._given.file else self._given.cwd
        return base / Path(str(value)).expanduser()


def _parsed(option: Option, environ: Mapping[str, str]) -> Any:
    variable = option.variable.replace("STUDIO_", "STUDIO_IMAGE_", 1)
    text = environ.get(variable)
    if not text:
        return None
    try:
        return option.parse(text)
    except ValueError as error:
        raise SettingsError(f"{variable} is {text!r}", f"it must be {option.allowed}") from error


def _checked(name: str, value: Any, given: Given) -> Any:
    table = f"[tool.{TABLE}.image]"
    where = f"{given.file.path}: {table}" if given.file else table
    if name not in OPTIONS:
        raise SettingsError(f"{where} has no key '{name}'", nearest(name, list(OPTIONS)))
    try:
        return OPTIONS[name].check(value)
    except ValueError as error:
        raise SettingsError(f"{where}: '{name}' is {value!r}", f"it must be {OPTIONS[name].allowed}") from error


def _flag(name: str, value: Any) -> Any:
    try:
        return OPTIONS[name].check(value)
    except ValueError as error:
        raise UsageError(f"--{name} is {value!r}", f"it must be {OPTIONS[name].allowed}") from error


def _must(value: str, form: str | re.Pattern[str], name: str, allowed: str) -> None:
    if value and not re.fullmatch(form, value):
        raise UsageError(f"{name} is {value!r}", f"it must be {allowed}")


def _environment(table: dict[str, Any]) -> dict[str, str]:
    for name in table:
        _must(name, _VARIABLE, "a name in env", "letters, digits and _")
        if _SECRET.search(name):
            raise UsageError(
                f"env of the image has {name}, which sounds like a secret",
                "whoever has an image can read it; give the variable to the container when it is started",
            )
    return _texts(table, "env")


def _texts(table: dict[str, Any], name: str) -> dict[str, str]:
    for key, value in table.items():
        if not isinstance(value, str | int | float) or "\n" in f"{key}{value}":
            raise UsageError(f"{name} of the image: {key} is {value!r}", "it must be a text of one line or a number")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in table.items()}


def _steps(said: _Said) -> tuple[str, ...]:
    lines = [line for step in said.get("steps", []) for line in str(step).splitlines()]
    file = said.path("dockerfile-append")
    if file:
        lines += read_steps(file)
    return checked_steps(lines, file.name if file else f"steps of [tool.{TABLE}.image]")


def default_base(python: str) -> str:
    """The base image where the project names none: Debian 12 with that Python."""
    return f"python:{python}-slim-bookworm"
