"""The watcher where files lie: links, packages elsewhere, shared file systems, and limits of the system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from watch_reader import python, reading, watch

from ai_runner_studio.reload import file_system
from ai_runner_studio.reload import watch as watch_module
from ai_runner_studio.reload.watch import Watcher

pytestmark = pytest.mark.usefixtures("no_hurry")


@pytest.fixture
def effect(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "effect.py"
    path.parent.mkdir()
    path.write_text("a = 1\n")
    return path


class TestLinks:
    async def test_a_save_of_what_a_link_points_to_is_reported_as_the_link(self, tmp_path: Path) -> None:
        target = tmp_path / "elsewhere" / "effect.py"
        target.parent.mkdir()
        target.write_text("a = 1\n")
        link = tmp_path / "project" / "effect.py"
        link.parent.mkdir()
        link.symlink_to(target)
        async with reading(watch(link)) as reader:
            target.write_text("a = 2\n")
            assert await reader.next() == {link}

    async def test_a_save_through_a_link_is_reported_as_the_file(self, effect: Path, tmp_path: Path) -> None:
        file_link, folder_link = tmp_path / "link.py", tmp_path / "linked"
        file_link.symlink_to(effect)
        folder_link.symlink_to(effect.parent)
        async with reading(watch(effect)) as reader:
            file_link.write_text("a = 2\n")
            assert await reader.next() == {effect}
            (folder_link / "effect.py").write_text("a = 3\n")
            assert await reader.next() == {effect}

    async def test_a_link_that_leads_elsewhere_is_a_change_and_its_new_target_is_watched(
        self, effect: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "other" / "effect.py"
        other.parent.mkdir()
        other.write_text("b = 1\n")
        link = tmp_path / "links" / "effect.py"
        link.parent.mkdir()
        link.symlink_to(effect)
        async with reading(watch(link)) as reader:
            fresh = link.with_name("fresh")
            fresh.symlink_to(other)
            fresh.replace(link)
            assert await reader.next() == {link}
            other.write_text("b = 2\n")
            assert await reader.next() == {link}
            assert not reader.watcher.polling

    @pytest.mark.parametrize("linked", ["project", "project/package", "project/package/effect.py", "inner"])
    async def test_a_link_anywhere_on_the_path_may_lead_elsewhere_and_back(self, tmp_path: Path, linked: str) -> None:
        for release in ("one", "two"):
            (tmp_path / release / "package").mkdir(parents=True)
            (tmp_path / release / "package" / "effect.py").write_text(f"a = '{release}'\n")
        parts = {"project": "", "project/package": "package", "project/package/effect.py": "package/effect.py"}
        link = tmp_path / linked
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(tmp_path / "one" / parts.get(linked, ""))
        if linked == "inner":
            (tmp_path / "project").symlink_to("inner")
        file = tmp_path / "project" / "package" / "effect.py"
        watcher = Watcher(tmp_path / "project")
        watcher.watch_files([file])
        async with reading(watcher) as reader:
            for release in ("two", "one", "two"):
                fresh = tmp_path / "fresh"
                fresh.symlink_to(tmp_path / release / parts.get(linked, ""))
                fresh.rename(link)
                assert await reader.next() == {file}
            (tmp_path / "two" / "package" / "effect.py").write_text("a = 3\n")
            assert await reader.next() == {file}
            assert not reader.watcher.polling

    async def test_a_link_to_the_same_content_is_no_change_but_is_followed(self, effect: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.py"
        other.write_text(effect.read_text())
        link = tmp_path / "links" / "effect.py"
        link.parent.mkdir()
        link.symlink_to(effect)
        async with reading(watch(link)) as reader:
            (tmp_path / "fresh").symlink_to(other)
            (tmp_path / "fresh").rename(link)
            assert await reader.is_silent()
            other.write_text("b = 2\n")
            assert await reader.next() == {link}

    async def test_new_files_below_a_linked_project_are_reported(self, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        project = tmp_path / "project"
        project.symlink_to(tmp_path / "real")
        async with reading(Watcher(project, ["*.json"])) as reader:
            (tmp_path / "real" / "new.json").write_text("{}")
            assert await reader.next() == {project / "new.json"}


class TestShadows:
    @pytest.mark.parametrize("content", ["", "a = 2\n"])
    async def test_a_package_that_takes_the_place_of_a_module_is_reported(
        self, effect: Path, content: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch_module, "SETTLE_S", 0.01)  # an empty file may be about to be written
        async with reading(watch(effect)) as reader:
            assert reader.watcher.watching == 1
            package = effect.parent / "effect" / "__init__.py"
            package.parent.mkdir()
            package.write_text(content)
            assert await reader.next() == {package}

    async def test_a_module_of_the_project_that_is_found_before_one_elsewhere_is_reported(
        self, effect: Path, tmp_path: Path
    ) -> None:
        helper = tmp_path / "library" / "helper.py"
        helper.parent.mkdir()
        helper.write_text("a = 1\n")
        async with reading(watch(effect, helper)) as reader:
            (effect.parent / "other.py").write_text("a = 1\n")
            assert await reader.is_silent()
            (effect.parent / "helper.py").write_text("a = 2\n")
            assert await reader.next() == {effect.parent / "helper.py"}

    async def test_a_folder_of_modules_that_becomes_a_package_is_reported(self, tmp_path: Path) -> None:
        file = tmp_path / "project" / "parts" / "effect.py"
        file.parent.mkdir(parents=True)
        file.write_text("a = 1\n")
        watcher = Watcher(tmp_path / "project")
        watcher.watch_files([file])
        async with reading(watcher) as reader:
            (file.parent / "__init__.py").write_text("a = 2\n")
            assert await reader.next() == {file.parent / "__init__.py"}


class TestImportedElsewhere:
    async def test_editable_installs_and_namespace_packages_are_watched_as_the_process_names_them(
        self, effect: Path, tmp_path: Path
    ) -> None:
        """A process that has found two modules through a .pth file, as an editable install makes one, and a link."""
        library = tmp_path / "library" / "src"
        (library / "spaced" / "deep").mkdir(parents=True)
        (library / "spaced" / "deep" / "module.py").write_text("a = 1\n")
        (library / "plain.py").write_text("import spaced.deep.module\n")
        (tmp_path / "site").mkdir()
        (tmp_path / "linked").symlink_to(library)
        (tmp_path / "site" / "__editable__.library.pth").write_text(f"{tmp_path / 'linked'}\n")
        printed = await python(
            "import json, site, sys\n"
            "site.addsitedir(sys.argv[1])\n"
            "import plain\n"
            "from runner.live.process.sources import imported_sources\n"
            "print(json.dumps(imported_sources()))",
            tmp_path / "site",
        )
        files = [Path(file) for file in json.loads(printed)]
        module = tmp_path / "linked" / "spaced" / "deep" / "module.py"
        assert set(files) == {tmp_path / "linked" / "plain.py", module}
        async with reading(watch(effect, *files)) as reader:
            (library / "spaced" / "deep" / "module.py").write_text("a = 2\n")
            assert await reader.next() == {module}


class TestWithoutEvents:
    @pytest.fixture
    def deaf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another folder is listened to, as if the file system of the right one gave no events."""
        folder = tmp_path / "deaf"
        folder.mkdir()
        real = watch_module.FolderEvents
        monkeypatch.setattr(watch_module, "FolderEvents", lambda _folders, look: real([folder], look))

    @pytest.mark.usefixtures("deaf")
    async def test_a_file_system_that_reports_nothing_is_looked_at_often_and_that_is_said(
        self, effect: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch_module, "LOOK_EVERY_S", watch_module.POLL_EVERY_S + 0.05)
        said: list[str] = []
        async with reading(watch(effect, notice=said.append)) as reader:
            for value in (2, 3, 4):
                effect.write_text(f"a = {value}\n")
                assert await reader.next() == {effect}
            assert reader.watcher.polling
            assert said == ["files are looked at every 0.3 s: this file system does not report every change"]

    @pytest.mark.usefixtures("deaf")
    async def test_a_shared_file_system_is_looked_at_often_from_the_start(
        self, effect: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = effect.parent
        table = folder.parent / "mountinfo"
        table.write_text(f"22 1 0:20 / / rw - ext4 /dev/sda rw\n23 22 0:21 / {folder} rw - 9p drvfs rw,aname=drvfs\n")
        monkeypatch.setattr(file_system, "MOUNT_TABLE", table)
        said: list[str] = []
        async with reading(watch(effect, notice=said.append)) as reader:
            assert reader.watcher.polling
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
            assert said == [f"files are looked at every 0.3 s: {folder} (9p) does not report every change"]

    async def test_a_name_that_is_no_text_does_not_end_the_watch(self, effect: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("file names are text here")
        async with reading(watch(effect)) as reader:
            with open(os.path.join(os.fsencode(effect.parent), b"\xff.py"), "w"):
                pass
            await reader.catches_up()
            for value in (2, 3):
                effect.write_text(f"a = {value}\n")
                assert await reader.next() == {effect}


WATCHER_AT_A_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from ai_runner_studio.reload.watch import Watcher

async def main():
    effect = Path(sys.argv[1])
    notices = []
    watcher = Watcher(effect.parent, notice=notices.append)
    watcher.watch_files([effect])
    reader = asyncio.create_task(anext(aiter(watcher)))
    while not notices:
        await asyncio.sleep(0.01)
    effect.write_text("a = 2")
    found = await asyncio.wait_for(reader, 60)
    print(*notices, found == {effect}, sep="\\n")

asyncio.run(main())
"""


class TestLimits:
    @pytest.mark.parametrize(
        ("limit", "allowed"), [("watches", 0), ("instances", 0)], ids=["no watch left", "no instance left"]
    )
    def test_a_limit_of_the_system_is_named_and_the_files_are_polled(
        self, effect: Path, limit: str, allowed: int
    ) -> None:
        """In a user namespace of its own, where the limit may be set."""
        if not shutil.which("unshare"):
            pytest.skip("no unshare here")
        set_limit = f"echo {allowed} > /proc/sys/user/max_inotify_{limit}"
        if subprocess.run(["unshare", "-Ur", "sh", "-c", set_limit], capture_output=True, check=False).returncode:
            pytest.skip("user namespaces are not allowed here")
        command = f'{set_limit}; exec "$0" -c "$1" "$2"'
        arguments = ["unshare", "-Ur", "sh", "-c", command, sys.executable, WATCHER_AT_A_LIMIT, str(effect)]
        notice, found = subprocess.run(arguments, capture_output=True, check=True, text=True).stdout.splitlines()
        assert notice.startswith(f"files are looked at every 0.3 s: the limit of inotify {limit}, ")
        assert f"is reached: sudo sysctl fs.inotify.max_user_{limit}=" in notice
        assert found == "True"

    def test_too_many_open_files_are_named_and_the_files_are_polled(self, effect: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("no such limit on watches here")
        code = WATCHER_AT_A_LIMIT.replace(
            "    reader =",
            "    resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))\n"
            "    kept = [open('/dev/null') for _ in range(30 - 1 - max(map(int, os.listdir('/proc/self/fd'))))]\n"
            "    reader =",
        ).replace("import asyncio,", "import asyncio, os,")
        done = subprocess.run([sys.executable, "-c", code, str(effect)], capture_output=True, check=False, text=True)
        assert done.stdout.splitlines() == [
            "files are looked at every 0.3 s: the studio may have no more than 30 files open: "
            "ulimit -n 120 before its start allows more",
            "True",
        ], done.stderr


class TestDependencies:
    async def test_a_changed_dependency_is_a_notice_and_no_reload(self, effect: Path) -> None:
        lock = effect.with_name("uv.lock")
        lock.write_text("version = 1\n")
        said: list[str] = []
        async with reading(watch(effect, notice=said.append)) as reader:
            lock.write_text("version = 2\n")
            assert await reader.is_silent()
            assert said == ["uv.lock asks for other dependencies now: install them (uv sync), then press R"]
            effect.write_text("a = 2\n")
            assert await reader.next() == {effect}
