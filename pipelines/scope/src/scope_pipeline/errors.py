"""What can go wrong between the runner and Scope. Messages name the thing, the value and the way out.

ScopeError
├── ScopeNotInstalled       there is no Scope in this interpreter, or not all that it imports
├── UnknownScopePipeline    no pipeline has that id
├── PipelineUnavailable     Scope has it, but it cannot run here (no GPU, a failed import)
├── ModelsMissing           its weights are not in the models folder
├── ConstructionFailed      its constructor failed
└── DownloadFailed          its weights could not be fetched
"""

from __future__ import annotations

from runner.errors import PipelineLoadError


class ScopeError(PipelineLoadError):
    """Base of what this package raises on purpose. ``str(error)`` is fit for a user."""

    says_all = True


class ScopeNotInstalled(ScopeError):
    """Scope cannot be imported."""


class UnknownScopePipeline(ScopeError):
    """No registered pipeline has the id."""


class PipelineUnavailable(ScopeError):
    """Scope has the pipeline, but has not registered it on this machine."""


class ModelsMissing(ScopeError):
    """Files that the pipeline declares are not there."""


class ConstructionFailed(ScopeError):
    """The pipeline's constructor raised, or wants what its config class does not define.

    Its traceback is that of the constructor's own error, so that the line in a plugin's code is shown.
    """

    says_all = False


class DownloadFailed(ScopeError):
    """An artifact could not be fetched."""
