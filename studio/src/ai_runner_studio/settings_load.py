"""Settings of one run out of flags, environment and pyproject.toml; the first that names a thing wins."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.live.trickle.container import CODECS
from runner.param_text import param_value

from .errors import SettingsError, UsageError
from .option import OPTIONS
from .settings import LOAD_TIMEOUT_S, MAX_FPS, STANDBY_RESERVE_MB, Settings
from .settings_file import TABLE, SettingsFile, find_settings_file
from .sources.samples import default_input

# Names that the network's containers give to the same two things.
_NETWORK_VARIABLES = {"PIPELINE_IMPORT": "pipeline-import", "PARAMS_IMPORT": "params-import"}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # one slash: that is what a path leaves of two

ENDLESS_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "srt")


@dataclass(frozen=True, slots=True)
class Given:
    """What was said where, before it is put together.

    Attributes:
        flags: option's name -> value of the command line; `param` holds ``key=value`` texts.
        environment: option's name -> value of the environment.
        file: the settings file, None where there is none.
        cwd: folder that relative paths of flags and environment start from.
    """

    flags: Mapping[str, Any]
    environment: Mapping[str, Any]
    file: SettingsFile | None
    cwd: Path

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an option: flag, else environment, else file, else `default`."""
        for values in self._layers():
            if name in values:
                return values[name]
        return default

    def _layers(self) -> Iterator[Mapping[str, Any]]:
        yield self.flags
        yield self.environment
        if self.file:
            yield self.file.values

    def path(self, name: str) -> Path | None:
        """A path option made absolute: from the file it starts at the file's folder, else at `cwd`."""
        for values in self._layers():
            if name in values:
                base = self.file.path.parent if self.file and values is self.file.values else self.cwd
                return base / Path(values[name]).expanduser()
        return None

    @property
    def project(self) -> Path:
        """``--project``, else the folder of the settings file, else `cwd`."""
        for values in (self.flags, self.environment):
            if "project" in values:
                return self.cwd / Path(values["project"]).expanduser()
        return self.file.path.parent if self.file else self.cwd


def gather(flags: Mapping[str, Any], environ: Mapping[str, str], cwd: Path) -> Given:
    """Read environment and settings file.

    Args:
        flags: what was given on the command line, by option's name; None and empty lists count as not given.

    Raises:
        SettingsError: a value cannot be used; the message names where it stands.
    """
    named = {name: value for name, value in flags.items() if value is not None and value != []}
    environment = _environment(environ)
    start = Path(named.get("project") or environment.get("project") or cwd).expanduser()
    start = cwd / start
    if not start.is_dir():
        raise SettingsError(f"--project {start} is not a folder", "name the folder that the pipeline is imported from")
    return Given(named, environment, find_settings_file(_absolute(start)), cwd)


def _absolute(folder: Path) -> Path:
    """Return its path, with the links on it: they may lead elsewhere later."""
    return folder.resolve() if ".." in folder.parts else Path(os.path.abspath(folder))


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {name: environ[key] for key, name in _NETWORK_VARIABLES.items() if environ.get(key)}
    for option in OPTIONS.values():
        text = environ.get(option.variable)
        if not text:
            continue
        try:
            found[option.name] = option.parse(text)
        except ValueError as error:
            allowed = "a JSON object" if option.kind == "table" else option.allowed
            raise SettingsError(f"{option.variable} is {text!r}", f"it must be {allowed}") from error
    return found


def studio_settings(given: Given) -> Settings:
    """Settings of the screen: endless by default, the newest frame wins.

    Raises:
        UsageError: no pipeline is named, or a value cannot be used.
    """
    return Settings(
        **_common(given),
        watch=_watch(given),
        reload=given.get("reload", True),
        keep_weights=given.get("keep-weights", True),
        standby=given.get("standby", True),
        in_place=tuple(_checked(given, "in-place", [])),
        standby_reserve_mb=_checked(given, "standby-reserve", STANDBY_RESERVE_MB),
        replace=_checked(given, "replace", "auto"),
        preview=_checked(given, "preview", "auto"),
        preview_fps=float(_checked(given, "preview-fps", 20.0)),
        theme=given.get("theme", ""),
        loop=given.get("loop", True),
    )


def run_settings(given: Given) -> Settings:
    """Settings of a headless run: a file once, nothing lost, as fast as it goes; ``--realtime`` turns that round.

    So does the trickle route: a relay keeps a few segments and waits for nobody.

    Raises:
        UsageError: no pipeline is named, a value cannot be used, or the run would never end.
    """
    common = _common(given)
    realtime = bool(given.get("realtime", False)) or common["route"] == "trickle"
    output = _output(given)
    settings = Settings(
        **common,
        output=str(output) if output else None,
        reload=False,  # a run is of the code as it was when it began
        loop=given.get("loop", False),
        paced=realtime,
        # A live source cannot be made to wait: there the newest frame wins as on the screen.
        lossless=not realtime and not is_live(common["input"]),
        frames=_checked(given, "frames", None),
        duration_s=_checked(given, "duration", None),
        strict=given.get("strict", False),
    )
    _refuse_endless(settings)
    if settings.output and os.path.realpath(settings.output) == os.path.realpath(settings.input):
        raise UsageError(f"--output {settings.output} is the input itself", "write to another file")
    return settings


def base_settings(given: Given) -> Settings:
    """Settings that every command has, without a run.

    Raises:
        UsageError: no pipeline is named, or a value cannot be used.
    """
    return Settings(**_common(given))


