"""Shipping an image: what tells Kubernetes, Docker Compose or an orchestrator to run it, checked before it is written.

`emit` makes the files of the kinds that are asked for, `write` puts them into a folder. They have no secrets: where one
is needed, they name the place that it is read from.
"""

from __future__ import annotations

from collections.abc import Callable

from . import aimodels, compose, kubernetes, runners
from .manifest import Manifest, ManifestError, write
from .shipment import KINDS, Kind, Shipment, Terms

_MAKERS: dict[Kind, Callable[[Shipment], list[Manifest]]] = {
    "kubernetes": kubernetes.manifests,
    "compose": compose.manifests,
    "aimodels": aimodels.manifests,
    "runners": runners.manifests,
}


def emit(shipment: Shipment) -> list[Manifest]:
    """The files of every kind that the shipment names, each once, in the order of `KINDS`.

    Raises:
        UsageError: the shipment asks for what cannot be, or a package that checks files is not installed.
        ManifestError: a file did not pass its check.
    """
    return [manifest for kind in KINDS if kind in shipment.terms.kinds for manifest in _MAKERS[kind](shipment)]


__all__ = ["KINDS", "Kind", "Manifest", "ManifestError", "Shipment", "Terms", "emit", "write"]
