"""FileSystem: what kind of file system a folder lies on, and whether it reports every change."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNT_TABLE = Path("/proc/self/mountinfo")  # Linux only; see proc_pid_mountinfo(5)

# Their files are also changed from elsewhere (another machine, Windows around WSL, the host around a virtual machine),
# and Linux reports what is changed through itself.
_SHARED = re.compile(
    r"9p|drvfs|nfs4?|cifs|smb3?|smbfs|afs|ceph|glusterfs|lustre|gfs2|ocfs2|vboxsf|vmhgfs|prl_fs|virtiofs|fakeowner|"
    r"fuse\.(?!portal$|snapfuse$|fuse-overlayfs$|lxcfs$).+"
)


@dataclass(frozen=True, slots=True)
class FileSystem:
    """One mounted file system.

    Attributes:
        mounted_at: its topmost folder. kind: as the system names it: ext4, 9p, nfs4, fuse.sshfs.
    """

    mounted_at: str
    kind: str

    @property
    def is_shared(self) -> bool:
        """Whether files may change without the system reporting it."""
        return _SHARED.fullmatch(self.kind) is not None


def file_systems() -> list[FileSystem]:
    """All that are mounted, in the order of mounting; empty where the system has no table of them."""
    try:
        lines = MOUNT_TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) > 4:
            found.append(FileSystem(_unescaped(fields[4]), after.split(" ")[0]))
    return found


def file_system_of(folder: Path, mounted: list[FileSystem]) -> FileSystem | None:
    """The one of `mounted` that a folder lies on."""
    real = Path(os.path.realpath(folder))
    names = {str(real), *map(str, real.parents)}
    on_the_way = [system for system in mounted if system.mounted_at in names]
    # Of two at one place the later one hides the earlier.
    return max(reversed(on_the_way), key=lambda system: len(system.mounted_at), default=None)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
