"""Dockerfile lines of a project: what may be added and what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.errors import UsageError
from ai_runner_studio.export.steps import checked_steps, read_steps


class TestAllowed:
    def test_lines_stay_as_they_are_without_comments(self) -> None:
        lines = ["# for sound", "RUN apt-get update && \\", "    apt-get install -y sox", "", "ENV A=1", "label a=b"]
        assert checked_steps(lines, "steps") == tuple(lines[1:3] + lines[4:])

    def test_a_secret_may_be_mounted(self) -> None:
        assert checked_steps(["RUN --mount=type=secret,id=netrc true"], "steps")


class TestRefused:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("FROM other", "'FROM' cannot be added"),
            ("USER root", "'USER' cannot be added"),
            ("COPY a b", "'COPY' cannot be added"),
            ("ADD https://example.com/a b", "'ADD' cannot be added"),
            ('CMD ["sh"]', "'CMD' cannot be added"),
            ("RUN <<EOF", "here-document"),
            ("RUN --network=host true", "a flag of RUN"),
            ("RUN --mount=type=bind,from=build,target=/a true", "from another stage"),
            ("RUN --mount=type=bind,source=a,target=/a,rw true", "can be written to"),
            ("RUN --mount=type=cache,target=/root/.cache true", "no secret"),
        ],
    )
    def test_what_some_builder_lacks_or_the_plan_decides(self, line: str, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            checked_steps([line], "extra.dockerfile")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"--dockerfile-append .*none.* cannot be read: No such file"):
            read_steps(tmp_path / "none")
