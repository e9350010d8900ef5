"""A package that imports its pipeline, so that without a library not even its config class can be had."""

import a_library_that_is_not_there  # noqa: F401
