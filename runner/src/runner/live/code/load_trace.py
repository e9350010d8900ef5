"""LoadTrace: which code ran while the pipeline was imported, constructed and initialized."""

from __future__ import annotations

import cProfile
import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any


class LoadTrace:
    """Records the code objects that are called, on this thread and on those that start meanwhile.

    The recorder is cProfile's, in C: a callback in Python would slow down the load of a model.

    Attributes:
        complete: whether nobody else's profiler took its place.
    """

    def __init__(self) -> None:
        self.complete = True
        self._profiles: list[cProfile.Profile] = []
        self._own: dict[int, cProfile.Profile] = {}  # thread -> its recorder
        self._paused: set[int] = set()  # threads
        self._first: set[CodeType] = set()  # where a thread starts, before its recorder does

    def start(self) -> None:
        threading.setprofile(self._enter_thread)
        self._record()

    def stop(self) -> set[CodeType]:
        """Stop recording on all threads; the code objects that ran."""
        threading.setprofile(None)
        self.complete = self.complete and (sys.version_info >= (3, 12) or _recorder() is self._profiles[0])
        found = set(self._first)
        for profile in self._profiles:
            profile.disable()
            found.update(entry.code for entry in profile.getstats() if isinstance(entry.code, CodeType))
        _stop_other_threads(self._profiles)
        for profile in self._profiles:
            profile.clear()
        self._profiles.clear()
        self._first.clear()
        return found

    @contextmanager
    def recording(self, on: bool) -> Iterator[None]:
        """While it is open, record on this thread, or do not: an import of torch would take half as long again.

        From Python 3.12 on there is one recorder for all threads, which stays on.
        """
        before = threading.get_ident() not in self._paused
        self._switch(on)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, on: bool) -> None:
        thread = threading.get_ident()
        profile = self._own.get(thread)
        if profile is None or on is (thread not in self._paused) or sys.version_info >= (3, 12):
            return
        if on:
            self._paused.remove(thread)
            profile.enable()
        elif _recorder() is profile:  # else somebody else's has taken its place, which `stop` has to see
            self._paused.add(thread)
            profile.disable()

    def _record(self) -> None:
        profile = cProfile.Profile(subcalls=False, builtins=False)
        try:
            profile.enable()
        except ValueError:  # another one is active, which from Python 3.12 on is one for all threads
            self.complete = self.complete and bool(self._profiles)
            return
        self._profiles.append(profile)
        self._own[threading.get_ident()] = profile

    def _enter_thread(self, frame: FrameType, _event: str, _argument: Any) -> None:
        """The first event of a thread: its recorder takes over from here."""
        self._first.add(frame.f_code)
        sys.setprofile(None)
        self._record()


def _recorder() -> object:
    return sys.getprofile()


def _stop_other_threads(profiles: list[cProfile.Profile]) -> None:
    """Before Python 3.12 a recorder is one thread's own, and that thread may live as long as the process."""
    if sys.version_info >= (3, 12) or len(profiles) < 2:
        return
    api = ctypes.pythonapi
    api.PyThreadState_Get.restype = api.PyThreadState_Next.restype = ctypes.c_void_p
    api.PyInterpreterState_Get.restype = api.PyInterpreterState_ThreadHead.restype = ctypes.c_void_p
    thread = api.PyInterpreterState_ThreadHead(ctypes.c_void_p(api.PyInterpreterState_Get()))
    while thread:
        api._PyEval_SetProfile(ctypes.c_void_p(thread), None, None)
        thread = api.PyThreadState_Next(ctypes.c_void_p(thread))
