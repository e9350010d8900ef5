"""Which file systems report every change, and on which one a folder lies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ai_runner_studio.reload import file_system
from ai_runner_studio.reload.file_system import FileSystem, file_system_of, file_systems

TABLE = r"""22 27 0:21 / / rw,relatime shared:1 - ext4 /dev/sdb rw,discard
23 22 0:22 / /mnt/c rw,noatime - 9p drvfs rw,dirsync,aname=drvfs;path=C:\;uid=1000
24 22 0:23 / /home rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2
25 24 0:24 / /home/me/with\040space rw - fuse.sshfs me@host:/ rw
26 22 0:25 / /home/me/twice rw - cifs //server/share rw
27 22 0:26 / /home/me/twice rw - tmpfs tmpfs rw
"""


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[FileSystem]:
    (tmp_path / "mountinfo").write_text(TABLE)
    monkeypatch.setattr(file_system, "MOUNT_TABLE", tmp_path / "mountinfo")
    return file_systems()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/srv/project", FileSystem("/", "ext4")),
        ("/mnt/c", FileSystem("/mnt/c", "9p")),
        ("/mnt/c/Users/me", FileSystem("/mnt/c", "9p")),
        ("/mnt/cd", FileSystem("/", "ext4")),
        ("/home/me/project", FileSystem("/home", "nfs4")),
        ("/home/me/with space/project", FileSystem("/home/me/with space", "fuse.sshfs")),
        ("/home/me/twice/project", FileSystem("/home/me/twice", "tmpfs")),
    ],
)
def test_a_folder_lies_on_the_nearest_mount_and_of_two_on_the_later(
    mounted: list[FileSystem], folder: str, expected: FileSystem
) -> None:
    assert file_system_of(Path(folder), mounted) == expected


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        *((kind, True) for kind in ("9p", "drvfs", "nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "vboxsf", "virtiofs")),
        *((kind, False) for kind in ("ext4", "btrfs", "xfs", "tmpfs", "overlay", "fuseblk", "fuse.fuse-overlayfs")),
    ],
)
def test_what_others_may_change_is_told_by_the_kind(kind: str, shared: bool) -> None:
    assert FileSystem("/", kind).is_shared is shared


def test_without_a_table_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_system, "MOUNT_TABLE", tmp_path / "none")
    assert file_system_of(tmp_path, file_systems()) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a table")
def test_the_table_of_this_system_is_understood() -> None:
    assert file_system_of(Path("/proc/self"), file_systems()) == FileSystem("/proc", "proc")