def _common(given: Given) -> dict[str, Any]:
    python = given.path("python") if "python" in given.flags or "python" in given.environment else None
    configured = given.path("python") if given.file and "python" in given.file.values else None
    return {
        "pipeline_import": _pipeline_import(given),
        "params_import": given.get("params-import"),
        "params": _params(given),
        "typed_params": dict(_typed_params(given)),
        "input": _input(given),
        "project": _absolute(given.project),
        "python": str(python) if python else None,
        "python_configured": str(configured) if configured and not python else None,
        "load_timeout_s": float(_checked(given, "load-timeout", LOAD_TIMEOUT_S)),
        "route": _checked(given, "route", "direct"),
        "max_fps": float(_checked(given, "max-fps", MAX_FPS)),
        "hardware": _checked(given, "hardware", "auto"),
        "verbose": bool(given.get("verbose", False)),
    }


def _pipeline_import(given: Given) -> str:
    name = given.get("pipeline-import")
    if not name:
        raise UsageError(
            "no pipeline is named",
            "give --pipeline-import my_package.module:MyPipeline, set PIPELINE_IMPORT, or put "
            f"pipeline-import into [tool.{TABLE}] of pyproject.toml; `ai-runner-studio samples` lists some to try",
        )
    return str(name)


def _checked(given: Given, name: str, default: Any) -> Any:
    """An option whose flag typer does not check by itself."""
    value = given.get(name, default)
    if value is default:
        return default
    try:
        return OPTIONS[name].check(value)
    except ValueError as error:
        raise UsageError(f"--{name} is {value!r}", f"it must be {OPTIONS[name].allowed}") from error


def _input(given: Given) -> str:
    """The input as given, else the default; what the settings file names relative to itself is made absolute."""
    if given.get("input") is None:
        return default_input()
    text = str(given.get("input"))
    if not text.strip():
        raise UsageError("--input is empty", "name a sample, a file, webcam, pattern or a URL, or leave the flag out")
    if given.file and text and text == given.file.values.get("input"):
        beside = given.file.path.parent / Path(text).expanduser()
        if ("/" in text or os.sep in text or Path(text).suffix) and beside.is_file():
            return str(beside)
    return text


def _watch(given: Given) -> tuple[str, ...]:
    """Patterns made absolute, the file's and the flags' together: a flag adds, it does not take away."""
    found: list[str] = []
    for values in (given.flags, given.environment):
        found += [os.path.join(given.cwd, os.path.expanduser(item)) for item in values.get("watch", ())]
    if given.file:
        folder = given.file.path.parent
        found += [os.path.join(folder, os.path.expanduser(item)) for item in given.file.values.get("watch", ())]
    return tuple(dict.fromkeys(found))


def _params(given: Given) -> dict[str, Any]:
    """Initial params: the settings file's, then ``--params-file``'s, then each ``--param``'s on top."""
    params: dict[str, Any] = {}
    if given.file:
        params |= given.file.values.get("params", {})
    path = given.path("params-file")
    if path:
        params |= _read_params(path)
    params |= given.environment.get("params", {})
    for key, text in _typed_params(given):
        params[key] = param_value(text)
    return params


def _typed_params(given: Given) -> Iterator[tuple[str, str]]:
    """Name and text of each ``--param``.

    Raises:
        UsageError: there is no ``=`` or no name before it.
    """
    for text in given.flags.get("param", ()):
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--param {text!r} is not of the form key=value", "for example: --param strength=0.5")
        yield key.strip(), value


def _read_params(path: Path) -> dict[str, Any]:
    try:
        params = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"params file {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"params file {path} is not valid JSON: {error}") from error
    if not isinstance(params, dict):
        raise UsageError(f"params file {path} holds no JSON object", 'for example: {"strength": 0.5}')
    return params


def _output(given: Given) -> Path | None:
    """The output's path, absolute.

    Raises:
        UsageError: no file can be written there.
    """
    scheme = _SCHEME.match(str(given.get("output", "")))
    if scheme:
        # Without the rest: it often holds a stream key.
        raise UsageError(f"--output {scheme.group(1)}://…: run writes files, not streams", "for example: out.mp4")
    path = given.path("output")
    return _writable(path) if path else None


def _writable(path: Path) -> Path:
    """The output's path, if a file can be made there.

    Raises:
        UsageError: it cannot.
    """
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder", f"name a file in it, e.g. {path / 'out.mp4'}")
    if path.suffix.lower() not in CODECS:
        what = f"files ending in {path.suffix} cannot be written" if path.suffix else "no suffix that names a container"
        raise UsageError(f"--output {path}: {what}", f"use one of {', '.join(CODECS)}")
    if not path.parent.is_dir():
        raise UsageError(f"--output: there is no folder {path.parent}", f"make it first: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"--output: no permission to write into {path.parent}")
    return path


def is_live(text: str) -> bool:
    """Whether an input, as the user names it, is paced by the outside world."""
    head, colon, rest = text.partition(":")
    return head in ("webcam", "device") or (bool(colon) and rest.startswith("//") and head in ENDLESS_SCHEMES)


def _refuse_endless(settings: Settings) -> None:
    endless = settings.loop or is_live(settings.input) or settings.input.partition(":")[0] == "pattern"
    if endless and settings.frames is None and settings.duration_s is None:
        what = "a looped input" if settings.loop else f"input '{settings.input}'"
        raise UsageError(f"{what} has no end", "say how much to run: --frames N or --duration SECONDS")
