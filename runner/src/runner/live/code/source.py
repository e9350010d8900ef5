"""Sources: what the user's modules in this process were executed from, byte for byte."""

from __future__ import annotations

import importlib.util
import inspect
import io
import linecache
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.machinery import SourceFileLoader
from types import CodeType, FrameType, ModuleType
from typing import Any

from ..report import is_user_file
from .load_trace import LoadTrace
from .recall import SnapshotFinder, SnapshotLoader
from .store import SnapshotStore, digest_of

_TYPE_PARAMETERS = "<generic parameters of "  # from Python 3.12 on, around code that has type parameters
CodeKey = tuple[tuple[str, ...], int]  # path of classes and function, first line


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a snapshot.

    Attributes:
        module: the name that it was imported by.
        path: absolute, as it was found: links are not resolved.
        digest: of its content, as the store names it.
        search: a package's ``__path__``; None if it is no package.
    """

    module: str
    path: str
    digest: str
    search: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Executed:
    """What one module was executed from.

    Attributes:
        path: absolute, as it was found; `filename` is the same file as its code objects name it.
        place: where links led at that time.
        content: the bytes that were compiled.
        codes: the code objects of its functions and of its classes' methods. Nothing else refers to them but function
            objects and calls under way, so that counting references finds those.
        ran: those that ran while the pipeline was loaded; None if unknown.
        importing: modules that were being imported at that time.
        loader: what may have made other code of it, an import hook or a second execution; empty if its functions
            have the code that Python makes of `content`.
    """

    module: str
    path: str
    filename: str
    content: bytes
    codes: dict[CodeKey, CodeType]
    ran: frozenset[CodeKey] | None = None
    importing: frozenset[str] = frozenset()
    loader: str = ""
    place: str = ""

    @property
    def text(self) -> str:
        return importlib.util.decode_source(self.content)


class Sources:
    """Sees every import of a user's module in this process, and remembers what was executed.

    A user's module never runs from a cached .pyc, and none is written: a .pyc is matched to its
    source by size and mtime in whole seconds, so of two saves within one second the second could
    go unseen. Error reports show the lines that run, also where the file has changed since.
    The user's files are only read.

    Attributes:
        traced: whether it is known what ran while the pipeline was loaded.
    """

    def __init__(self, store: SnapshotStore | None = None) -> None:
        self._store = store
        self._executed: dict[str, Executed] = {}
        self._other: dict[str, tuple[int, int]] = {}
        self._finder: SnapshotFinder | None = None
        self._replaced: Any = None
        self.traced = False

    @classmethod
    def install(cls, store: SnapshotStore | None = None, snapshot: Sequence[SourceFile] = ()) -> Sources:
        """Begin to watch imports; the modules of `snapshot` come from the store instead of the disk.

        Raises:
            SnapshotMissing: a content of the snapshot is not in the store. Nothing is installed.
            ValueError: a snapshot without a store.
        """
        sources = cls(store)
        if snapshot:
            if store is None:
                raise ValueError("a snapshot needs the store that its contents are in")
            sources._finder = SnapshotFinder([(item, store.get(item.digest)) for item in snapshot])
            sys.meta_path.insert(0, sources._finder)
        sources._replaced = vars(SourceFileLoader).get("get_code")
        SourceFileLoader.get_code = sources._hook(SourceFileLoader.get_code)  # type: ignore[method-assign]
        sources._note_others()
        return sources

    def uninstall(self) -> None:
        """Leave the import system as it was; what was seen stays known."""
        if self._replaced is not None:
            SourceFileLoader.get_code = self._replaced  # type: ignore[method-assign]
        else:
            del SourceFileLoader.get_code
        if self._finder is not None:
            sys.meta_path.remove(self._finder)
        for item in self._executed.values():
            linecache.cache.pop(item.filename, None)
            linecache.cache.pop(item.path, None)

    def _hook(self, original: Any) -> Any:
        def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
            filename = loader.get_filename(fullname)
            if not is_user_file(filename):
                return original(loader, fullname)  # type: ignore[no-any-return]
            content = loader.get_data(filename)
            path = os.path.abspath(filename)
            _show((filename, path), content)  # before it is compiled: the report of a SyntaxError shows it
            code: CodeType = loader.source_to_code(content, filename)
            if _is_executed(sys._getframe(1)):
                plain = type(loader) in (SourceFileLoader, SnapshotLoader)
                hook = "" if plain else type(loader).__name__
                if _is_executed_again(fullname):
                    hook = "importlib.reload()"
                importing = frozenset(name for name in self._executed if _is_importing(name))
                codes = codes_of(code)
                self._executed[fullname] = Executed(
                    fullname, path, filename, content, codes, None, importing, hook, os.path.realpath(path)
                )
            return code

        return get_code

    @contextmanager
    def tracing_load(self) -> Iterator[None]:
        """While it is open, note which code of the user's runs: its results may be kept for good."""
        trace = LoadTrace()
        trace.start()
        try:
            with _libraries_unrecorded(trace):
                yield
        finally:
            ran = trace.stop()
            self.traced = trace.complete
            for name, item in list(self._executed.items()) if trace.complete else ():
                keys = frozenset(key for key, code in item.codes.items() if not ran.isdisjoint(_with_nested(code)))
                self._executed[name] = replace(item, ran=keys)

    # ---- what runs -------------------------------------------------------------------------

    def modules(self) -> tuple[Executed, ...]:
        """What the user's modules that are in ``sys.modules`` now were executed from, sorted by path."""
        present = [item for name, item in list(self._executed.items()) if name in sys.modules]
        return tuple(sorted(present, key=lambda item: (item.path, item.module)))

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the modules in the order in which they were executed."""
        return tuple(self._executed)

    @property
    def paths(self) -> tuple[str, ...]:
        """Their files, sorted."""
        return tuple(dict.fromkeys(item.path for item in self.modules()))

    def text(self, path: str) -> str:
        """The source that runs of that file, decoded as Python does.

        Raises:
            KeyError: no module of this process was executed from it.
        """
        for item in self.modules():
            if item.path == os.path.abspath(path):
                return item.text
        raise KeyError(path)

    def files(self) -> tuple[SourceFile, ...]:
        """A snapshot of what runs, sorted by path; the contents go into the store if there is one.

        Raises:
            OSError: the store cannot be written to.
        """
        self._note_others()
        found = []
        for item in self.modules():
            digest = self._store.put(item.content) if self._store is not None else digest_of(item.content)
            found.append(SourceFile(item.module, item.path, digest, _search(sys.modules[item.module])))
        return tuple(found)

    def changed_others(self) -> list[tuple[str, str]]:
        """Module and path of what is the user's, was not executed from source, and differs on disk now."""
        before = dict(self._other)
        now = dict(_others(self._executed))
        return [(name, path) for path, (name, state) in now.items() if before.get(path, state) != state]

    def _note_others(self) -> None:
        for path, (_, state) in _others(self._executed):
            self._other.setdefault(path, state)

    # ---- for patches -----------------------------------------------------------------

    def exchange(self, items: Iterable[Executed]) -> tuple[Executed, ...]:
        """Record that these run now, and show their lines in error reports; what was recorded before."""
        before = []
        for item in items:
            before.append(self._executed[item.module])
            self._executed[item.module] = item
            _show((item.filename, item.path), item.content)
        return tuple(before)

    @contextmanager
    def showing_disk(self) -> Iterator[None]:
        """While it is open, error reports show the files as they are on disk: for code that could not be put in."""
        shown = {name for item in self.modules() for name in (item.filename, item.path)}
        kept = {name: linecache.cache.pop(name) for name in shown if name in linecache.cache}
        try:
            yield
        finally:
            linecache.cache.update(kept)


