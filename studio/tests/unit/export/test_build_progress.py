"""What builders write: which step they are at, and why they failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ai_runner_studio.export.build_failure import explain_build, explain_push
from ai_runner_studio.export.build_progress import BuildLog, BuildProgress, describe

BUILDAH = """\
STEP 1/3: FROM localhost/base:1
STEP 2/3: COPY req/10-torch.txt /opt/app/req/10-torch.txt
--> Using cache 745f2c46a7411e17548f1ab1286beb4a4eacc8cfa911c4beee6a3c8d64731b64
--> 745f2c46a74
STEP 3/3: RUN --mount=type=bind,source=tools,target=/ctx/tools     set -e; uv pip install -r /opt/app/req/10-torch.txt
COMMIT
--> 10c096a084f
10c096a084ff612a4805d45e0bc6ddb943c1be31a5e94e62ec61bd6be89f3874
"""
BUILDKIT = """\
#1 [internal] load build definition from Dockerfile
#5 [1/3] FROM docker.io/library/base:1
#5 DONE 0.0s
#6 [ 2/3] COPY req/10-torch.txt /opt/app/req/10-torch.txt
#6 CACHED
#7 [3/3] RUN uv pip install -r /opt/app/req/10-torch.txt
#7 3.141 some output
#8 exporting to image
"""
CLASSIC = "Step 1/3 : FROM base:1\nStep 2/3 : COPY req/10-torch.txt /opt/app/req/10-torch.txt\nStep 3/3 : RUN true\n"


class TestProgress:
    @pytest.mark.parametrize("text", [BUILDAH, BUILDKIT, CLASSIC], ids=["buildah", "buildkit", "classic"])
    def test_every_builder_is_at_its_last_step_in_the_end(self, text: str) -> None:
        log = BuildLog()
        seen = [log.progress for line in text.splitlines() if log.read(line)]
        assert [progress.step for progress in seen] == sorted(progress.step for progress in seen)
        assert (log.progress.step, log.progress.steps) == (3, 3)

    @pytest.mark.parametrize("text", [BUILDAH, BUILDKIT], ids=["buildah", "buildkit"])
    def test_cached_steps_are_counted(self, text: str) -> None:
        log = BuildLog()
        for line in text.splitlines():
            log.read(line)
        assert log.progress.cached == 1

    def test_images_of_steps_are_remembered_and_the_base(self) -> None:
        log = BuildLog()
        for line in BUILDAH.splitlines():
            log.read(line)
        assert {"localhost/base:1", "745f2c46a74", "10c096a084f"} <= log.images
        assert log.image.startswith("10c096a084ff")

    @pytest.mark.parametrize(
        ("instruction", "words"),
        [
            ("FROM python:3.11", "base image python:3.11"),
            ("RUN set -e; uv pip install -r /opt/app/req/20-dependencies.txt", "installing dependencies"),
            ("RUN set -e; apt-get update; apt-get install -y libgl1", "installing system packages"),
            ("RUN uv venv /opt/venv", "making the Python environment"),
            ("COMMIT", "writing the image"),
            ("USER 10001", "USER 10001"),
        ],
    )
    def test_a_step_is_told_in_words(self, instruction: str, words: str) -> None:
        assert describe(instruction) == words


class TestFailure:
    """Lines as builders and uv wrote them."""

    @pytest.mark.parametrize(
        ("line", "cause", "way_out"),
        [
            (
                'error writing "/big": write /big: no space left on device',
                "the disk of the image store is full",
                "prune",
            ),
            (
                "  × Failed to download `glow==1.0`: Hash mismatch for `glow==1.0`",
                "hash mismatch glow==1.0",
                "plan again",
            ),
            (
                "Because nothere was not found in the provided package locations and you require nothere==1.0",
                "nothere is in none of the places",
                "--offline",
            ),
            (
                "cause: Because there is no version of glow==0.0.1 and you require glow==0.0.1, we can conclude",
                "glow==0.0.1 is in none of the places",
                "--offline",
            ),
            ("error: dns error: failed to lookup address information", "has no network", "proxy"),
            ("Error: creating build container: localhost/x:1: image not known", "base image is not there", "--base"),
            ("exec /bin/sh: exec format error", "programs of that platform", "qemu"),
            ("E: Unable to locate package libnope", "no package libnope", "apt"),
            ("container_linux.go: setrlimit RLIMIT_NOFILE: Operation not permitted", "start a container", "chroot"),
        ],
    )
    def test_a_known_cause_is_told_with_its_way_out(self, line: str, cause: str, way_out: str) -> None:
        progress = BuildProgress(5, 20, "RUN uv pip install -r req/10-torch.txt")
        error = explain_build(progress, [line, 'Error: building at STEP "RUN x": exit status 1'], Path("build.log"))
        assert str(error).startswith("the build failed at step 5 of 20 (installing torch): ")
        assert cause in str(error)
        assert way_out in error.hint
        assert "build.log" in error.hint

    def test_an_unknown_one_is_what_the_step_said_last(self) -> None:
        lines = ["some talk", "the reason", "subprocess exited with status 3", 'Error: building at STEP "RUN x": 3']
        assert str(explain_build(BuildProgress(2, 3, "RUN x"), lines, Path("log"))).endswith("(RUN x): the reason")

    def test_a_long_line_is_shown_around_the_cause(self) -> None:
        line = "a" * 2000 + " no space left on device " + "b" * 2000
        said = str(explain_build(BuildProgress(), [line], Path("log")))
        assert "no space left on device" in said
        assert len(said) < 500

    @pytest.mark.parametrize(
        "line",
        [
            "Error: denied: requested access to the resource is denied",
            "unauthorized: authentication required",
            "received unexpected HTTP status: 403 Forbidden",
            "error parsing HTTP 403 response body: StatusCode: 403, <html>",
            "unexpected status code 401",
        ],
    )
    def test_a_refused_push_asks_for_a_login(self, line: str) -> None:
        error = explain_push("r.example/x:1", [line], Path("log"))
        assert "'r.example/x:1' was built, but not pushed: the registry refuses it" in str(error)
        assert "log in" in error.hint

    @pytest.mark.parametrize(
        "tag", ["r.example:5000/x:1", "r.example/forbidden:1", "r.example:403/x:1", "denied.example/x"]
    )
    @pytest.mark.parametrize("digest", ["4030" * 16, f"{'0' * 61}401"])
    def test_what_a_name_or_a_digest_contains_is_no_cause(self, tag: str, digest: str) -> None:
        host = tag.partition("/")[0]
        line = f'pushing "{tag}": reusing blob sha256:{digest}: Get "https://{host}/v2/": dial tcp {host}: connection refused'
        assert "not pushed: the registry cannot be reached" in str(explain_push(tag, [line], Path("log")))
