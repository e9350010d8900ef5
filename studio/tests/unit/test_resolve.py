"""What the user calls an input, and what the host is told to open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ai_runner_studio.errors import SourceNotFound
from ai_runner_studio.sources.cameras import can_list
from ai_runner_studio.sources.names import complete_input
from ai_runner_studio.sources.resolve import resolve_input
from ai_runner_studio.sources.samples import default_input, sample_pipelines, sample_videos


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two videos and a pipeline, installed as far as Python's metadata can tell."""
    site = tmp_path / "site"
    videos = site / "tiny_samples" / "videos"
    videos.mkdir(parents=True)
    (site / "tiny_samples" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (site / "tiny_samples" / "wave.py").write_text("")
    for name in ("zebra.mp4", "apple.mp4", "CREDITS.md"):
        (videos / name).write_bytes(b"1234")
    metadata = site / "tiny_samples-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-samples\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[ai_runner_studio.samples]\ntiny = tiny_samples.videos\nbroken = no_such_package.videos\n"
        "[ai_runner_studio.pipelines]\ntiny_wave = tiny_samples.wave:Wave\n"
    )
    monkeypatch.setattr("sys.path", [str(site)])
    return videos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    path = tmp_path / "cwd"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


class TestPipes:
    def test_a_named_pipe_is_an_input(self, folder: Path) -> None:
        os.mkfifo(folder / "pipe")
        assert resolve_input("pipe", folder) == str(folder / "pipe")

    @pytest.mark.skipif(not can_list(), reason="/proc is Linux's")
    def test_one_of_the_shell_is_named_so_that_another_process_can_open_it(self, folder: Path) -> None:
        reading, writing = os.pipe()
        (folder / "link").symlink_to(f"/dev/fd/{reading}")
        try:
            for name in (f"/dev/fd/{reading}", f"/proc/self/fd/{reading}", "link"):
                assert resolve_input(name, folder) == f"/proc/{os.getpid()}/fd/{reading}"
        finally:
            os.close(reading)
            os.close(writing)


class TestSamples:
    def test_they_are_found_without_importing_their_package(self, bundled: Path) -> None:
        assert [(video.name, video.path, video.size_bytes) for video in sample_videos()] == [
            ("apple", bundled / "apple.mp4", 4),
            ("zebra", bundled / "zebra.mp4", 4),
        ]

    def test_pipelines_come_with_import_path_and_file(self, bundled: Path) -> None:
        (found,) = sample_pipelines()
        assert (found.name, found.pipeline_import) == ("tiny_wave", "tiny_samples.wave:Wave")
        assert found.path == bundled.parent / "wave.py"

    def test_a_name_is_its_file(self, bundled: Path, folder: Path) -> None:
        assert resolve_input("zebra", folder) == str(bundled / "zebra.mp4")

    def test_nothing_means_the_first_sample(self, bundled: Path, folder: Path) -> None:
        assert resolve_input("", folder) == str(bundled / "apple.mp4")

    def test_nothing_means_the_pattern_without_samples(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.path", [])
        assert default_input() == "pattern"

    def test_completion_offers_what_begins_alike(self, bundled: Path) -> None:
        assert bundled.is_dir()
        assert complete_input("") == ["apple", "zebra", "pattern", "webcam"]
        assert complete_input("z") == ["zebra"]


class TestFiles:
    def test_a_file_of_the_working_directory(self, folder: Path) -> None:
        (folder / "clip.mp4").touch()
        assert resolve_input("clip.mp4", folder) == str(folder / "clip.mp4")

    def test_a_file_of_the_project(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "clip.mp4").touch()
        assert resolve_input("clip.mp4", tmp_path) == str(tmp_path / "clip.mp4")
        assert folder.is_dir()

    def test_a_bare_word_is_the_sample_and_a_path_the_file(self, bundled: Path, folder: Path) -> None:
        (folder / "zebra").touch()
        assert resolve_input("zebra", folder) == str(bundled / "zebra.mp4")
        assert resolve_input("./zebra", folder) == str(folder / "zebra")

    def test_a_missing_file_brings_near_ones_and_the_samples(self, bundled: Path, folder: Path) -> None:
        (folder / "holiday.mp4").touch()
        with pytest.raises(SourceNotFound, match=r"'holidays\.mp4': there is no such file") as caught:
            resolve_input("holidays.mp4", folder)
        assert "did you mean 'holiday.mp4'?" in caught.value.hint
        assert "samples: apple, zebra" in caught.value.hint
        assert bundled.is_dir()

    def test_a_misspelt_sample_is_recognised(self, bundled: Path, folder: Path) -> None:
        with pytest.raises(SourceNotFound, match="no sample and no file") as caught:
            resolve_input("zebar", folder)
        assert "did you mean 'zebra'?" in caught.value.hint
        assert bundled.is_dir()

    def test_a_folder_is_refused(self, folder: Path) -> None:
        with pytest.raises(SourceNotFound, match="is a folder"):
            resolve_input(".", folder)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_file_without_permission_is_refused(self, folder: Path) -> None:
        (folder / "clip.mp4").touch(mode=0o000)
        with pytest.raises(SourceNotFound, match="no permission"):
            resolve_input("clip.mp4", folder)


class TestOthers:
    @pytest.mark.parametrize(
        ("text", "source"),
        [
            ("webcam:/dev/video3", "device:/dev/video3"),
            ("pattern", "pattern:"),
            ("pattern:640x480@25", "pattern:640x480@25"),
            ("pattern:@60", "pattern:@60"),
            ("shm:ring", "shm:ring"),
            ("rtsp://user:word@host/live", "rtsp://user:word@host/live"),
            ("https://host/a.mp4", "https://host/a.mp4"),
            ("udp://@:5000", "udp://@:5000"),
        ],
    )
    def test_each_has_its_form(self, folder: Path, text: str, source: str) -> None:
        assert resolve_input(text, folder) == source

    @pytest.mark.parametrize(("text", "source"), [("webcam", "device:0"), ("webcam:2", "device:2")])
    def test_a_camera_goes_by_its_number(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, source: str
    ) -> None:
        for name in ("video0", "video2"):
            (folder / name).touch()
        monkeypatch.setattr("ai_runner_studio.sources.resolve.DEVICE_FOLDER", folder)
        assert resolve_input(text, folder) == source

    @pytest.mark.skipif(not can_list(), reason="only Linux shows its cameras as files")
    def test_a_camera_that_is_not_there_is_refused(self, folder: Path) -> None:
        with pytest.raises(SourceNotFound, match="there is no camera /dev/video97"):
            resolve_input("webcam:97", folder)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("ftp://host/a", "URLs of the kind 'ftp'"),
            ("file:///tmp/a.mp4", "named by their path"),
            ("pattern:large", "not of the form pattern:WxH@FPS"),
            ("pattern:0x480", "not of the form"),
            ("shm:", "names no shared memory"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, folder: Path, text: str, said: str) -> None:
        with pytest.raises(SourceNotFound, match=said):
            resolve_input(text, folder)
