"""Where weights come from: a folder, or the model hub, of which only the files are fetched that are needed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import ModelError, NotDownloadedError

logger = logging.getLogger(__name__)

WEIGHTS = (".safetensors", ".bin")
TEXTS = (".json", ".txt", ".model")
ALLOW = "STREAMDIFFUSION_ALLOW"  # hub ids, and folders in which everything is allowed, with commas between


@dataclass(frozen=True)
class Repository:
    """A folder, or a repository of the hub.

    Attributes:
        name: path of a folder, or a hub id such as ``stabilityai/sd-turbo``.
        parts: folders in it that are needed; "" is the files beside them.
        half: weights in float16 are preferred where the repository has both.
        files: files that are needed by name, whatever `parts` says.
    """

    name: str
    parts: tuple[str, ...] = ("",)
    half: bool = False
    files: tuple[str, ...] = field(default=())

    @classmethod
    def of_model(cls, model_id: str, *, own_vae: bool, half: bool) -> Repository:
        """Of a whole model; without its autoencoder's weights where another one takes its place."""
        parts = ["", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet"]
        return cls(model_id, (*parts, "vae") if own_vae else tuple(parts), half)

    @property
    def local(self) -> bool:
        """Whether the name is that of a folder or file, by its look or because it is there."""
        return self.name.startswith(("/", "./", "../", "~")) or Path(self.name).exists()

    def folder(self) -> Path:
        """The folder with the needed files; fetches what is missing, unless ``HF_HUB_OFFLINE`` is set.

        Raises:
            ModelError: there is no such folder or repository, or it is not allowed here.
            NotDownloadedError: files are missing, and the hub is not to be asked or does not answer.
        """
        self._check_allowed()
        if self.local:
            folder = Path(self.name).expanduser()
            if not folder.is_dir():
                raise ModelError(f"there is no folder {folder}: give a folder in diffusers' layout, or a hub id")
            return folder
        cached = self.cached()
        return cached if cached is not None else self.download()

    def _check_allowed(self) -> None:
        """Raises ModelError: the name is not one of ``STREAMDIFFUSION_ALLOW``, or a file is outside of the folder."""
        outside = [name for name in (*self.parts, *self.files) if ".." in PurePosixPath(name).parts]
        if outside:
            raise ModelError(f"'{self.name}/{outside[0]}': '..' is not allowed in a name")
        allowed = [entry.strip() for entry in os.environ.get(ALLOW, "").split(",") if entry.strip()]
        if not allowed or self.name in allowed:
            return
        place = Path(self.name).expanduser().resolve()
        folders = [Path(entry).expanduser().resolve() for entry in allowed if entry.startswith(("/", "~", "."))]
        if not (self.local and any(folder in (place, *place.parents) for folder in folders)):
            raise ModelError(f"'{self.name}' is not allowed here: {ALLOW} names what is")

    def cached(self) -> Path | None:
        """The folder in the hub's cache if all needed files are in it, None if some are missing."""
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(self.name)
        except HFValidationError as error:
            raise ModelError(f"'{self.name}' is neither a folder nor a hub id: {error}") from error
        # snapshot_download would take a snapshot for incomplete that lacks what nobody needs.
        found = try_to_load_from_cache(self.name, self._landmark, cache_dir=cache_folder())
        if not isinstance(found, str):
            return None
        folder = Path(found.removesuffix(self._landmark))
        return folder if not self.missing(folder) else None

    def download(self) -> Path:
        """Fetch what is needed and not there yet; what an earlier attempt has left half done goes on.

        Raises:
            ModelError: the hub does not have it, or not for this user.
            NotDownloadedError: the hub is not to be asked, or does not answer.
        """
        from huggingface_hub import HfApi, constants, snapshot_download
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        from .progress import LoggedProgress

        if constants.HF_HUB_OFFLINE:
            raise NotDownloadedError(
                f"'{self.name}' is not (or not whole) in the cache {cache_folder() or constants.HF_HUB_CACHE}, and "
                "HF_HUB_OFFLINE is set: run --prepare-models with a connection first, or unset HF_HUB_OFFLINE"
            )
        try:
            needed = self.needed(HfApi().list_repo_files(self.name))
            logger.info("downloading %s: %d files", self.name, len(needed))
            folder = snapshot_download(
                self.name, cache_dir=cache_folder(), allow_patterns=needed, tqdm_class=LoggedProgress
            )
        except GatedRepoError as error:
            raise ModelError(f"'{self.name}' is gated: accept its terms on the hub, and set HF_TOKEN") from error
        except RepositoryNotFoundError as error:
            raise ModelError(f"the hub has no '{self.name}' (a private one needs HF_TOKEN)") from error
        except Exception as error:  # which HTTP library's errors these are depends on huggingface_hub's version
            raise NotDownloadedError(f"'{self.name}' could not be downloaded: {error}") from error
        missing = self.missing(Path(folder))
        if missing:
            raise ModelError(f"'{self.name}' on the hub is not what is needed: it has no {', '.join(missing)}")
        return Path(folder)

    @property
    def _landmark(self) -> str:
        """A file that is there if anything is."""
        if self.files:
            return self.files[0]
        if len(self.parts) > 1:
            return "model_index.json"
        return f"{self.parts[0]}/config.json" if self.parts[0] else "config.json"

    def needed(self, listing: Iterable[str]) -> list[str]:
        """Those of a repository's files that are needed: of each part its texts, and its weights once."""
        names = set(listing)
        if self.files:
            return sorted(names.intersection(self.files))
        chosen: list[str] = []
        for part in self.parts:
            inside = {PurePosixPath(name).name: name for name in names if _folder_of(name) == part}
            chosen += [path for name, path in inside.items() if name.endswith(TEXTS) and not _is_shards(name)]
            if part or len(self.parts) == 1:  # weights beside the parts are the same ones in another layout
                chosen += [inside[name] for name in weights_of(inside, half=self.half)]
        return sorted(chosen)

    def missing(self, folder: Path) -> list[str]:
        """What is needed and not in a folder, in words."""
        if self.files:
            return [name for name in self.files if not (folder / name).is_file()]
        index = folder / "model_index.json"
        if len(self.parts) == 1:
            place = folder / self.parts[0]
            return [] if (place / "config.json").is_file() and _has_weights(place) else ["config.json and weights"]
        if not index.is_file():
            return ["model_index.json"]
        content: dict[str, Any] = json.loads(index.read_text())
        lacking = []
        for part in self.parts:
            if part in content and isinstance(content[part], list) and content[part][0] is not None:
                place = folder / part
                whole = _has_weights(place) if (place / "config.json").is_file() else any(place.glob("*.json"))
                if not whole or (part in ("unet", "vae") and not (place / "config.json").is_file()):
                    lacking.append(part)
        return lacking


def weights_of(names: Iterable[str], *, half: bool) -> list[str]:
    """The one set of weights out of a part's file names: safetensors before pickles, half before whole if asked for.

    Several files are one set where an index lists them (shards); the index belongs to the set.
    """
    sets: dict[tuple[bool, bool], list[str]] = {}
    for name in names:
        stem = name.removesuffix(".index.json")
        suffix = next((suffix for suffix in WEIGHTS if stem.endswith(suffix)), None)
        if suffix is None or not stem.startswith(("diffusion_pytorch_model", "model", "pytorch_model")):
            continue
        if ".non_ema." in name or ".ema." in name:
            continue
        sets.setdefault((suffix == ".safetensors", ".fp16" in name), []).append(name)
    order = [(True, half), (True, not half), (False, half), (False, not half)]
    return next((sorted(sets[kind]) for kind in order if kind in sets), [])


def weights_variant(folder: Path) -> str | None:
    """``fp16`` where that is what a part's folder holds and nothing else."""
    halves = list(folder.glob("*.fp16.*"))
    names = ("*.safetensors", "*.bin")
    others = [file for pattern in names for file in folder.glob(pattern) if file not in halves]
    return "fp16" if halves and not others else None


def cache_folder() -> str | None:
    """Where downloads are kept: the hub's own variables, then ``MODEL_DIR``; None: the hub's default."""
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "MODEL_DIR")
    return next((value for value in (os.environ.get(name) for name in names) if value), None)


def _has_weights(place: Path) -> bool:
    names = [file.name for file in place.iterdir() if file.exists()]
    for half in (True, False):
        chosen = weights_of(names, half=half)
        indexes = [name for name in chosen if _is_shards(name)]
        shards = {shard for name in indexes for shard in _shards(json.loads((place / name).read_text()))}
        if chosen and shards.issubset(names):
            return True
    return False


def _shards(index: Mapping[str, Any]) -> set[str]:
    return set(index.get("weight_map", {}).values())


def _is_shards(name: str) -> bool:
    return name.endswith(".index.json")


def _folder_of(name: str) -> str:
    parent = str(PurePosixPath(name).parent)
    return "" if parent == "." else parent