@contextmanager
def _libraries_unrecorded(trace: LoadTrace) -> Iterator[None]:
    """While it is open, imports of libraries are not recorded; the user's modules that they import are."""
    original = SourceFileLoader.exec_module

    def exec_module(loader: SourceFileLoader, module: ModuleType) -> None:
        with trace.recording(is_user_file(getattr(loader, "path", ""))):
            original(loader, module)

    SourceFileLoader.exec_module = exec_module  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del SourceFileLoader.exec_module  # it is its base's


def codes_of(code: CodeType, owner: tuple[str, ...] = ()) -> dict[CodeKey, CodeType]:
    """The code objects of a module's functions and of the methods of its classes, at any depth of classes."""
    found: dict[CodeKey, CodeType] = {}
    for child in code.co_consts:
        if not isinstance(child, CodeType):
            continue
        if child.co_name.startswith(_TYPE_PARAMETERS):
            found.update(codes_of(child, owner))
        elif child.co_flags & inspect.CO_NEWLOCALS:
            found[(*owner, child.co_name), child.co_firstlineno] = child
        else:  # the body of a class
            found.update(codes_of(child, (*owner, child.co_name)))
    return found


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for child in code.co_consts:
        if isinstance(child, CodeType):
            yield from _with_nested(child)


def _is_executed_again(name: str) -> bool:
    """Whether a module is about to run a second time: what it made the first time may be in use, with other code."""
    return any(not key.startswith("__") for key in vars(sys.modules.get(name, ModuleType(""))))


def _is_importing(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def _is_executed(frame: FrameType | None) -> bool:
    """Whether a call of ``get_code`` comes from the import system, about to execute the code."""
    while frame is not None and frame.f_code.co_name == "get_code":  # of a subclass
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "exec_module"


def _show(names: Iterable[str], content: bytes) -> None:
    """Have tracebacks take the lines of a file from here, whatever is on disk."""
    try:
        lines = io.StringIO(importlib.util.decode_source(content)).readlines()
    except (SyntaxError, UnicodeDecodeError):
        return  # compiling it says so
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    for name in names:
        # Without an mtime an entry is never compared with the file.
        linecache.cache[name] = (len(content), None, lines, name)


def _search(module: ModuleType) -> tuple[str, ...] | None:
    search = getattr(module, "__path__", None)
    return None if search is None else tuple(search)


def _others(executed: dict[str, Executed]) -> Iterator[tuple[str, tuple[str, tuple[int, int]]]]:
    """Path -> (module, (size, mtime)) of the user's modules that are not known by their source."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name in executed or not isinstance(file, str) or not os.path.isabs(file) or not is_user_file(file):
            continue
        try:
            stat = os.stat(file)
        except OSError:  # some packages name files that do not exist
            continue
        yield os.path.abspath(file), (name, (stat.st_size, stat.st_mtime_ns))
