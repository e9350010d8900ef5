"""Materials: what an image holds, told by itself; as CycloneDX JSON and as a list of licences."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

READ_MATERIALS = Path(__file__).with_name("read_materials.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Component:
    """One distribution or system package.

    Attributes:
        kind: ``python`` or ``deb``.
        licences: as its own metadata name them, one SPDX expression where `is_expression`; empty where they do not.
        requires: names of distributions that it needs.
    """

    kind: str
    name: str
    version: str
    licences: tuple[str, ...] = ()
    is_expression: bool = False
    requires: tuple[str, ...] = ()
    home: str = ""
    architecture: str = ""

    @property
    def purl(self) -> str:
        """Its package URL."""
        version = quote(self.version, safe=".-_~")
        if self.kind == "deb":
            return f"pkg:deb/debian/{quote(self.name, safe='.-_~')}@{version}?arch={self.architecture}"
        return f"pkg:pypi/{normalized(self.name)}@{version}"

    def cyclonedx(self, pins: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """As an entry of ``components``. `pins`: a distribution's name -> ``sha256:<hex>`` of files it may be from."""
        entry: dict[str, Any] = {"type": "library", "bom-ref": self.purl, "name": self.name, "version": self.version}
        pinned = pins.get(normalized(self.name), ()) if self.kind == "python" else ()
        if len(pinned) == 1:
            entry["hashes"] = [_hash(pinned[0])]
        if self.is_expression:
            entry["licenses"] = [{"expression": self.licences[0]}]
        elif self.licences:
            entry["licenses"] = [{"license": {"name": name}} for name in self.licences]
        entry["purl"] = self.purl
        if self.home.startswith(("http://", "https://")):
            entry["externalReferences"] = [{"type": "website", "url": self.home}]
        if len(pinned) > 1:  # one of them: the lock has several files of this version
            entry["properties"] = [{"name": "ai-runner:pinned-file", "value": one} for one in sorted(pinned)]
        return entry


@dataclass(frozen=True, slots=True)
class Materials:
    """All of an image's parts, in the order of their names; Python's first."""

    python: str
    system: str
    components: tuple[Component, ...]

    @classmethod
    def from_json(cls, text: str) -> Materials:
        """Of what `READ_MATERIALS` prints.

        Raises:
            ValueError: it is something else.
        """
        told = json.loads(text)
        parts = {(part["kind"], normalized(part["name"])): _component(part) for part in told["components"]}
        ordered = sorted(parts.items(), key=lambda item: (item[0][0] != "python", item[0][1]))
        return cls(told["python"], told["system"], tuple(part for _, part in ordered))

    def cyclonedx(self, name: str, version: str, image: str, pins: Mapping[str, Sequence[str]]) -> str:
        """CycloneDX 1.6 (ECMA-424) as JSON. The same image gives the same text: no time, a serial of its own id.

        Args:
            pins: a distribution's name -> ``sha256:<hex>`` of each file that the build accepted for it.
        """
        subject = f"pkg:oci/{quote(name, safe='.-_~')}@{quote(image, safe='.-_~')}"
        refs = {normalized(part.name): part.purl for part in self.components if part.kind == "python"}
        document = {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, image)}",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "container",
                    "bom-ref": subject,
                    "name": name,
                    "version": version,
                    "purl": subject,
                    "hashes": [_hash(image)],
                }
            },
            "components": [part.cyclonedx(pins) for part in self.components],
            "dependencies": [
                {"ref": subject, "dependsOn": sorted(part.purl for part in self.components)},
                *(self._needs(part, refs) for part in self.components if part.kind == "python"),
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def _needs(part: Component, refs: dict[str, str]) -> dict[str, Any]:
        needed = sorted({refs[normalized(name)] for name in part.requires if normalized(name) in refs})
        return {"ref": part.purl, "dependsOn": needed} if needed else {"ref": part.purl}

    def licences(self) -> str:
        """A list for people: licence, then who is under it; those whose metadata say nothing come last."""
        python = [part for part in self.components if part.kind == "python"]
        debian = [part for part in self.components if part.kind == "deb"]
        lines = [f"Python {self.python} on {self.system}, {len(python)} distributions", "", *_by_licence(python)]
        if debian:
            lines += [f"{len(debian)} Debian packages, by their copyright files", "", *_by_licence(debian)]
        return "\n".join(lines).rstrip() + "\n"


def _by_licence(parts: list[Component]) -> list[str]:
    unknown = "not named by the package"
    by_licence: dict[str, list[str]] = {}
    for part in parts:
        by_licence.setdefault(", ".join(part.licences) or unknown, []).append(f"{part.name} {part.version}")
    lines = []
    for licence in sorted(by_licence, key=lambda each: (each == unknown, each.lower())):
        lines += [licence, *(f"  {name}" for name in by_licence[licence]), ""]
    return lines


def _hash(pin: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": pin.removeprefix("sha256:")}


def _component(told: dict[str, Any]) -> Component:
    if told["kind"] == "deb":
        licences = tuple(told["licences"])
        return Component("deb", told["name"], told["version"], licences, architecture=told["architecture"])
    licence = told["expression"] or told["licence"] or " OR ".join(told["classifiers"])
    return Component(
        "python",
        told["name"],
        told["version"],
        (licence.strip(),) if licence.strip() else (),
        bool(told["expression"]),
        tuple(told["requires"]),
        told["home"],
    )


def normalized(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
