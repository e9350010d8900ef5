from typing import Literal

from runner.live.pipelines import BaseParams


class QueuedParams(BaseParams):
    class Config:
        extra = "forbid"

    gain: float = 1.0
    model: Literal["dark", "light", "missing"] = "dark"

    def get_output_resolution(self) -> tuple[int, int]:
        return (self.width, self.height)
