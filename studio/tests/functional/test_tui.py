"""The terminal program, driven by keys and mouse over a scripted session."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from driven_studio import Studio, studio
from scripted_session import PARAMS, SCHEMA, STARTED_AT, ScriptedSession, logs, metrics, name_error, plasma, routed
from textual.widgets import Input, Select, Static, Switch

from ai_runner_studio.errors import StudioError
from ai_runner_studio.preview.terminal import Terminal
from ai_runner_studio.snapshot import Load
from ai_runner_studio.tui.app import StudioApp
from ai_runner_studio.tui.cells import most_cells
from ai_runner_studio.tui.screens.error_detail import ErrorDetail
from ai_runner_studio.tui.screens.export_image import ExportImage
from ai_runner_studio.tui.screens.help import HelpScreen
from ai_runner_studio.tui.screens.open_input import OpenInput, complete_path
from ai_runner_studio.tui.screens.too_small import TooSmall
from ai_runner_studio.tui.widgets.activity import Activity
from ai_runner_studio.tui.widgets.error import ErrorStory
from ai_runner_studio.tui.widgets.header import Header
from ai_runner_studio.tui.widgets.metrics_line import MetricsLine
from ai_runner_studio.tui.widgets.picture_strip import BlockStrip
from ai_runner_studio.tui.widgets.reloads import ReloadsPane
from ai_runner_studio.tui.widgets.route_line import RouteLine
from ai_runner_studio.tui.widgets.tab_row import TabRow
from runner.live.events import LogWritten, Route, Step, StreamEnded
from runner.live.report import CodeLine, ErrorReport

pytestmark = pytest.mark.usefixtures("exact_pilot")


class TestPreview:
    @pytest.mark.quick
    async def test_both_pictures_show_the_newest_frames_in_their_colours(self) -> None:
        async with studio() as run:
            run.session.input_tap.write(np.full((512, 512, 3), (250, 20, 30), np.uint8))
            run.session.output_tap.write(np.full((256, 512, 3), (10, 20, 230), np.uint8))
            previews = run.app.main.previews
            await run.until(lambda: previews.input.picture.frame and previews.output.picture.frame)
            for pane, colour in ((previews.input, (250, 20, 30)), (previews.output, (10, 20, 230))):
                picture = pane.picture
                strips = picture.render_lines(picture.size.region)
                middle = strips[len(strips) // 2]
                assert isinstance(middle, BlockStrip)
                assert tuple(middle.upper[picture.size.width // 2]) == colour

    async def test_pictures_keep_their_shape(self) -> None:
        async with studio() as run:
            run.session.output_tap.write(np.full((256, 512, 3), 255, np.uint8))
            picture = run.app.main.previews.output.picture
            await run.until(lambda: picture.frame)
            strips = [s for s in picture.render_lines(picture.size.region) if isinstance(s, BlockStrip)]
            lit = np.stack([s.upper.min(axis=1) == 255 for s in strips])
            assert lit.any(axis=0).sum() == pytest.approx(4 * lit.any(axis=1).sum(), abs=2)

    async def test_without_frames_it_looks_less_often(self) -> None:
        async with studio() as run:
            previews = run.app.main.previews
            await run.until(lambda: previews._looks_per_s < 10)
            run.session.input_tap.write(plasma(0))
            await run.until(lambda: previews.input.picture.frame and previews._looks_per_s > 50)

    async def test_only_changed_rows_are_drawn_again(self) -> None:
        async with studio() as run:
            picture = run.app.main.previews.input.picture
            pixels = plasma(0)
            run.session.input_tap.write(pixels)
            await run.until(lambda: picture.frame)
            before = [s.render(run.app.console) for s in picture.render_lines(picture.size.region)]
            pixels = pixels.copy()
            pixels[:20] = 0
            run.session.input_tap.write(pixels)
            await run.until(lambda: (picture.frame.pixels[:20] == 0).all())
            after = [s.render(run.app.console) for s in picture.render_lines(picture.size.region)]
            assert before[0] != after[0]
            assert before[3:] == after[3:]

    async def test_a_part_of_a_row_is_the_same_picture(self) -> None:
        upper, lower = plasma(0, 40, 2)
        strip = BlockStrip(upper, lower, "24-bit")
        left, middle, right = strip.divide([10, 25, 40])
        assert [part.cell_length for part in (left, middle, right)] == [10, 15, 15]
        assert (middle.upper == upper[10:25]).all()  # type: ignore[attr-defined]
        assert "".join(segment.text for segment in strip) == "▀" * 40

    @pytest.mark.quick
    async def test_keys_change_mode_and_size(self) -> None:
        async with studio() as run:
            previews = run.app.main.previews
            assert previews.mode == "blocks"
            run.session.input_tap.write(plasma(0))
            await run.until(lambda: previews.input.picture.frame)
            height = previews.size.height
            await run.pilot.press("p")
            assert previews.input.picture.drawn_mode == "text"
            last = previews.input.picture.render_lines(previews.input.picture.size.region)[-1]
            assert "512x512" in last.text
            await run.pilot.press("p", "minus", "minus", "plus")
            await run.pilot.pause()
            assert previews.mode == "blocks"
            assert previews.size.height == height - 1

    async def test_the_line_of_figures_drags_the_border(self) -> None:
        async with studio() as run:
            before = run.app.main.previews.size.height
            line = run.app.main.query_one(MetricsLine)
            await run.pilot.mouse_down(line, offset=(5, 0))
            await run.pilot.hover("#header", offset=(5, line.region.y - 3))
            await run.pilot.mouse_up(line)
            await run.until(lambda: run.app.main.previews.size.height != before)
            assert run.app.main.previews.size.height == before - 3

    async def test_no_colour_means_text(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        async with studio() as run:
            run.session.output_tap.write(plasma(1))
            picture = run.app.main.previews.output.picture
            await run.until(lambda: picture.frame)
            assert picture.drawn_mode == "text"


class TestStatus:
    async def test_first_load_has_a_stopwatch_and_its_step(self) -> None:
        async with studio(loaded=False) as run:
            load = Load(1, "start", STARTED_AT, step="import")
            await run.post(phase="running", state="LOADING", load=load, loads=(load,))
            assert "Revision 1: fresh process, importing 1.3 s" in run.text(Activity)
            assert run.app.main.previews.output.picture.message == ("Loading…", "", "importing 1.3 s")

    @pytest.mark.quick
    async def test_header_says_state_and_revision(self) -> None:
        async with studio() as run:
            assert "green_shift.pipeline:GreenShift" in run.text(Header)
            assert "● ONLINE   revision 2 on disk   cpu" in run.text(Header)

    async def test_a_reload_says_what_goes_on_meanwhile(self) -> None:
        async with studio() as run:
            load = Load(3, "saved", STARTED_AT, ("/x/pipeline.py",), step="initialize")
            await run.post(load=load)
            assert "Revision 3: " in run.text(Activity)
            assert "pipeline.py saved" in run.text(Activity)
            assert "revision 2 still runs" in run.text(Activity)

    @pytest.mark.quick
    async def test_figures(self) -> None:
        async with studio((160, 40)) as run:
            await run.post(metrics=metrics(vram_bytes=2_100_000_000, vram_total_bytes=80_000_000_000))
            text = run.text(MetricsLine)
            for part in (
                "in 30.0",
                "out 29.9",
                "p50 12.4",
                "p95 17.8",
                "dropped 19",
                "412 MB",
                "cpu 83%",
                "vram 2.1 GB",
            ):
                assert part in text

    async def test_all_of_the_main_figures_fit_80_columns(self) -> None:
        async with studio((80, 24)) as run:
            text = run.text(MetricsLine)
            assert "p95 17.8" in text
            assert "412 MB" in text
            assert "cpu 83%" in text

    async def test_the_end_of_the_input_is_said_and_r_plays_it_again(self) -> None:
        async with studio(input="people") as run:
            await run.post(ended=StreamEnded(error="The camera was unplugged.", error_kind="source"))
            assert "The camera was unplugged." in run.text(Activity)
            assert "i another input" in run.text(Activity)
            await run.pilot.press("r")
            await run.until(lambda: ("set_input", "people") in run.session.calls)

    async def test_an_input_that_gives_no_frames_says_so_until_it_does(self) -> None:
        async with studio(input="webcam") as run:
            await run.post(metrics=replace(run.session.snapshot.metrics, silent_s=3.2))
            assert "no frame for 3 s" in run.text(Activity)
            assert "i another input" in run.text(Activity)
            await run.post(metrics=replace(run.session.snapshot.metrics, silent_s=0.0))
            assert "no frame" not in run.text(Activity)

    async def test_after_the_host_ended_r_starts_again(self) -> None:
        async with studio() as run:
            await run.post(phase="ended")
            assert "r starts it again" in run.text(Activity)
            assert "ENDED" in run.text(Header)
            await run.pilot.press("r")
            await run.until(lambda: ("reload", "asked for") in run.session.calls)

    async def test_notices_become_messages_once(self) -> None:
        async with studio() as run:
            await run.post(notices=("The watcher polls here.",))
            await run.post(notices=("The watcher polls here.", "'blur' was dropped."))
            assert run.messages() == ["The watcher polls here.", "'blur' was dropped."]


class TestRoute:
    @pytest.mark.quick
    async def test_the_line_shows_all_hops_in_every_width(self) -> None:
        sizes = {
            (60, 16): "= 25.9 ms  sent 6,651 back 5,298",
            (80, 24): "encode  4.3 › relay  2.1 › runner 12.4 › encode  5.1 › relay  1.9  = 25.9 ms",
            (120, 36): "relay  1.9  = 25.9 ms  p95 41.2  sent 6,651 back 5,298",
            (200, 56): "encode  4.3 › relay, decode  2.1 › runner 12.4 › encode  5.1 › relay, decode  1.9  = 25.9 ms",
        }
        async with studio((60, 16)) as run:
            await run.post(**routed())
            for size, expected in sizes.items():
                await run.resize(*size)
                assert expected in run.text(RouteLine)

    async def test_it_is_there_only_on_the_route_and_stays_at_the_end(self) -> None:
        async with studio() as run:
            line = run.app.main.query_one(RouteLine)
            assert not line.display
            await run.post(**routed(), ended=StreamEnded(route=Route(hops_ms={"total": 7.0}, sent=9, returned=9)))
            assert line.display
            await run.post(metrics=metrics())
            assert "sent 9 back 9" in run.text(RouteLine)
            await run.post(route="direct", ended=None)
            assert not line.display

    async def test_before_the_first_frame_is_back_it_says_so(self) -> None:
        async with studio() as run:
            await run.post(route="trickle")
            assert "no frame has come back yet" in run.text(RouteLine)

    async def test_a_key_and_a_command_switch_it(self) -> None:
        async with studio((80, 24)) as run:
            await run.pilot.press("n")
            await run.until(lambda: run.app.main.query_one(RouteLine).display)
            assert run.session.calls == [("set_route", "trickle")]
            await run.command("trickle route")
            await run.until(lambda: run.session.calls[1:] == [("set_route", "direct")])
            assert run.messages()[-1] == "Frames go directly again. The stream begins again."

    async def test_what_was_dropped_while_it_loaded_is_no_standing_figure(self) -> None:
        async with studio() as run:
            await run.post(metrics=metrics(dropped={"loading": 412, "late": 4}))
            assert "dropped 4 " in run.text(MetricsLine)

    async def test_what_was_dropped_on_the_way_counts_too(self) -> None:
        async with studio() as run:
            await run.post(**routed())
            assert "dropped 1,353" in run.text(MetricsLine)
            await run.pilot.press("4")
            await run.pilot.pause()
            body = str(run.app.main.query_one("#metrics-body", Static).content)
            for part in ("relay back", "6,651 sent  5,298 back", "h264 → libx264, ≤ 24 fps", "3 encoder"):
                assert part in body


class TestKeys:
    @pytest.mark.quick
    async def test_verbs(self) -> None:
        async with studio() as run:
            await run.pilot.press("r", "space")
            await run.until(lambda: len(run.session.calls) == 2)
            assert run.session.calls == [("reload", "asked for"), ("set_paused", True)]
            assert "paused" in run.text(Header)
            await run.pilot.press("space")
            await run.until(lambda: ("set_paused", False) in run.session.calls)

    @pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
    async def test_leaving(self, key: str, code: int) -> None:
        async with studio() as run:
            await run.pilot.press(key)
            await run.until(lambda: not run.app.is_running)
        assert run.app.return_code == code

    @pytest.mark.quick
    async def test_help_opens_and_closes(self) -> None:
        async with studio() as run:
            await run.pilot.press("question_mark")
            screen = await run.opened(HelpScreen)
            assert len(screen.walk_children()) < 25
            await run.pilot.press("escape")
            await run.until(lambda: run.app.screen is run.app.main)

    @pytest.mark.quick
    async def test_an_export_shows_its_plan_builds_and_tells_what_came_of_it(self) -> None:
        async with studio() as run:
            await run.pilot.press("x")
            screen = await run.opened(ExportImage)
            await run.pilot.press("enter")
            assert screen.stage == "planning"  # there is nothing to build yet
            run.session.job.planned.set()
            await run.until(lambda: screen.stage == "planned")
            await run.pilot.press("enter")
            await run.until(lambda: screen.stage == "building")
            run.session.job.go_on.set()
            await run.until(lambda: screen.stage == "done")
            assert "LOADING > IDLE > OK > IDLE" in str(screen.query_one("#export-text", Static).render())
            await run.until(lambda: run.session.job.closed == 1)

    @pytest.mark.parametrize("at", ["planning", "planned", "building"])
    async def test_leaving_an_export_ends_it(self, at: str) -> None:
        async with studio() as run:
            await run.pilot.press("x")
            screen = await run.opened(ExportImage)
            if at != "planning":
                run.session.job.planned.set()
                await run.until(lambda: screen.stage == "planned")
            if at == "building":
                await run.pilot.press("enter")
                await run.until(lambda: screen.stage == at)
            await run.pilot.press("escape")
            await run.until(lambda: run.app.screen is run.app.main)
            await run.until(lambda: run.session.job.closed == 1)

    async def test_an_export_that_fails_says_why_and_what_to_do(self) -> None:
        async with studio() as run:
            run.session.job.refuse = StudioError("no builder can be used", "install buildah and podman")
            run.session.job.planned.set()
            await run.pilot.press("x")
            await run.until(lambda: getattr(run.app.screen, "stage", "") == "failed")
            said = str(run.app.screen.query_one("#export-text", Static).render())
            assert "no builder can be used" in said
            assert "install buildah and podman" in said

    @pytest.mark.quick
    async def test_theme_switches(self) -> None:
        async with studio() as run:
            await run.pilot.press("t")
            assert run.app.theme == "studio-light"
            await run.pilot.press("t")
            assert run.app.theme == "studio-dark"

    @pytest.mark.quick
    async def test_the_palette_runs_a_command(self) -> None:
        async with studio() as run:
            await run.command("show reloads")
            await run.until(lambda: "reloads" in run.shown())

    async def test_keys_in_a_text_field_are_text(self) -> None:
        async with studio() as run:
            run.row("prompt").editor.focus()
            await run.pilot.press("end", "q", "r")
            assert run.app.is_running
            assert ("reload", "asked for") not in run.session.calls
            await run.until(lambda: run.session.snapshot.params["prompt"] == "a watercolourqr")


class TestParams:
    async def test_typing_is_applied_as_it_is_typed(self) -> None:
        async with studio() as run:
            field = run.row("strength").editor
            assert isinstance(field, Input)
            field.focus()
            field.value = ""
            await run.pilot.press("0", ".", "7", "5")
            await run.until(lambda: run.session.snapshot.params["strength"] == 0.75)
            assert field.value == "0.75"

    async def test_a_turned_knob_asks_once_it_rests(self) -> None:
        async with studio() as run:
            row = run.row("radius")
            for _ in range(10):
                row.step(1)
            await run.until(lambda: run.params_asked())
            assert run.params_asked() == [{"radius": 15}]

    async def test_arrow_keys_step(self) -> None:
        async with studio() as run:
            run.row("radius").editor.focus()
            await run.pilot.press("up", "up", "down", "shift+up")
            await run.until(lambda: run.session.snapshot.params["radius"] == 16)
            assert run.row("radius").editor.value == "16"  # type: ignore[attr-defined]

    @pytest.mark.quick
    async def test_switch_select_and_slider(self) -> None:
        async with studio() as run:
            mirror, mode = run.row("mirror").editor, run.row("mode").editor
            assert isinstance(mirror, Switch)
            assert isinstance(mode, Select)
            mirror.focus()
            await run.pilot.press("enter")
            mode.value = "glow"
            slider = run.row("strength")._slider
            assert slider is not None
            await run.pilot.click(slider, offset=(slider.size.width - 1, 0))
            await run.until(lambda: run.session.snapshot.params.get("strength") == 1)
            assert run.session.snapshot.params["mirror"] is True
            assert run.session.snapshot.params["mode"] == "glow"

    async def test_a_wrong_value_says_why_and_is_not_sent(self) -> None:
        async with studio() as run:
            field = run.row("radius").editor
            assert isinstance(field, Input)
            field.value = "99"
            reason = run.row("radius")._reason
            await run.until(lambda: reason.display)
            await run.pilot.pause(0.3)  # longer than a change waits for the next one
            assert str(reason.content) == "must be at most 31"
            assert run.params_asked() == []
            field.value = "9"
            await run.until(lambda: run.params_asked() == [{"radius": 9}])
            assert not reason.display

    async def test_a_refusal_by_the_pipeline_shows_in_place(self) -> None:
        async with studio() as run:
            run.session.refuse = {"prompt": "must not be empty"}
            field = run.row("prompt").editor
            assert isinstance(field, Input)
            field.value = ""
            await run.until(lambda: run.row("prompt").invalid)
            assert str(run.row("prompt")._reason.content) == "must not be empty"

    async def test_what_was_refused_stays_to_be_mended(self) -> None:
        async with studio() as run:
            run.session.refuse = {"prompt": "too long for the encoder"}
            row = run.row("prompt")
            assert isinstance(row.editor, Input)
            row.editor.value = "a watercolour of a cat"
            await run.until(lambda: row.invalid)
            run.app.main.set_focus(None)
            await run.post(metrics=metrics())
            assert row.editor.value == "a watercolour of a cat"
            assert str(row._reason.content) == "too long for the encoder"
            await run.post(params={**PARAMS, "prompt": "another"})
            assert row.editor.value == "another"
            assert not row.invalid

    async def test_reset_gives_every_default(self) -> None:
        async with studio() as run:
            await run.post(params={**PARAMS, "radius": 9, "seed": 4})
            assert run.row("radius").value == 9
            run.app.main.params.action_reset()
            await run.until(lambda: run.session.snapshot.params == PARAMS)
            assert len(run.params_asked()) == 1
            assert run.row("radius").editor.value == "5"  # type: ignore[attr-defined]

    async def test_values_from_elsewhere_keep_rows_and_focus(self) -> None:
        async with studio() as run:
            rows = dict(run.app.main.params.rows)
            rows["prompt"].editor.focus()
            await run.pilot.pause()
            await run.post(params={**PARAMS, "radius": 11})
            assert run.app.main.params.rows == rows
            assert run.row("radius").editor.value == "11"  # type: ignore[attr-defined]
            assert run.app.focused is rows["prompt"].editor
            assert run.params_asked() == []

    async def test_a_new_schema_makes_a_new_form_and_keeps_the_keyboard(self) -> None:
        async with studio() as run:
            run.row("radius").editor.focus()
            await run.pilot.pause()
            properties = {**SCHEMA["properties"], "blur": {"default": 2, "type": "integer", "title": "Blur"}}
            del properties["prompt"]
            schema = {**SCHEMA, "properties": properties}
            await run.post(params_schema=schema, params={**PARAMS, "blur": 3, "radius": 6})
            await run.until(lambda: "blur" in run.app.main.params.rows)
            assert "prompt" not in run.app.main.params.rows
            assert run.row("blur").value == 3
            await run.until(lambda: run.app.focused is run.row("radius").editor)

    async def test_a_pipeline_without_parameters_says_so(self) -> None:
        async with studio() as run:
            await run.post(params_schema={}, params={})
            text = run.app.main.params.query_one(".nothing", Static)
            assert str(text.content) == "This pipeline has no parameters."


class TestError:
    @pytest.mark.quick
    async def test_it_appears_with_place_and_code_and_goes_by_itself(self) -> None:
        async with studio() as run:
            await run.pilot.press("3")
            await run.post(error=name_error(), error_count=14, state="ERROR")
            assert "error" in run.shown()
            story = run.app.main.query_one(ErrorStory)
            body = "\n".join(str(part.content) for part in (story.head, story.code, story.tail))
            for part in ("NameError", "pipeline.py:27", "❯ 27", "strenght", "Did you mean", "14 times"):
                assert part in body
            assert "NameError" in run.text(Activity)
            await run.post(error=None, error_count=0, state="ONLINE")
            assert "error" not in run.shown()
            assert "reloads" in run.shown()

    async def test_it_does_not_take_a_form_away_from_someone_who_types(self) -> None:
        async with studio((80, 24)) as run:
            run.row("radius").editor.focus()
            await run.pilot.pause()
            await run.post(error=name_error())
            assert run.shown() == {"params"}
            await run.pilot.press("escape", "5")
            await run.until(lambda: run.shown() == {"error"})

    @pytest.mark.quick
    async def test_the_traceback_is_one_key_away(self) -> None:
        async with studio() as run:
            await run.post(error=name_error())
            await run.pilot.press("e")
            await run.opened(ErrorDetail)
            assert "Traceback (most recent call last)" in str(run.app.screen.query_one("#traceback", Static).content)
            await run.pilot.press("escape")
            await run.until(lambda: run.app.screen is run.app.main)

    async def test_a_failed_load_says_what_still_runs(self) -> None:
        async with studio() as run:
            failed = Load(3, "saved", STARTED_AT, outcome="failed", report=name_error(), total_s=0.1)
            await run.post(load=failed, loads=(*run.session.snapshot.loads, failed), error=name_error())
            assert "revision 2 still runs" in run.text(Activity)
            await run.pilot.press("3")
            await run.until(lambda: "failed after" in run.app.main.query_one(ReloadsPane).text)

    async def test_an_error_that_comes_and_goes_comes_into_view_once_per_load(self) -> None:
        async with studio() as run:
            await run.post(error=name_error())
            assert "error" in run.shown()
            await run.pilot.press("2")
            for _ in range(2):
                await run.post(error=None)
                await run.post(error=name_error())
                assert "log" in run.shown()
            failed = Load(3, "saved", STARTED_AT, outcome="failed", report=name_error(), total_s=0.1)
            await run.post(error=None)
            await run.post(load=failed, error=name_error())
            assert "error" in run.shown()

    async def test_an_error_does_not_take_the_pane_that_is_typed_into(self) -> None:
        async with studio() as run:
            await run.pilot.press("2", "slash", *"weig")
            await run.post(error=name_error())
            await run.pilot.press(*"hts")
            assert run.app.main.log_pane._filter.value == "weights"

    async def test_a_dead_host_says_what_starts_it_again(self) -> None:
        report = ErrorReport("process", "HostExited", "the runner host was killed by SIGKILL")
        async with studio() as run:
            await run.post(phase="ended", serving=None, error=report)
            story = run.app.main.query_one(ErrorStory)
            text = "".join(str(part.content) for part in story.query(Static))
            assert "in the runner host" in text
            assert "r starts it again" in text
            assert "Save a fix" not in text

    async def test_number_keys_always_answer(self) -> None:
        async with studio() as run:
            for key in ("1", "5"):
                before = len(run.app._notifications)
                await run.pilot.press(key)
                assert len(run.app._notifications) == before + 1
            await run.pilot.press("4")
            assert run.app.main.query_one("#metrics").has_focus


class TestPanes:
    async def test_number_keys_choose_panes(self) -> None:
        async with studio((80, 24)) as run:
            for key, pane in (("2", "log"), ("3", "reloads"), ("4", "metrics"), ("1", "params")):
                await run.pilot.press(key)
                assert run.shown() == {pane}

    async def test_a_click_on_a_tab_chooses_it(self) -> None:
        async with studio((80, 24)) as run:
            row = run.app.main.query_one(TabRow)
            start = next(start for start, _, pane in row._places if pane == "reloads")
            await run.pilot.click(row, offset=(start + 1, 0))
            await run.until(lambda: run.shown() == {"reloads"})

    async def test_room_decides_how_many_stand_side_by_side(self) -> None:
        async with studio((80, 24)) as run:
            assert run.shown() == {"params"}
            await run.pilot.resize_terminal(120, 36)
            await run.until(lambda: run.shown() == {"params", "log"})
            await run.pilot.resize_terminal(200, 56)
            await run.until(lambda: run.shown() == {"params", "log", "metrics"})

    @pytest.mark.quick
    async def test_too_small_a_terminal_says_so_and_comes_back(self) -> None:
        async with studio() as run:
            await run.pilot.resize_terminal(50, 12)
            await run.opened(TooSmall)
            await run.until(lambda: "50×12" in str(run.app.screen.query_one("#too-small", Static).content))
            await run.pilot.resize_terminal(60, 16)
            await run.until(lambda: run.app.screen is run.app.main)

    @pytest.mark.quick
    async def test_metrics_tell_stages_and_drops_by_reason(self) -> None:
        async with studio() as run:
            await run.pilot.press("4")
            await run.pilot.pause()
            body = str(run.app.main.query_one("#metrics-body", Static).content)
            for part in ("decode", "queue in", "pipeline", "7.6 ms", "15 newer frame came", "4 late"):
                assert part in body


class TestLog:
    @pytest.mark.quick
    async def test_level_and_filter(self) -> None:
        async with studio() as run:
            await run.pilot.press("l")
            lines = run.app.main.log_pane.lines
            assert len(lines.records) == len(logs())
            await run.pilot.press("v", "v")
            assert [record.level for record in lines.records] == ["WARNING", "ERROR"]
            await run.pilot.press("slash", *"clamped")
            assert [record.level for record in lines.records] == ["WARNING"]

    async def test_it_follows_until_scrolled_back(self) -> None:
        async with studio() as run:
            many = tuple(LogWritten(level="INFO", source="x", message=f"line {n}", at=STARTED_AT) for n in range(300))
            await run.post(logs=many)
            await run.pilot.press("l")
            lines = run.app.main.log_pane.lines
            assert lines.scroll_y == lines.max_scroll_y > 200
            await run.pilot.press("pageup")
            await run.until(lambda: not lines.following)
            place = lines.scroll_y
            more = (*many, LogWritten(level="INFO", source="x", message="newest", at=STARTED_AT))
            await run.post(logs=more)
            assert lines.scroll_y == place
            await run.pilot.press("f")
            await run.until(lambda: lines.scroll_y == lines.max_scroll_y)

    async def test_long_lines_wrap(self) -> None:
        async with studio((80, 24)) as run:
            await run.pilot.press("l")
            await run.post(logs=(LogWritten(level="INFO", source="x", message="word " * 60, at=STARTED_AT),))
            lines = run.app.main.log_pane.lines
            assert lines.virtual_size.height > 3

    @pytest.mark.quick
    async def test_wide_characters_and_joined_emoji_are_whole(self) -> None:
        wide = "".join(chr(0x4E00 + number) for number in range(121))
        text = f"{wide} e\u0301\t" + "👩\u200d💻" * 40 + " שלום " + "x" * 300
        async with studio() as run:
            await run.pilot.press("2")
            await run.post(logs=(LogWritten(level="INFO", source="x", message=text, at=STARTED_AT),))
            lines = run.app.main.log_pane.lines
            rows = [lines.render_line(row - lines.scroll_offset.y) for row in range(lines.virtual_size.height)]
            shown = "".join(row.text[11:].rstrip() for row in rows)
            assert shown.replace(" ", "") == text.replace(" ", "").replace("\t", "")
            assert all(most_cells(row.text) <= lines.size.width for row in rows)


@pytest.mark.quick
async def test_control_characters_of_user_code_are_visible_everywhere() -> None:
    evil = "\x1b[?1049l\x1b]52;c;UEFZ\x07\x9b31m\x0e\x1bc"
    report = replace(
        name_error(), message=evil, hint=evil, traceback=evil, code=(CodeLine(1, evil, True),), file=f"/x/{evil}.py"
    )
    load = Load(3, evil, STARTED_AT, (f"/x/{evil}.py",), outcome="failed", report=report, total_s=0.1)
    async with studio() as run:

        def written() -> str:
            return "".join(strip.text for strip in run.app.screen._compositor.render_strips())

        log = LogWritten(level="ERROR", source=evil, message=evil, at=STARTED_AT)
        await run.post(error=report, logs=(log,), load=load, loads=(load,), notices=(evil,), device=evil)
        for key in ("5", "2", "3", "4", "e"):
            await run.pilot.press(key)
            await run.pilot.pause()
            text = written()
            assert text.isprintable() or not re.search("[\x00-\x1f\x7f-\x9f]", text)
        assert "\\x1b[?1049l" in text


class TestOpenInput:
    @pytest.mark.quick
    async def test_it_opens_what_is_typed(self) -> None:
        async with studio() as run:
            await run.pilot.press("i")
            await run.opened(OpenInput)
            await run.pilot.press(*"pattern", "enter")
            await run.until(lambda: run.app.screen is run.app.main)
            assert run.session.calls == [("set_input", "pattern")]

    async def test_what_cannot_be_opened_is_said_there(self) -> None:
        async with studio() as run:
            run.session.refuse_input = "There is no file 'x.mp4'."
            await run.pilot.press("i")
            await run.opened(OpenInput)
            await run.pilot.press(*"x.mp4", "enter")
            reason = run.app.screen.query_one("#open-reason", Static)
            await run.until(lambda: "There is no file" in str(reason.content))
            assert "Is the path right?" in str(reason.content)
            await run.pilot.press("escape")
            await run.until(lambda: run.app.screen is run.app.main)

    def test_paths_are_completed(self, tmp_path: Any) -> None:
        (tmp_path / "clips").mkdir()
        (tmp_path / "clips" / "people.mp4").touch()
        assert complete_path(f"{tmp_path}/cl") == f"{tmp_path}/clips/"
        assert complete_path(f"{tmp_path}/clips/pe") == f"{tmp_path}/clips/people.mp4"
        assert complete_path(f"{tmp_path}/none/") is None


async def test_a_load_in_progress_keeps_counting() -> None:
    session = ScriptedSession()
    now = STARTED_AT
    app = StudioApp(session, terminal=Terminal(), clock=lambda: now)  # type: ignore[arg-type]
    async with app.run_test(size=(80, 24)) as pilot:
        run = Studio(app, session, pilot)
        load = Load(1, "start", STARTED_AT, step="initialize", steps=(Step(name="import", seconds=1.0),))
        await run.post(phase="running", state="LOADING", load=load, loads=(load,))
        now = STARTED_AT + 3.5
        await run.until(lambda: "initializing 2.5 s" in run.text(Activity))
    session.close()
