"""Tells what an image holds, as JSON. It runs in the image's own Python: the standard library alone."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

LONGEST_NAME = 100  # of a licence; some packages have its whole text where its name belongs


def distributions() -> Iterator[dict[str, Any]]:
    """Each installed distribution's own metadata."""
    for one in importlib.metadata.distributions():
        about: Any = one.metadata
        licence = about.get("License") or ""
        classifiers = [text for text in about.get_all("Classifier") or [] if text.startswith("License ::")]
        urls = [url.partition(", ")[2] for url in about.get_all("Project-URL") or []]
        yield {
            "kind": "python",
            "name": about.get("Name") or "",
            "version": one.version or "",
            "expression": about.get("License-Expression") or "",
            "licence": "" if "\n" in licence or len(licence) > LONGEST_NAME else licence,
            "classifiers": [text.rpartition(" :: ")[2] for text in classifiers],
            "requires": sorted(
                {re.split(r"[^\w.-]", text)[0] for text in one.requires or [] if "extra ==" not in text}
            ),
            "home": about.get("Home-page") or (urls[0] if urls else ""),
        }


def system_packages(status: str = "/var/lib/dpkg/status", docs: str = "/usr/share/doc") -> Iterator[dict[str, Any]]:
    """Each Debian package that is installed."""
    if not os.path.exists(status):
        return
    with open(status, encoding="utf-8", errors="replace") as file:
        blocks = file.read().split("\n\n")
    for block in blocks:
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", block, re.MULTILINE))
        if "installed" in fields.get("Status", "").split():
            yield {
                "kind": "deb",
                "name": fields["Package"],
                "version": fields["Version"],
                "architecture": fields["Architecture"],
                "licences": copyright_licences(os.path.join(docs, fields["Package"], "copyright")),
            }


def copyright_licences(file: str) -> list[str]:
    """Names of licences in a Debian copyright file, each once; empty without the file.

    Machine-readable files have fields for them; of others, those count that they name by /usr/share/common-licenses.
    """
    try:
        with open(file, encoding="utf-8", errors="replace") as opened:
            text = opened.read()
    except OSError:
        return []
    found = re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE) if text.startswith("Format:") else []
    found = found or re.findall(r"/usr/share/common-licenses/([\w+-]+(?:\.\d+)*)", text)
    return list(dict.fromkeys(name.strip()[:LONGEST_NAME] for name in found))


def system(release: str = "/etc/os-release") -> str:
    """The distribution's name and version, as ``debian 12``."""
    if not os.path.exists(release):
        return ""
    with open(release, encoding="utf-8") as file:
        fields = dict(line.strip().partition("=")[::2] for line in file)
    return " ".join(fields[key].strip('"') for key in ("ID", "VERSION_ID") if key in fields)


if __name__ == "__main__":
    components = [*distributions(), *system_packages()]
    json.dump({"python": sys.version.split()[0], "system": system(), "components": components}, sys.stdout)
