"""Pins: exact versions with hashes of everything that the own packages need, for the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..errors import ExportError
from .closure import Wanted, walk
from .inventory import Installed, Inventory
from .lock import Lock
from .package_index import Found, PackageIndex
from .plan import Requirement, TorchBuild
from .target import Target
from .torch_build import base_version, flavour_of
from .wheel import WheelFile

BuildOwn = Callable[[Installed], WheelFile]


@dataclass(slots=True)
class Pins:
    """What is known so far of each distribution that is needed.

    Attributes:
        own: canonical name -> wheel of the context. build: makes one of a package that is installed from a folder.
        torch: flavour that was asked for; empty: the one that is there.
        lock: the project's lock; None: its environment counts.
        found: canonical name -> what the index said. pinned: the same, as the plan has it.
        private: names that no public index has. torch_index: flavour of PyTorch's index that torch is from; empty:
            the project's own index has it.
    """

    inventory: Inventory
    target: Target
    index: PackageIndex
    own: dict[str, WheelFile]
    build: BuildOwn
    torch: str = ""
    lock: Lock | None = None
    found: dict[str, Found] = field(default_factory=dict)
    pinned: dict[str, Requirement] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    torch_index: str = ""

    def resolve(self, roots: list[tuple[str, str]]) -> dict[str, Wanted]:
        """Pin everything that the roots need; what that is, own packages included.

        Metadata of what the index has is the truth: it may need other things on the target than the project's
        environment has, so it is walked again until nothing new turns up.

        Raises:
            ExportError: something cannot be pinned; the message says what and why.
        """
        while True:
            wanted = self._walk(roots)
            fresh = [one for name, one in wanted.items() if not self._is_known(name)]
            if not fresh:
                self._check(wanted)
                return wanted
            self._pin(fresh)

    def _is_known(self, name: str) -> bool:
        return name in self.own or name in self.pinned or self._from_base(name)

    def _walk(self, roots: list[tuple[str, str]]) -> dict[str, Wanted]:
        """The closure; a package from a folder is built as soon as it is met, since only its wheel tells its needs."""
        while True:
            wanted = walk(roots, self.requires, self.target)
            local = [
                self.inventory.distributions[name] for name in wanted if name not in self.own and self._is_local(name)
            ]
            if not local:
                return wanted
            for one in local:
                wheel = self.build(one)
                if not self.target.takes(wheel.path.name):
                    raise ExportError(
                        f"{wheel.path.name}, which {one.name} was installed from, does not fit Python "
                        f"{self.target.python} on {self.target.platform}",
                        "install it from a wheel that does, or from an index that has one",
                    )
                self.own[one.name] = wheel

    def _is_local(self, name: str) -> bool:
        if self.lock and name in self.lock.packages:
            return False
        installed = self.inventory.distributions.get(name)
        return installed is not None and (installed.local_folder or installed.local_wheel) is not None

    def requires(self, name: str) -> tuple[str, ...] | None:
        """What is known of a distribution's needs; None: nothing yet."""
        if name == "torch" and self.torch == "none":
            return ()
        if name in self.own:
            return self.own[name].requires
        if name in self.found:
            return self.found[name].requires
        if self.lock and name in self.lock.packages:
            return self.lock.packages[name].requires
        # Another torch has other needs than the one that is installed: the index knows them.
        if name == "torch" and self.torch and self.torch != self._installed_flavour():
            return None
        installed = self.inventory.distributions.get(name)
        return installed.requires if installed else None

    def _pin(self, fresh: list[Wanted]) -> None:
        locked = [one for one in fresh if self.lock and one.name in self.lock.packages]
        for one in locked:
            assert self.lock is not None
            if one.name == "torch" and self.torch and self.torch != self._locked_flavour():
                continue
            self.pinned[one.name] = self.lock.pin(one.name, self.target)
        asked = [one for one in fresh if one.name not in self.pinned]
        lines = {one.name: self._line(one) for one in asked}
        torch = lines.pop("torch", None)
        answers = self.index.ask(sorted(lines.values()))
        if torch:
            answers |= self._ask_torch(torch)
        for one in asked:
            found = answers[one.name]
            self.found[one.name] = found
            installed = self.inventory.distributions.get(one.name)
            same = installed is not None and installed.version == found.version
            self.pinned[one.name] = Requirement(
                name=one.name,
                version=found.version,
                hashes=(f"sha256:{found.sha256}",),
                origin="environment" if same else "index",
            )
            if not found.public:
                self.private.add(one.name)

    def _ask_torch(self, line: str) -> dict[str, Found]:
        """torch as the project's own index has it, else from PyTorch's index of that flavour."""
        flavour = line.partition("+")[2]
        try:
            return self.index.ask([line])
        except ExportError as error:
            if not flavour:
                raise
            first = error
        self.torch_index = flavour
        try:
            return self.index.ask([line], flavour)
        except ExportError as error:
            more = f"; PyTorch's own index: {error}" if str(error) != str(first) else ""
            raise ExportError(str(first), first.hint + more) from error

    def _from_base(self, name: str) -> bool:
        return name == "torch" and self.torch == "none"

    def _line(self, wanted: Wanted) -> str:
        """What to ask the index for: the installed version, or what the others say of one that is not installed."""
        installed = self.inventory.distributions.get(wanted.name)
        if wanted.name == "torch" and self.torch and self.torch != self._installed_flavour():
            version = base_version(installed.version) if installed else None
            if version is None:
                raise ExportError("torch is not installed, so which version is meant is not known", "install one")
            return f"torch=={version}+{self.torch}"
        if installed is None:
            if any(requirement.url for requirement in wanted.requirements):
                raise ExportError(
                    f"{wanted.by[0]} takes {wanted.name} from a URL, which cannot be pinned for an image",
                    "take a release from an index, or install a clone of it: then its wheel comes with the context",
                )
            return f"{wanted.name}{wanted.specifier}"
        _refuse_direct(installed)
        return f"{wanted.name}=={installed.version}"

    def _installed_flavour(self) -> str:
        torch = self.inventory.distributions.get("torch")
        return flavour_of(torch.version, self.inventory.torch_version) if torch else ""

    def _locked_flavour(self) -> str:
        assert self.lock is not None
        return flavour_of(self.lock.packages["torch"].version, self.inventory.torch_version)

    def _check(self, wanted: dict[str, Wanted]) -> None:
        """Refuse versions that do not fit each other: the build would end there, much later."""
        for name, one in wanted.items():
            version = (
                self.own[name].version if name in self.own else self.pinned[name].version if name in self.pinned else ""
            )
            refusal = one.refusal(version) if version else ""
            if refusal:
                where = (
                    "uv.lock" if name in self.pinned and self.pinned[name].origin == "uv.lock" else "the environment"
                )
                raise ExportError(
                    f"{where} has {name} {version}, but {refusal}", "install versions that fit each other"
                )

    def torch_build(self, wanted: dict[str, Wanted]) -> TorchBuild:
        """The build of torch that the image has."""
        if "torch" not in wanted:
            return TorchBuild(flavour="none")
        if self._from_base("torch"):
            return TorchBuild(flavour="none", from_base=True)
        version = self.pinned["torch"].version
        flavour = self.torch or flavour_of(version, self.inventory.torch_version)
        return TorchBuild(flavour=flavour, version=version)


def _refuse_direct(installed: Installed) -> None:
    """A package from a URL or a repository has no version that an index could give again."""
    if installed.direct_url is None:
        return
    kind = "a version control repository" if "vcs_info" in installed.direct_url else "a file or URL"
    raise ExportError(
        f"{installed.name} {installed.version} was installed from {kind}, which cannot be pinned for an image",
        f"install a release from an index (pip install {installed.name}), or clone it and install that folder: "
        "then its wheel comes with the context",
    )
