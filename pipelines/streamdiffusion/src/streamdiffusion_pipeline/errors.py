"""What goes wrong on purpose here.

ModelError                 a model or an add-on cannot be used
└── NotDownloadedError     it is not on this machine, and may or can not be fetched now

Both are told to users as they are: which one, why, and the way out.
"""

from __future__ import annotations


class ModelError(Exception):
    """A model or an add-on that cannot be used."""


class NotDownloadedError(ModelError):
    """Files that are not on this machine, and cannot be fetched now."""
