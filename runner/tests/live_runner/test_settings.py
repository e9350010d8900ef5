"""Settings of the live runner, and the file for an orchestrator's operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from runner.live_runner import LiveRunnerSettings, SettingsError
from runner.live_runner.__main__ import main

DYNAMIC = {
    "LIVE_RUNNER_ORCHESTRATOR": "https://orch.example:8935",
    "LIVE_RUNNER_SECRET": "abcdef",
    "LIVE_RUNNER_URL": "http://runner:8000",
}


def test_it_is_off_by_default() -> None:
    assert not LiveRunnerSettings.from_env({}).enabled


def test_one_switch_turns_the_routes_on() -> None:
    settings = LiveRunnerSettings.from_env({"LIVE_RUNNER": "1"}, model_id="mine")
    assert settings.enabled
    assert not settings.dynamic
    assert settings.app == "live-video-to-video/mine"


def test_an_orchestrator_turns_it_on_and_the_switch_off() -> None:
    assert LiveRunnerSettings.from_env(DYNAMIC).dynamic
    assert not LiveRunnerSettings.from_env({**DYNAMIC, "LIVE_RUNNER": "0"}).dynamic


def test_flags_go_before_the_environment() -> None:
    settings = LiveRunnerSettings.from_env(DYNAMIC | {"LIVE_RUNNER_PRICE": "1"}, flags={"price": "2.5", "app": None})
    assert settings.price == 2.5


def test_secrets_are_not_shown() -> None:
    assert "abcdef" not in repr(LiveRunnerSettings.from_env(DYNAMIC))
    assert "abcdef" not in str(LiveRunnerSettings.from_env(DYNAMIC))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"LIVE_RUNNER": "perhaps"}, "LIVE_RUNNER is 'perhaps'"),
        ({"LIVE_RUNNER_SECRET": ""}, "LIVE_RUNNER_SECRET is not set"),
        ({"LIVE_RUNNER_SECRET": "two words"}, "LIVE_RUNNER_SECRET has characters"),
        ({"LIVE_RUNNER_URL": ""}, "LIVE_RUNNER_URL .* is not set"),
        ({"LIVE_RUNNER_URL": "runner:8000"}, "LIVE_RUNNER_URL .* no http"),
        ({"LIVE_RUNNER_URL": "http://me:pw@runner"}, "LIVE_RUNNER_URL .* user name"),
        ({"LIVE_RUNNER_ORCHESTRATOR": "ftp://orch"}, "LIVE_RUNNER_ORCHESTRATOR"),
        ({"LIVE_RUNNER_METADATA": "ü" * 513}, "LIVE_RUNNER_METADATA .* 1,026 bytes"),
        ({"LIVE_RUNNER_CAPACITY": "2"}, "LIVE_RUNNER_CAPACITY .* one stream"),
        ({"LIVE_RUNNER_CAPACITY": "1.5"}, "LIVE_RUNNER_CAPACITY .* no number"),
        ({"LIVE_RUNNER_MODE": "single-shot"}, "LIVE_RUNNER_MODE .* only 'persistent'"),
        ({"LIVE_RUNNER_PRICE": "cheap"}, "LIVE_RUNNER_PRICE .* no number"),
        ({"LIVE_RUNNER_PRICE": "-1"}, "LIVE_RUNNER_PRICE"),
        ({"LIVE_RUNNER_PRICE": "nan"}, "LIVE_RUNNER_PRICE"),
        ({"LIVE_RUNNER_CURRENCY": "eur"}, "LIVE_RUNNER_CURRENCY"),
        ({"LIVE_RUNNER_PRICE_UNIT": "minute"}, "LIVE_RUNNER_PRICE_UNIT .* hour, 720p, fixed"),
        ({"LIVE_RUNNER_PROXY": "maybe"}, "LIVE_RUNNER_PROXY"),
        ({"LIVE_RUNNER_VERIFY_TLS": "maybe"}, "LIVE_RUNNER_VERIFY_TLS"),
    ],
)
def test_what_cannot_be_used_is_named(changed: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as refused:
        LiveRunnerSettings.from_env({**DYNAMIC, **changed})
    assert "abcdef" not in str(refused.value)


def _command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LIVE_RUNNER")}
    command = [sys.executable, "-m", "runner.live_runner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environ, timeout=60)


def test_runners_json_is_what_an_orchestrator_reads() -> None:
    done = _command(
        "runners-json",
        *("--runner-url", "http://10.0.0.5:8000", "--model-id", "my-pipeline", "--price", "0.25", "--proxy", "1"),
        LIVE_RUNNER_METADATA="region: west",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "runners": [
            {
                "label": "my-pipeline",
                "routing": "runner-id",
                "runner_url": "http://10.0.0.5:8000",
                "health_url": "/live-runner/health",
                "healthy_status_code": 200,
                "app": "live-video-to-video/my-pipeline",
                "metadata": "region: west",
                "mode": "persistent",
                "capacity": 1,
                "proxy": True,
                "price_info": {"price": 0.25, "currency": "usd", "unit": "hour"},
            }
        ]
    }


def test_its_help_teaches() -> None:
    done = _command("runners-json", "--help")
    assert done.returncode == 0
    for taught in ("runners-json --runner-url", "-liveRunnerConfig", "LIVE_RUNNER=1", "registerLiveRunners"):
        assert taught in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--model-id"),
        (["--model-id", "x"], "--runner-url"),
        (["--model-id", "x", "--runner-url", "http://r", "--metadata", "m" * 1025], "1,025 bytes"),
        (["--model-id", "x", "--runner-url", "http://r", "--price-unit", "day"], "hour, 720p, fixed"),
        (["--model-id", "x", "--runner-url", "http://r", "--health-url", "health"], "--health-url"),
        (["--model-id", "x", "--runner-url", "http://r", "--capacity", "3"], "--capacity"),
        (["--model-id", "x", "--runner-url", "http://r", "--label", "a/b", "--routing", "label"], "--label"),
    ],
)
def test_wrong_use_says_what_is_wrong(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in [key for key in os.environ if key.startswith("LIVE_RUNNER") or key == "MODEL_ID"]:
        monkeypatch.delenv(variable)
    assert main(["runners-json", *arguments]) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert told.out == ""


def test_the_package_is_light() -> None:
    check = "import sys, runner.live_runner; print(sorted({'aiohttp', 'fastapi', 'torch', 'av', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
