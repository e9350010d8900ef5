"""What the studio asks of the host when it starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ai_runner_studio.host import _command
from ai_runner_studio.settings import Settings

FOLDER = Path("/run/of/it")


def command(**settings: Any) -> list[str]:
    return _command("python", Settings("a:B", project=Path("/p"), **settings), FOLDER)


def test_a_session_that_reloads_says_how_and_where_code_is_kept() -> None:
    asked = command(standby_reserve_mb=512, replace="hand-over", in_place=("a:f", "b.c:D.g"))
    words = " ".join(asked)
    assert {"--keep-weights", "--standby"} <= set(asked)
    assert "--standby-reserve 512" in words
    assert "--replace hand-over" in words
    assert "--in-place a:f --in-place b.c:D.g" in words
    assert f"--snapshots {FOLDER / 'snapshots'}" in words


@pytest.mark.parametrize(("off", "flag"), [("keep_weights", "--keep-weights"), ("standby", "--standby")])
def test_what_is_switched_off_is_not_asked_for(off: str, flag: str) -> None:
    assert flag not in command(**{off: False})


def test_one_that_does_not_reload_keeps_nothing_ready() -> None:
    assert not {"--keep-weights", "--standby", "--snapshots"} & set(command(reload=False))


def test_params_go_as_values_and_what_was_typed_as_text_too() -> None:
    words = command(params={"text": 12, "of_file": 1}, typed_params={"text": "12"})
    assert words[words.index("--initial-params") + 1] == '{"text": 12, "of_file": 1}'
    assert words[words.index("--typed-params") + 1] == '{"text": "12"}'


def test_the_host_knows_every_flag() -> None:
    from runner.live.infer import _parser

    asked = command(params_import="a:C", params={"x": 1}, verbose=True)
    options = _parser().parse_args(asked[asked.index("--studio") :])
    assert (options.snapshots, options.standby_reserve) == (str(FOLDER / "snapshots"), 1024)


def test_how_the_route_decodes_is_passed_on() -> None:
    words = " ".join(command(max_fps=30.0, hardware="software"))
    assert "--max-fps 30 --hardware software" in words
