"""Neon outlines. Only torch: runs where the frame is, on the CPU or on a GPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .params import EdgesParams

SOBEL_X = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
LUMA = [0.299, 0.587, 0.114]
BACKGROUND = 0.12  # brightness of the picture behind the lines
GLOW_PX = 8  # glow is made at the size divided by this: larger spreads further


class Edges:
    def transform(self, frame: torch.Tensor, params: EdgesParams) -> torch.Tensor:
        picture = frame.permute(0, 3, 1, 2).contiguous()  # (1, 3, H, W), as convolutions want it
        right, down = gradient(frame, params.line_width)
        edge = torch.hypot(right, down)  # 1 is a step from black to white

        lines = ((edge - params.threshold) * params.strength).clamp(0, 1)
        lines = lines * colour(picture, right, down, params.colours)
        result = picture * BACKGROUND + lines + params.glow * spread(lines)
        result = result.clamp(0, 1)
        if params.paper:
            result = 1 - result
        return result.permute(0, 2, 3, 1)


def gradient(frame: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """How brightness changes to the right and downwards: two (1, 1, H, W), by a Sobel filter."""
    grey = (frame @ torch.tensor(LUMA, device=frame.device)).unsqueeze(1)
    grey = F.avg_pool2d(F.pad(grey, (width,) * 4, mode="replicate"), 2 * width - 1, stride=1)
    sobel_x = torch.tensor(SOBEL_X, device=frame.device) / 4
    both = F.conv2d(grey, torch.stack([sobel_x, sobel_x.T]).unsqueeze(1))
    return both[:, :1], both[:, 1:]


def colour(picture: torch.Tensor, right: torch.Tensor, down: torch.Tensor, mode: str) -> torch.Tensor:
    """(1, 3, H, W) colours for the lines, or a plain 1."""
    if mode == "picture":
        return picture / picture.amax(dim=1, keepdim=True).clamp(min=0.05)
    if mode == "white":
        return torch.ones(1, device=picture.device)
    phases = torch.tensor([0.0, 2.1, 4.2], device=picture.device).view(1, 3, 1, 1)
    return 0.5 + 0.5 * torch.cos(torch.atan2(down, right) + phases)


def spread(lines: torch.Tensor) -> torch.Tensor:
    """Blur, cheaply: shrink, average, enlarge."""
    small = F.avg_pool2d(lines, GLOW_PX)
    small = F.avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(small, size=lines.shape[-2:], mode="bilinear", align_corners=False)
