"""Production runtime for real-time AI video pipelines."""

__version__ = "0.1.0"
