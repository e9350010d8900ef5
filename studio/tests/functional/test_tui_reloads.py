"""Reloading on the screen: the list of loads, going back, differences, and what is said of it all."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from driven_studio import Studio, studio
from scripted_session import SOURCES, STARTED_AT, differences, reloads, running, standby
from textual.widgets import OptionList, Static

from ai_runner_studio.snapshot import Load, Snapshot
from ai_runner_studio.tui.last_good import last_good
from ai_runner_studio.tui.screens.differences import Differences
from ai_runner_studio.tui.widgets.activity import RESULT_SHOWN_S, Activity
from ai_runner_studio.tui.widgets.diff_view import DiffView
from ai_runner_studio.tui.widgets.header import Header
from ai_runner_studio.tui.widgets.line import SplitLine
from ai_runner_studio.tui.widgets.reloads import ReloadsPane
from runner.live.events import LoadPlan

pytestmark = pytest.mark.usefixtures("exact_pilot")


def many(**changes: Any) -> dict[str, Any]:
    """A snapshot after every kind of reload; revision 8 serves."""
    loads = reloads()[:-1]
    return running(load=loads[-1], loads=loads, serving=8, **changes)


def pane(run: Studio) -> ReloadsPane:
    return run.app.main.query_one(ReloadsPane)


def entry(run: Studio, revision: int) -> str:
    """The lines of one load."""
    return "\n".join(line.plain for of, line in pane(run)._rows if of == revision)


def visible(run: Studio) -> list[int]:
    """Revisions with a line in view, from the top."""
    shown = pane(run)
    rows = shown._rows[shown.scroll_offset.y :][: shown.scrollable_content_region.height]
    return list(dict.fromkeys(revision for revision, _ in rows))


class TestList:
    @pytest.mark.quick
    async def test_every_load_tells_how_why_so_and_what_it_took(self) -> None:
        async with studio() as run:
            await run.post(**many())
            await run.pilot.press("3")
            for revision, parts in {
                1: ("start", "ready in 1.9 s", "import 1.4 s"),
                2: (
                    "pipeline.py saved",
                    "process, overlap, from standby",
                    "not in place: initialize() has changed",
                    "needs 1.2 GB of RAM, 10.3 GB free",
                    "0 frames lost",
                    "memory 401 → 412 MB",
                    "initialize 0.21 s",
                ),
                3: ("code, weights kept", "ready in 62 ms", "0 frames lost  output gap 37 ms"),
                4: ("failed after 18 ms", "SyntaxError: '(' was never closed"),
                5: ("given up for a newer save", "part_0.py, part_1.py, part_2.py and 11 more saved"),
                6: (
                    "hand-over",
                    "no room for two: needs 9.1 GB of GPU memory, 4.0 GB free",
                    "84 frames lost",
                    "output gap 7.2 s",
                ),
                8: ("runs, ready in 0.41 s", "back to revision 3", "process, from standby"),
            }.items():
                for part in parts:
                    assert part in entry(run, revision)
            assert pane(run).text.index("revision 8") < pane(run).text.index("revision 1")

    async def test_no_line_is_too_long_and_no_word_is_broken(self) -> None:
        async with studio((80, 24)) as run:
            await run.post(**many())
            await run.pilot.press("3")
            for size in ((80, 24), (100, 30), (120, 36)):
                await run.resize(*size)
                width = pane(run).scrollable_content_region.width
                assert all(line.cell_length < width for _, line in pane(run)._rows)
                words = set(pane(run).text.split())
                assert {"initialize()", "GreenShift", "superseded"} & words == {"initialize()", "GreenShift"}

    async def test_keys_move_the_selection_and_keep_it_in_view(self) -> None:
        async with studio((80, 24)) as run:
            await run.post(**many())
            await run.pilot.press("3")
            assert pane(run).selected == 8
            for keys, selected in (
                (("down", "down"), 6),
                (("up",), 7),
                (("end",), 1),
                (("down",), 1),
                (("home",), 8),
                (("pagedown",), 6),
                (("pagedown", "pageup", "pageup"), 8),
            ):
                await run.pilot.press(*keys)
                assert pane(run).selected == selected
                assert selected in visible(run)

    async def test_a_click_selects_and_two_show_the_differences(self) -> None:
        async with studio() as run:
            await run.post(**many())
            run.app.main.arrangement.choose("reloads")
            await run.pilot.pause()
            row = next(row for row, (of, _) in enumerate(pane(run)._rows) if of == 7)
            await run.pilot.click(pane(run), offset=(10, row))
            await run.until(lambda: pane(run).selected == 7)
            assert run.app.focused is pane(run)
            await run.pilot.click(pane(run), offset=(10, row), times=2)
            await run.opened(Differences)

    async def test_the_selection_stays_on_its_revision_when_newer_ones_come(self) -> None:
        async with studio((80, 24)) as run:
            await run.post(**many())
            await run.pilot.press("3", "down", "down", "down")
            place = pane(run)._row_of(5) - pane(run).scroll_offset.y
            await run.post(load=reloads()[-1], loads=reloads())
            await run.until(lambda: "revision 9" in pane(run).text)
            assert pane(run).selected == 5
            assert pane(run)._row_of(5) - pane(run).scroll_offset.y == place

    async def test_until_one_is_chosen_the_newest_is_selected(self) -> None:
        async with studio((80, 24)) as run:
            await run.pilot.press("3")
            assert pane(run).selected == 2
            await run.post(**many())
            assert pane(run).selected == 8
            assert visible(run)[0] == 8

    async def test_without_the_keyboard_the_newest_stays_in_view(self) -> None:
        async with studio((80, 24)) as run:
            await run.post(**many())
            run.app.main.arrangement.choose("reloads")
            await run.post(load=reloads()[-1], loads=reloads())
            await run.until(lambda: visible(run)[:1] == [9])

    async def test_after_a_new_start_of_the_host_the_list_begins_anew(self) -> None:
        async with studio() as run:
            await run.post(**many())
            await run.pilot.press("3", "down")
            await run.post(loads=(), load=None, serving=None)
            assert pane(run).selected is None
            assert "Nothing was loaded yet." in pane(run).render_line(0).text
            await run.pilot.press("down", "enter", "b", "pagedown")
            assert run.app.screen is run.app.main
            await run.post(**running())
            assert pane(run).selected == 2


class TestVerbs:
    async def test_reload_in_a_fresh_process(self) -> None:
        async with studio() as run:
            await run.pilot.press("R")
            await run.until(lambda: run.session.calls == [("reload", "process")])

    async def test_weights_and_standby_are_switched(self) -> None:
        async with studio() as run:
            await run.post(keep_weights=True, standby_on=True)
            await run.pilot.press("w")
            await run.until(lambda: "weights not kept" in run.text(Header))
            assert "Weights are not kept" in run.messages()[-1]
            run.app.main.action_standby()
            await run.until(lambda: "standby off" in run.text(Header))
            assert run.session.calls == [("set_keep_weights", False), ("set_standby", False)]

    @pytest.mark.quick
    async def test_back_goes_to_the_good_revision_before_and_says_which(self) -> None:
        async with studio() as run:
            loads = reloads()[:6]
            await run.post(load=loads[-1], loads=loads, serving=6)
            await run.pilot.press("b")
            await run.until(lambda: run.session.calls == [("revert", 3)])
            await run.until(lambda: run.messages())
            assert run.messages()[-1].startswith("Going back to revision 3 (pipeline.py saved).")

    async def test_back_says_why_not(self) -> None:
        async with studio() as run:
            await run.pilot.press("b")
            await run.until(lambda: run.messages())
            assert run.session.calls == []
            assert "no good revision to go back to" in run.messages()[-1]
            await run.post(**many())
            run.session.refuse_revert = "revision 2 is no longer kept"
            await run.pilot.press("b")
            await run.until(lambda: "revision 2 is no longer kept" in run.messages()[-1])

    async def test_the_list_goes_back_to_the_selected_revision(self) -> None:
        async with studio() as run:
            await run.post(**many())
            await run.pilot.press("3", "b")
            await run.until(lambda: "Revision 8 is what runs." in run.messages())
            await run.pilot.press("down", "b")
            await run.until(lambda: "revision 7 never ran well" in run.messages()[-1])
            await run.pilot.press("down", "b")
            await run.until(lambda: run.session.calls == [("revert", 6)])

    async def test_the_palette_has_them(self) -> None:
        async with studio() as run:
            await run.command("standby on")
            await run.until(lambda: [name for name, _ in run.session.calls] == ["set_standby"])


class TestLastGood:
    def test_it_is_the_newest_good_one_of_other_code_before_the_serving_one(self) -> None:
        loads = reloads()
        assert last_good(Snapshot(loads=loads[:6], load=loads[5], serving=6)) is loads[2]
        same = Load(7, "asked for", STARTED_AT, outcome="serving", sources=SOURCES[6])
        assert last_good(Snapshot(loads=(*loads[:6], same), load=same, serving=7)) is loads[2]

    def test_once_gone_back_it_leads_further_back(self) -> None:
        loads = reloads()[:8]
        assert last_good(Snapshot(loads=loads, load=loads[-1], serving=8)) is loads[1]
        under_way = Load(9, "asked for", STARTED_AT, restores=2)
        assert last_good(Snapshot(loads=(*loads, under_way), load=under_way, serving=8)) is loads[0]

    def test_where_nothing_serves_it_is_the_newest_good_one(self) -> None:
        loads = reloads()[:7]
        assert last_good(Snapshot(loads=loads, load=loads[-1], serving=None)) is loads[5]
        assert last_good(Snapshot()) is None


class TestDifferences:
    async def open(self, run: Studio, *keys: str) -> Differences:
        run.session.diffs = differences()
        await run.post(**many())
        await run.pilot.press(*keys)
        screen = await run.opened(Differences)
        await run.work_done()
        return screen

    def title(self, screen: Differences) -> str:
        return screen.query_one("#diff-title", SplitLine).left.plain

    @pytest.mark.parametrize("size", [(80, 24), (120, 36)])
    async def test_a_revision_against_the_good_one_before_it(self, size: tuple[int, int]) -> None:
        async with studio(size) as run:
            screen = await self.open(run, "3", "end", "up", "up", "enter")
            files, diff = screen.query_one(OptionList), screen.query_one(DiffView)
            assert self.title(screen) == "Revision 2 → revision 3"
            assert [str(option.prompt).split()[:1] for option in files.options] == [["~"], ["+"], ["−"]]
            assert "+        # Shifted twice" in diff.text
            assert diff.text.startswith("@@")
            await run.pilot.press("n")
            assert "+def blur(x):" in diff.text
            await run.pilot.press("n", "n")
            assert "-CACHE = {}" in diff.text
            await run.pilot.press("p", "p", "p")
            assert files.highlighted == 0
            await run.pilot.press("escape")
            await run.until(lambda: run.app.screen is run.app.main)

    @pytest.mark.quick
    async def test_what_serves_against_the_disk_and_tab_turns_it(self) -> None:
        async with studio() as run:
            screen = await self.open(run, "d")
            assert self.title(screen) == "Revision 8 → on disk now"
            assert "+        frame[..., 1] = blur(shifted)" in screen.query_one(DiffView).text
            await run.pilot.press("tab")
            await run.work_done()
            assert self.title(screen) == "Revision 6 → revision 8"
            sentence = screen.query_one("#diff-nothing", Static)
            assert str(sentence.content) == "Revision 8 is made of the same code as revision 6."
            assert sentence.display
            assert not screen.query_one(DiffView).display

    async def test_where_the_disk_has_what_serves_it_is_compared_with_the_one_before(self) -> None:
        async with studio() as run:
            run.session.diffs = {(6, 8): differences()[2, 3]}
            await run.post(**many())
            await run.pilot.press("d")
            await run.opened(Differences)
            await run.work_done()
            assert self.title(run.app.screen) == "Revision 6 → revision 8"  # type: ignore[arg-type]

    async def test_the_first_revision_can_only_be_compared_with_the_disk(self) -> None:
        async with studio() as run:
            screen = await self.open(run, "3", "end", "enter")
            assert self.title(screen) == "Revision 1 → on disk now"
            assert "tab" not in screen.query_one("#diff-hint", SplitLine).left.plain

    async def test_one_can_go_back_from_there(self) -> None:
        async with studio() as run:
            await self.open(run, "3", "end", "up", "up", "enter")
            await run.pilot.press("b")
            await run.until(lambda: run.session.calls == [("revert", 3)])
            await self.open(run, "d")
            await run.pilot.press("b")
            await run.until(lambda: ("revert", 6) in run.session.calls)

    async def test_long_lines_are_wrapped(self) -> None:
        async with studio((80, 24)) as run:
            screen = await self.open(run, "d")
            diff = screen.query_one(DiffView)
            width = diff.scrollable_content_region.width
            assert all(len(line) <= width for line in diff.text.splitlines())
            assert "params.strength)" in diff.text


class TestWhatIsSaid:
    async def test_a_load_under_way_says_how_it_is_done(self) -> None:
        plans = (
            (LoadPlan(level="code", way="in place"), "new code", "code into the running process, taking it in 1.3 s"),
            (LoadPlan(way="overlap"), "import", "fresh process, importing 1.3 s"),
            (LoadPlan(way="overlap", standby="fork"), "import", "fresh process from standby, importing 1.3 s"),
            (LoadPlan(way="hand-over", standby="spawn"), "stop old", "hand-over, ending the old one 1.3 s"),
        )
        async with studio() as run:
            for plan, step, said in plans:
                await run.post(load=Load(3, "saved", STARTED_AT, step=step, plan=plan))
                assert f"Revision 3: {said}" in run.text(Activity)

    async def test_a_hand_over_says_why(self) -> None:
        async with studio((120, 36)) as run:
            plan = LoadPlan(way="hand-over", memory="GPU", needed_bytes=9_100_000_000, free_bytes=4_000_000_000)
            await run.post(load=Load(3, "saved", STARTED_AT, step="stop old", plan=plan), serving=None)
            assert "no room for two: needs 9.1 GB of GPU memory, 4.0 GB free" in run.text(Activity)
            await run.resize(80, 24)
            # Which form fits is decided with the next turn of the stopwatch.
            await run.until(lambda: "needs 9.1 GB, 4.0 GB free" in run.text(Activity))

    async def test_afterwards_one_line_says_what_happened(self) -> None:
        async with studio() as run:
            for revision, said in (
                (3, "Revision 3 serves after 62 ms, in place, 0 frames lost"),
                (6, "Revision 6 serves after 7.4 s, hand-over, 84 frames lost"),
                (1, "Revision 1 serves after 1.9 s  start"),
            ):
                await run.post(loads=reloads()[:6], load=reloads()[5], serving=revision)
                assert said in run.text(Activity)

    async def test_what_a_load_cost_is_no_standing_line(self) -> None:
        async with studio() as run:
            load = replace(reloads()[2], started_at=STARTED_AT - RESULT_SHOWN_S)
            await run.post(loads=(load,), load=load, serving=3)
            assert run.text(Activity).startswith("✓ Revision 3 serves ")
            assert "lost" not in run.text(Activity)

    async def test_the_header_always_says_how_reloads_are_done(self) -> None:
        sizes = ((80, 24), (120, 36), (200, 56))
        states = (
            ({"standby": standby()}, "standby ✓", "standby ready, fork 150 MB"),
            ({"standby": standby(state="warming", memory_bytes=0)}, "standby …", "standby warming"),
            ({"standby": standby(state="dropped", reason="0.7 GB free")}, "standby ✗", "dropped: 0.7 GB free"),
            ({"standby_on": False, "standby": standby(state="off")}, "standby –", "standby off"),
        )
        async with studio((80, 24)) as run:
            for (width, height), (state, short, full) in itertools.product(sizes, states):
                await run.resize(width, height)
                await run.post(**{"keep_weights": True, "standby_on": True, **state})
                text = run.text(Header)
                assert (short if width == 80 else full.split(",")[0].split(":")[0]) in text
                assert width < 200 or full in text
                assert ("weights ✓" if width == 80 else "weights kept") in text
                assert "● ONLINE" in text
                assert "revision 2" in text

    async def test_the_metrics_have_all_of_the_standby(self) -> None:
        async with studio() as run:
            await run.post(standby=standby(), standby_on=True)
            await run.pilot.press("4")
            body = str(run.app.main.query_one("#metrics-body", Static).content)
            assert "ready, fork 150 MB, 212 modules" in body

    async def test_no_key_in_the_footer_is_cut_in_half(self) -> None:
        async with studio((60, 30)) as run:
            await run.post(**many())
            for pane_key, width in itertools.product(("1", "3"), (60, 80, 100, 120, 160)):
                await run.pilot.press(pane_key)
                await run.resize(width, 30)
                shown = [key for key in run.app.main.query("FooterKey") if key.display]
                assert max(key.region.right for key in shown) <= width
                assert {"reload", "quit"} <= {key.action.rpartition(".")[2] for key in shown}  # type: ignore[attr-defined]
