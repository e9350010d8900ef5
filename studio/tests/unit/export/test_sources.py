"""Which files of a project may be in an image, and what is said of the others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ai_runner_studio.export.sources import (
    LARGE_FROM_BYTES,
    WEIGHTS_FROM_BYTES,
    copy_sources,
    outside,
    sounds_secret,
    survey,
)


def project(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}\n")
    return folder


def left_out(folder: Path) -> dict[str, str]:
    return {one.what: one.why for one in survey(folder)[1]}


class TestSurvey:
    def test_sources_and_data_stay(self, tmp_path: Path) -> None:
        names = ["pkg/__init__.py", "pkg/table.json", "pkg/small.pt", "pkg/credentials.py", "env.example"]
        kept, left = survey(project(tmp_path, *names))
        assert [one.path for one in kept] == sorted(names)
        assert left == []

    def test_weights_go_from_a_size_on_and_are_told_with_it(self, tmp_path: Path) -> None:
        project(tmp_path, "pkg/__init__.py", "pkg/small.safetensors")
        for name in ("pkg/model.safetensors", "pkg/model.ONNX"):
            with (tmp_path / name).open("wb") as file:
                file.truncate(WEIGHTS_FROM_BYTES)
        _, left = survey(tmp_path)
        assert [(one.what, one.bytes) for one in left] == [
            ("pkg/model.ONNX", WEIGHTS_FROM_BYTES),
            ("pkg/model.safetensors", WEIGHTS_FROM_BYTES),
        ]
        assert all("models folder" in one.why for one in left)

    def test_secrets_caches_environments_and_version_control_go(self, tmp_path: Path) -> None:
        project(tmp_path, ".env", "deploy/id_rsa", "pkg/.netrc", ".git/HEAD", "pkg/__pycache__/a.pyc", "build/lib/a.py")
        project(
            tmp_path,
            "pkg/build/kept.py",
            "my-env/pyvenv.cfg",
            "my-env/lib/a.py",
            "image/image.json",
            "image/Dockerfile",
        )
        assert [one.path for one in survey(tmp_path)[0]] == ["pkg/build/kept.py"]
        assert left_out(tmp_path) == {
            ".env": "it may hold a secret",
            "deploy/id_rsa": "it may hold a secret",
            "pkg/.netrc": "it may hold a secret",
            ".git": "version control",
            "pkg/__pycache__": "a cache or the result of a build",
            "build": "a cache or the result of a build",
            "my-env": "an environment",
        }

    def test_links_stay_inside(self, tmp_path: Path) -> None:
        inside = project(tmp_path / "project", "pkg/a.py")
        (tmp_path / "elsewhere.txt").write_text("of somebody")
        os.symlink(tmp_path / "elsewhere.txt", inside / "pkg/out.txt")
        os.symlink(inside / "pkg/a.py", inside / "pkg/in.py")
        os.symlink(inside, inside / "pkg/round")
        assert [one.path for one in survey(inside)[0]] == ["pkg/a.py", "pkg/in.py"]
        assert left_out(inside) == {
            "pkg/out.txt": "a link that leads out of the project",
            "pkg/round": "a link to a folder that it is in",
        }

    def test_a_link_to_a_folder_of_the_project_is_that_folder(self, tmp_path: Path) -> None:
        project(tmp_path, "vendor/look/pipeline.py", "vendor/look/lut.bin", ".ssh/key.txt")
        os.symlink("vendor/look", tmp_path / "look")
        os.symlink("../..", tmp_path / "vendor/look/up")
        os.symlink(".ssh", tmp_path / "keys")
        names = ["look/lut.bin", "look/pipeline.py", "vendor/look/lut.bin", "vendor/look/pipeline.py"]
        assert [one.path for one in survey(tmp_path)[0]] == names
        assert left_out(tmp_path) == {
            ".ssh": "it may hold a secret",
            "keys": "it may hold a secret",
            "look/up": "a link to a folder that it is in",
            "vendor/look/up": "a link to a folder that it is in",
        }

    def test_folders_that_link_to_each_other_end(self, tmp_path: Path) -> None:
        project(tmp_path, "a/one.py", "b/two.py")
        os.symlink("../b", tmp_path / "a/b")
        os.symlink("../a", tmp_path / "b/a")
        assert [one.path for one in survey(tmp_path)[0]] == ["a/b/two.py", "a/one.py", "b/a/one.py", "b/two.py"]

    def test_what_is_no_file_is_reported_with_the_reason(self, tmp_path: Path) -> None:
        project(tmp_path, "a.py")
        os.symlink("nowhere", tmp_path / "dead.bin")
        os.symlink("loop", tmp_path / "loop")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "model.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("")
        assert [one.path for one in survey(tmp_path)[0]] == ["a.py"]
        assert left_out(tmp_path) == {
            "caf\\xe9.txt": "its name is not UTF-8, which a wheel cannot have",
            "dead.bin": "a link to nothing",
            "loop": "a link to nothing",
            "model.pt": "a Git LFS pointer, not the file itself; fetch it with git lfs pull",
            "pipe": "neither a file nor a folder",
        }

    def test_a_copy_holds_what_was_kept(self, tmp_path: Path) -> None:
        source = project(tmp_path / "project", "pkg/a.py", ".env")
        copy_sources(source, survey(source)[0], tmp_path / "copy")
        assert [path.name for path in (tmp_path / "copy").rglob("*") if path.is_file()] == ["a.py"]

    def test_a_project_behind_a_link_is_the_project(self, tmp_path: Path) -> None:
        project(tmp_path / "disk", "pkg/a.py")
        os.symlink(tmp_path / "disk", tmp_path / "project")
        os.symlink(tmp_path / "disk/pkg/a.py", tmp_path / "disk/pkg/in.py")
        assert [one.path for one in survey(tmp_path / "project")[0]] == ["pkg/a.py", "pkg/in.py"]

    def test_large_data_and_environments_of_conda_are_skipped(self, tmp_path: Path) -> None:
        project(tmp_path, "pkg/a.py", "conda/conda-meta/history", "conda/bin/tool")
        with (tmp_path / "pkg/clip.mp4").open("wb") as file:
            file.truncate(LARGE_FROM_BYTES)
        assert left_out(tmp_path) == {
            "conda": "an environment",
            "pkg/clip.mp4": "large data belongs into the models folder",
        }

    @pytest.mark.parametrize(
        "name",
        [
            *(".env", ".env.local", "server.pem", "id_ed25519", "id_rsa.pub", ".pypirc", "pip.conf", ".netrc"),
            *("credentials.json", "service-account-7.json", ".aws", ".ssh", "tls.key", ".git-credentials", ".npmrc"),
            *("server.PEM", ".ENV", "ID_RSA", "Credentials.json"),
        ],
    )
    def test_a_secret_is_known_by_its_name(self, name: str) -> None:
        assert sounds_secret(name)


class TestOutside:
    def test_whole_folders_are_told_as_one(self, tmp_path: Path) -> None:
        project(tmp_path, "src/pkg/a.py", "tests/test_a.py", "tests/data/b.bin", "README.md", "src/other.txt")
        kept, _ = survey(tmp_path)
        packaged = {hashlib.sha256((tmp_path / "src/pkg/a.py").read_bytes()).hexdigest()}
        sizes = {one.what: one.bytes for one in outside(tmp_path, kept, packaged)}
        assert sorted(sizes) == ["README.md", "src/other.txt", "tests/"]
        assert sizes["tests/"] == len("text of tests/test_a.py\n") + len("text of tests/data/b.bin\n")
