"""Preparation: what is fetched, that it goes on after a break, that it then works without a connection."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streamdiffusion_pipeline import progress
from streamdiffusion_pipeline.errors import ModelError, NotDownloadedError
from streamdiffusion_pipeline.painter import Painter
from streamdiffusion_pipeline.params import StreamDiffusionParams
from streamdiffusion_pipeline.prepare import fetch, prepare
from streamdiffusion_pipeline.repository import Repository, weights_of

from .conftest import TinyModels
from .hub import Hub

MODEL, VAE, CANNY = "stabilityai/sd-turbo", "madebyollin/taesd", "thibaud/controlnet-sd21-canny-diffusers"
PARAMS = {"width": 64, "height": 64, "controlnets": [{"model_id": CANNY, "preprocessor": "canny"}]}


@pytest.fixture
def hub(models: TinyModels, tmp_path: Path) -> Hub:
    """A hub with three tiny repositories, in which lies more than is needed, as in real ones."""
    repos = {MODEL: models.sd, VAE: models.vae, CANNY: models.controlnet}
    for number, repo in enumerate(repos):
        folder = tmp_path / "hub" / str(number)
        shutil.copytree(repos[repo], folder)
        repos[repo] = folder
    model = repos[MODEL]
    weights = "diffusion_pytorch_model"
    for extra in ("sd_turbo.safetensors", f"unet/{weights}.fp16.safetensors", f"unet/{weights}.bin", "README.md"):
        (model / extra).write_bytes(b"not needed")
    return Hub(repos)


# Prepares for the params in each line that it reads, and prints the error, "" on success.
PREPARER = """
import json, logging, os, sys
logging.basicConfig(level="INFO", stream=sys.stderr)
from streamdiffusion_pipeline.errors import ModelError
from streamdiffusion_pipeline.prepare import prepare
for line in sys.stdin:
    os.environ["STREAMDIFFUSION_PARAMS"] = line
    try:
        prepare()
        failure = ""
    except ModelError as error:
        failure = str(error)
    print(json.dumps(failure), flush=True)
