"""A probe looks at a runner as an orchestrator does; here at a real one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from runner.live.pipelines import BaseParams
from runner.testing.params_change import main as print_change
from runner.testing.params_change import params_change
from runner.testing.probe import Probe, ProbeOptions, listens_on_all

from .app_process import serving

SLOW = """
from pydantic import Field
from runner.live.pipelines import BaseParams


class Params(BaseParams):
    gain: float = Field(default=1.0, ge=0.0, le=1.0)


def dim(frame, params: Params):
    return frame * params.gain
"""


class TestProbe:
    async def test_it_sees_a_life_from_loading_to_idle_again_and_what_the_runner_refuses(self, tmp_path: Path) -> None:
        (tmp_path / "dim.py").write_text(SLOW)
        with serving(tmp_path, MODEL_ID="dim", PIPELINE_IMPORT="dim:dim") as app:
            options = ProbeOptions(app.url, "pattern:64x64@10", 1.5, "dim", change={"gain": 0.0})
            report = await Probe(options).run()
            refused = await Probe(ProbeOptions(app.url, params={"width": 100})).run()
        assert "the runner refuses the stream, 400" in refused.failure
        assert refused.healthy_at is not None
        assert report.failure == ""
        assert next(word for word, _ in report.health if word != "LOADING") == "IDLE"
        assert report.idle_after
        assert report.listens_on_all is False  # it listens on 127.0.0.1
        assert report.version is not None
        assert report.version["model_id"] == "dim"
        assert 0 < report.returned <= report.sent
        assert report.params_taken
        # Black since the params are in force.
        assert report.effective_at_pts is not None
        last = max(report.pictures, key=int)
        if int(last) > report.effective_at_pts:
            assert max(bytes.fromhex(report.pictures[last])) < 8
        assert report.latency_ms["p50"] > 0

    def test_ports_on_every_address_are_told_from_loopback(self) -> None:
        import socket

        with socket.socket() as everywhere, socket.socket() as here:
            for one, address in ((everywhere, "0.0.0.0"), (here, "127.0.0.1")):
                one.bind((address, 0))
                one.listen()
            assert listens_on_all(everywhere.getsockname()[1]) is True
            assert listens_on_all(here.getsockname()[1]) is False
            gone = here.getsockname()[1]
        assert listens_on_all(gone) is None  # nothing is known of a port without a listener


class Bounded(BaseParams):
    steps: int = Field(default=4, ge=1, le=4)


class Unlimited(BaseParams):
    limit: float = 0.0


class Switched(BaseParams):
    prompt: str = "a fox"
    mirror: bool = False


class TestParamsChange:
    @pytest.mark.parametrize(
        ("params_class", "given", "change"),
        [
            (Bounded, {}, {"steps": 2}),
            (Switched, {"prompt": "a cat"}, {"prompt": "a cat", "mirror": True}),
            (BaseParams, {}, None),
        ],
    )
    def test_one_field_of_the_pipelines_own_gets_a_value_that_is_taken(
        self, params_class: type[BaseParams], given: dict[str, Any], change: dict[str, Any] | None
    ) -> None:
        assert params_change(params_class, given) == change

    @pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf])
    def test_the_other_value_of_a_number_without_bounds_is_finite(self, given: float) -> None:
        change = params_change(Unlimited, {"limit": given})
        assert change is not None
        assert math.isfinite(change["limit"])

    def test_as_a_command_it_prints_json(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "dim_by_command.py").write_text(SLOW)
        monkeypatch.syspath_prepend(tmp_path)
        assert print_change(["dim_by_command:dim"]) == 0
        assert json.loads(capsys.readouterr().out) == {"gain": 0.5}
