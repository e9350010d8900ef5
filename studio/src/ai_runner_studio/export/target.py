"""Target: the machine and Python that an image is made for, and what can be installed on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from platform import machine

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from .plan import Platform

MACHINES: dict[Platform, str] = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_OTHER_NAMES = {"arm64": "aarch64"}  # of the same machine, on macOS
# glibc of Debian 12, which the default base is made of; newer wheels do not start there.
GLIBC_MINOR = 36
# Names that stood for manylinux versions before these had numbers.
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def is_for_this_machine(platform: Platform) -> bool:
    """Whether what is made for it can run here."""
    here = machine()
    return MACHINES[platform] == _OTHER_NAMES.get(here, here)


@dataclass(frozen=True, slots=True)
class Target:
    """What an image runs on: ``3.11`` on ``linux/amd64``."""

    python: str
    platform: Platform

    @property
    def machine(self) -> str:
        """As `platform.machine` says it there."""
        return MACHINES[self.platform]

    @property
    def minor(self) -> int:
        """Minor version of its Python 3."""
        return int(self.python.partition(".")[2])

    @property
    def platforms(self) -> list[str]:
        """Platform tags of wheels for it, best first."""
        names = []
        for minor in range(GLIBC_MINOR, 16, -1):
            names.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in _OLD_NAMES:
                names.append(f"{_OLD_NAMES[minor]}_{self.machine}")
        if self.machine == "x86_64":  # manylinux began there
            names += ["manylinux_2_12_x86_64", "manylinux2010_x86_64", "manylinux_2_5_x86_64", "manylinux1_x86_64"]
        return [*names, f"linux_{self.machine}"]

    def tags(self) -> Iterator[Tag]:
        """Tags of wheels for it, best first."""
        version = (3, self.minor)
        abi = f"cp3{self.minor}"
        yield from cpython_tags(version, [abi], self.platforms)
        yield from compatible_tags(version, abi, self.platforms)

    def takes(self, wheel: str) -> bool:
        """Whether a wheel of this file name can be installed on it."""
        try:
            _, _, _, tags = parse_wheel_filename(wheel)
        except InvalidWheelFilename:
            return False
        return not tags.isdisjoint(self.tags())

    @property
    def markers(self) -> dict[str, str]:
        """What environment markers of requirements are evaluated with."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }
