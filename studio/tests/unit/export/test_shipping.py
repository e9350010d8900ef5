"""``export-image --emit`` from its flags to files on the disk or text on the terminal."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ai_runner_studio.cli.ship_flags import ShipFlags
from ai_runner_studio.cli.shipping import Shipping
from ai_runner_studio.errors import UsageError
from ai_runner_studio.export.emit import KINDS, Terms
from ai_runner_studio.export.image_settings import ImageSettings
from ai_runner_studio.settings import Settings

from .test_emit import plan

SETTINGS = ImageSettings(Settings("tint.pipeline:Tint", project=Path("/p")))


class TestFlags:
    def test_they_become_terms(self) -> None:
        flags = ShipFlags(
            emit=["compose", "aimodels"],
            image_reference="reg.example/a:1",
            replicas=2,
            gpus=0,
            models_volume="/srv/models",
            runner_url=["http://a:8000", "http://b:8000"],
        )
        assert flags.terms({"HOME": "/root"}) == Terms(
            kinds=("compose", "aimodels"),
            image="reg.example/a:1",
            replicas=2,
            gpus=0,
            models="/srv/models",
            runner_urls=("http://a:8000", "http://b:8000"),
            environ={"HOME": "/root"},
        )

    def test_none_of_them_is_a_setting_of_the_image(self) -> None:
        flags = ShipFlags(emit=["compose"], image_reference="a:1", replicas=2, torch="cpu", emit_to=Path("ship"))
        assert flags.image() == {"torch": "cpu"}
        assert ShipFlags(torch="cpu").terms({}) is None

    def test_the_command_completes_every_kind(self) -> None:
        from ai_runner_studio.cli import ship_flags

        assert ship_flags._KINDS == KINDS

    @pytest.mark.parametrize(
        ("flags", "said"),
        [
            ({"replicas": 2}, "--replicas is for --emit"),
            ({"image_reference": "a:1"}, "--image is for --emit"),
            ({"emit": ["helm"]}, "--emit 'helm' is no kind of file"),
            ({"emit": ["runners"], "json": True}, "cannot both be printed"),
        ],
    )
    def test_what_cannot_be_is_told_before_anything_is_done(self, flags: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said):
            ShipFlags(**flags).terms({})


class TestHandedOut:
    def told(self, kinds: tuple[Any, ...], folder: Path | None, **terms: Any) -> list[str]:
        shipping = Shipping(Terms(kinds=kinds, **terms), folder)
        shipping.check(SETTINGS)
        shipping.make(plan())
        told: list[str] = []
        shipping.hand_out(told.append)
        return told

    def test_into_a_folder_with_what_their_user_has_to_know(self, tmp_path: Path) -> None:
        told = self.told(("runners",), tmp_path / "deep/ship")
        assert told[0] == f"written: {tmp_path}/deep/ship/runners.json"
        assert json.loads((tmp_path / "deep/ship/runners.json").read_text())["runners"]
        assert "runners.json: -liveRunnerConfig runners.json; the runners need LIVE_RUNNER=1" in told
        assert told[-1].startswith("my-pipeline:1.2.0 is a local name of the image: --image REF")

    def test_a_single_file_is_printed_as_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        told = self.told(("runners",), None, image="reg.example/a:1")
        assert json.loads(capsys.readouterr().out)["runners"]
        assert not [line for line in told if "local name" in line]

    def test_several_are_printed_with_their_names(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.told(("aimodels",), None)
        printed = capsys.readouterr().out
        assert printed.startswith("==> aiModels.json <==\n[\n")
        assert "\n==> aiRunnerImageOverrides.json <==\n{\n" in printed

    def test_a_folder_of_no_use_is_told_before_the_work_begins(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for place in (tmp_path / "file", tmp_path / "file/ship"):
            with pytest.raises(UsageError, match=r"--emit-to .*: nothing can be written to .*/file"):
                Shipping(Terms(kinds=("runners",)), place).check(SETTINGS)
        assert os.listdir(tmp_path) == ["file"]

    @pytest.mark.parametrize(
        ("kind", "terms", "said"),
        [
            ("runners", {"environ": {"LIVE_RUNNER_PRICE": "cheap"}}, "--emit runners"),
            ("aimodels", {"runner_urls": ("nowhere",)}, "--runner-url 'nowhere'"),
        ],
    )
    def test_settings_of_no_use_are_told_before_the_work_begins(
        self, kind: Any, terms: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UsageError, match=said):
            Shipping(Terms(kinds=(kind,), **terms), None).check(SETTINGS)
