"""Imports the packages under test before pytest names the folders beside them.

With import mode ``importlib`` a test in ``runner/tests`` is called ``runner.tests…``; had nobody imported the
package `runner` before, an empty namespace of that name would take its place.
"""

import ai_runner_studio  # noqa: F401
import runner  # noqa: F401
