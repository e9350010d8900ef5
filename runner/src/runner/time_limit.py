"""time_limit: ``async with time_limit(seconds): ...`` raises `asyncio.TimeoutError` when the time is over.

For work in tasks that somebody cancels and then waits for: `asyncio.wait_for` swallows a cancellation that comes just
as its work is done, before Python 3.12 (https://github.com/python/cpython/issues/86296), and a loop goes on for ever.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout as time_limit
else:
    from async_timeout import timeout as time_limit

__all__ = ["time_limit"]
