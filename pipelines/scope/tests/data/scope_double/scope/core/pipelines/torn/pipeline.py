"""Cannot be imported, as when an optional library is not there."""

import a_library_that_is_not_there  # noqa: F401