"""


class Preparer:
    """`prepare` in a process of its own, which may ask the hub. It imports diffusers, which takes seconds."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def prepare(self, **params: Any) -> str:
        """Return the error, "" on success."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({**PARAMS, **params}).encode() + b"\n")
        failure: str = json.loads(await self._process.stdout.readline())
        return failure


@asynccontextmanager
async def preparer(hub: Hub, cache: Path) -> AsyncIterator[Preparer]:
    async with hub.server() as server:
        log = (cache.parent / "log").open("wb")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PREPARER,
            env={
                **environ,
                "HF_ENDPOINT": str(server.make_url("")).rstrip("/"),
                "MODEL_DIR": str(cache),
                "HF_HOME": str(cache / "home"),
                "OMP_NUM_THREADS": "1",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        log.close()
        try:
            yield Preparer(process)
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            await process.wait()


@pytest.mark.timeout(300)  # processes that import diffusers, which takes long where others work too
class TestPrepare:
    async def test_it_fetches_what_is_needed_goes_on_where_it_broke_off_and_proves_that_it_works(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unet, text = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
        hub.cut.add(text)
        hub.refused.add(unet)
        async with preparer(hub, tmp_path / "cache") as one:
            assert "the hub has no 'nobody/nothing'" in await one.prepare(model_id="nobody/nothing")
            assert f"'{MODEL}' could not be downloaded: 403" in await one.prepare()
        had = set(hub.got)
        assert (MODEL, text) in had  # a connection that broke off was taken up again
        hub.refused.clear()
        hub.got.clear()
        async with preparer(hub, tmp_path / "cache") as another:
            assert await another.prepare() == ""
        assert f"{MODEL} works without a connection" in (tmp_path / "log").read_text()
        assert unet in hub.files(MODEL)
        assert not had.intersection(hub.got)
        fetched = {*hub.files(MODEL), *(name for _, name in had)}
        assert not [name for name in fetched if name.startswith("vae/") and name.endswith(".safetensors")]
        assert not {"sd_turbo.safetensors", "README.md", "unet/diffusion_pytorch_model.bin"}.intersection(fetched)
        assert not [name for name in fetched if "fp16" in name]
        assert hub.files(VAE) == ["config.json", "diffusion_pytorch_model.safetensors"]
        assert hub.files(CANNY) == ["config.json", "diffusion_pytorch_model.safetensors"]
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        folders = fetch(StreamDiffusionParams(**PARAMS))  # this process may not ask anybody
        assert [folder.is_dir() for folder in folders] == [True] * 3

    @pytest.mark.quick
    @pytest.mark.usefixtures("proof_here")
    def test_a_folder_that_does_not_work_is_told(
        self, models: TinyModels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken"
        shutil.copytree(models.sd, broken)
        (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
        own = models.params(model_id=str(broken), controlnets=[])
        monkeypatch.setenv("STREAMDIFFUSION_PARAMS", json.dumps(own))
        with pytest.raises(ModelError, match=r"does not work without a connection: .*broken"):
            prepare()


@pytest.mark.quick
def test_a_download_is_a_line_of_the_log_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now_s)
    caplog.set_level("INFO", progress.__name__)
    bar = progress.LoggedProgress(total=100, unit="B", name="huggingface_hub.snapshot")
    for second in range(1, 12):
        now_s = float(second)
        bar.update(9)
        bar.refresh()
    bar.close()
    assert [message.split("%")[0].strip() for message in caplog.messages] == ["45", "90"]
    assert all("/100" in message for message in caplog.messages)


class TestModelsByName:
    @pytest.mark.quick
    def test_hub_ids_are_found_in_the_cache_without_a_connection(self, hub_cache: Path) -> None:
        painter = Painter.load(StreamDiffusionParams(width=64, height=64))
        assert type(painter._model.vae).__name__ == "AutoencoderTiny"
        assert str(hub_cache) in str(Repository.of_model(MODEL, own_vae=False, half=False).folder())

    @pytest.mark.usefixtures("hub_cache")
    def test_what_is_not_in_the_cache_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(NotDownloadedError, match=r"nobody/nothing.*--prepare-models"):
            Painter.load(StreamDiffusionParams(width=64, height=64, model_id="nobody/nothing"))

    def test_half_of_a_model_in_the_cache_is_none(self, models: TinyModels, tmp_path: Path) -> None:
        folder = tmp_path / "half"
        shutil.copytree(models.sd, folder)
        repository = Repository.of_model(MODEL, own_vae=True, half=False)
        assert repository.missing(folder) == []
        (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
        shutil.rmtree(folder / "tokenizer")
        assert repository.missing(folder) == ["tokenizer", "unet"]

    @pytest.mark.parametrize(
        ("model_id", "message"),
        [
            ("/no/such/folder", "there is no folder /no/such/folder"),
            ("a/b/c/d", "neither a folder nor a hub id"),
        ],
    )
    def test_names_that_are_none_are_refused(self, model_id: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            Painter.load(StreamDiffusionParams(width=64, height=64, model_id=model_id))

    def test_what_may_be_named_can_be_limited(
        self, models: TinyModels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("STREAMDIFFUSION_ALLOW", f"{MODEL}, {models.sd.parent}")
        assert Repository(str(models.sd)).folder() == models.sd
        for name in (str(tmp_path), "nobody/nothing", f"{models.sd.parent}/../{tmp_path.name}"):
            with pytest.raises(ModelError, match="is not allowed here: STREAMDIFFUSION_ALLOW"):
                Repository(name).folder()

    def test_files_outside_of_a_folder_cannot_be_named(self, models: TinyModels) -> None:
        with pytest.raises(ModelError, match=r"'\.\.' is not allowed"):
            Repository(str(models.sd), files=("../vae/config.json",)).folder()

    def test_other_kinds_of_models_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
        with pytest.raises(ModelError, match="is a FluxPipeline; this pipeline runs Stable Diffusion"):
            Painter.load(StreamDiffusionParams(width=64, height=64, model_id=str(tmp_path)))

    def test_a_folder_without_a_model_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"no model_index\.json"):
            Painter.load(StreamDiffusionParams(width=64, height=64, model_id=str(tmp_path)))


class TestWeights:
    STEM = "diffusion_pytorch_model"

    @pytest.mark.parametrize(
        ("names", "half", "chosen"),
        [
            (["{}.safetensors", "{}.fp16.safetensors", "{}.bin"], False, ["{}.safetensors"]),
            (["{}.safetensors", "{}.fp16.safetensors", "{}.bin"], True, ["{}.fp16.safetensors"]),
            (["{}.fp16.safetensors"], False, ["{}.fp16.safetensors"]),
            (["{}.bin", "{}.fp16.bin"], True, ["{}.fp16.bin"]),
            (["{}.non_ema.safetensors", "{}.safetensors"], False, ["{}.safetensors"]),
            (
                ["{}-00001-of-00002.safetensors", "{}-00002-of-00002.safetensors", "{}.safetensors.index.json"],
                False,
                ["{}-00001-of-00002.safetensors", "{}-00002-of-00002.safetensors", "{}.safetensors.index.json"],
            ),
            (["other.safetensors"], False, []),
        ],
    )
    def test_one_set_is_chosen(self, names: list[str], half: bool, chosen: list[str]) -> None:
        given = [name.format(self.STEM) for name in names]
        assert weights_of(given, half=half) == [name.format(self.STEM) for name in chosen]
