"""Secrets of a build: the package indexes and certificates that pip has on this machine, for the steps of a build."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..interruption import scratch_folder
from .package_index import run_pip
from .run_record import own_record

FOLDER_PREFIX = "ai-runner-secrets-"
_INDEX_OPTIONS = ("index-url", "extra-index-url", "trusted-host")
_SECTIONS = ("global", "install", ":env:")  # later ones override earlier ones, as in `pip install`
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@contextmanager
def build_secrets(python: str, project: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Flags of a build that let its steps use the indexes and certificates that planning used.

    pip itself merges its files and variables, so that both ask the same indexes. The merged file is readable for this
    user alone and deleted afterwards; builders keep no secret in a layer.

    Args:
        python, project: interpreter and folder that pip runs with.

    Raises:
        ExportError: there is no pip.
    """
    options = pip_options(run_pip(python, ["config", "list"], project).stdout)
    with scratch_folder(FOLDER_PREFIX) as folder:
        own_record().note(secrets=str(folder))
        flags = []
        if text := _pip_conf(options):
            file = folder / "pip.conf"
            file.touch(mode=0o600)
            file.write_text(text, encoding="utf-8")
            flags.append(f"--secret=id=pip_conf,src={file}")
        named = (options.get("cert", ""), *(environ.get(name, "") for name in _CERTIFICATES))
        bundle = next((path for path in (Path(text).expanduser() for text in named if text) if path.is_file()), None)
        if bundle is not None:
            flags.append(f"--secret=id=ca_bundle,src={bundle.absolute()}")
        yield tuple(flags)
    own_record().note(secrets="")


def pip_options(listed: str) -> dict[str, str]:
    """Return the options of `pip install`, from what ``pip config list`` prints."""
    options: dict[str, str] = {}
    lines = [line.partition("=") for line in listed.splitlines()]
    for section in _SECTIONS:
        for key, _, value in lines:
            place, _, name = key.rpartition(".")
            text = str(ast.literal_eval(value)) if place == section else ""
            if text:  # pip ignores an option that is empty
                options[name] = text
    return options


def _pip_conf(options: Mapping[str, str]) -> str:
    """A pip.conf of the options that choose an index; empty without one."""
    lines = [f"{name} = {' '.join(options[name].split())}\n" for name in _INDEX_OPTIONS if options.get(name)]
    return "".join(["[global]\n", *lines]) if lines else ""
