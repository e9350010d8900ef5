from scope.core.plugins import hookimpl

__all__ = ["hookimpl"]
