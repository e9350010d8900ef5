"""The walk over metadata: markers of the target, extras, circles, who asked for what."""

from __future__ import annotations

import pytest

from ai_runner_studio.errors import ExportError
from ai_runner_studio.export.closure import Wanted, walk
from ai_runner_studio.export.target import Target

AMD64 = Target("3.11", "linux/amd64")


def walked(graph: dict[str, tuple[str, ...]], target: Target = AMD64, *, root: str = "app") -> dict[str, Wanted]:
    return walk([(root, "the image")], graph.get, target)


class TestWalk:
    def test_everything_that_is_needed_is_found_and_nothing_else(self) -> None:
        graph = {"app": ("a>=1",), "a": ("b",), "b": (), "c": ()}
        assert sorted(walked(graph)) == ["a", "app", "b"]

    def test_circles_end(self) -> None:
        assert sorted(walked({"app": ("a",), "a": ("app",)})) == ["a", "app"]

    def test_markers_are_those_of_the_target(self) -> None:
        graph = {"app": ("old; python_version < '3.11'", "arm; platform_machine == 'aarch64'", "win; os_name == 'nt'")}
        assert sorted(walked(graph)) == ["app"]
        assert sorted(walked(graph, Target("3.10", "linux/arm64"))) == ["app", "arm", "old"]

    def test_extras_are_gone_into_when_somebody_asks_for_them(self) -> None:
        graph = {"app": ("a", "b"), "b": ("a[fast]",), "a": ("quick; extra == 'fast'", "slow; extra == 'tiny'")}
        assert sorted(walked(graph)) == ["a", "app", "b", "quick"]

    def test_names_are_one_however_they_are_spelled(self) -> None:
        assert sorted(walked({"app": ("My_Pkg", "my.pkg>=2")})) == ["app", "my-pkg"]

    def test_what_is_no_requirement_is_told_with_who_says_it(self) -> None:
        with pytest.raises(ExportError, match="app asks for 'a >>> 1'"):
            walked({"app": ("a >>> 1",)})


class TestVersions:
    def test_who_does_not_take_a_version_is_named(self) -> None:
        found = walked({"app": ("a", "b<2"), "a": ("b>=3",)})["b"]
        assert found.refusal("1.0") == "a needs b>=3"
        assert found.refusal("3.1") == "app needs b<2"

    def test_a_local_part_does_not_count(self) -> None:
        assert walked({"app": ("torch==2.13.0",)})["torch"].refusal("2.13.0+cpu") == ""

    def test_all_conditions_come_together(self) -> None:
        assert walked({"app": ("a", "b<2"), "a": ("b>=1",)})["b"].specifier == "<2,>=1"
