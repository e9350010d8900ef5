"""Needs a GPU: without one only its config class can be had."""

from __future__ import annotations

from typing import Any

from ..interface import Pipeline
from .schema import LongLiveConfig


class LongLivePipeline(Pipeline):
    @classmethod
    def get_config_class(cls) -> Any:
        return LongLiveConfig


PIPELINE = LongLivePipeline
