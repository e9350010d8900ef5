"""Faces are found by MediaPipe's detector, for up to 5 m, and hidden; for a while also where one was lost."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from cv2.typing import MatLike

from ai_runner_samples.mediapipe_solution import mediapipe_solution

from .params import FacePrivacyParams

LOWEST_CERTAINTY = 0.2

Box = tuple[float, float, float, float]  # left, top, width, height in parts of the picture


class FacePrivacy:
    detector: Any
    faces: tuple[Box, ...] = ()
    lost_frames = 0

    def on_ready(self, _params: FacePrivacyParams | None = None) -> None:
        detection = mediapipe_solution("face_detection")
        self.detector = detection.FaceDetection(model_selection=1, min_detection_confidence=LOWEST_CERTAINTY)

    def on_stop(self) -> None:
        self.detector.close()

    def transform(self, frame: torch.Tensor, params: FacePrivacyParams) -> torch.Tensor:
        picture = cv2.convertScaleAbs(frame[0].cpu().numpy(), alpha=255)  # to uint8, rounded
        found = self.find_faces(picture, params.certainty)
        self.lost_frames = 0 if len(found) >= len(self.faces) else self.lost_frames + 1
        if not self.lost_frames or self.lost_frames > params.hold_frames:
            self.faces, self.lost_frames = found, 0
        for face in {*found, *self.faces}:
            hide(picture, face, params)
        return torch.from_numpy(picture).unsqueeze(0) / 255

    def find_faces(self, picture: MatLike, certainty: float) -> tuple[Box, ...]:
        detections = self.detector.process(picture).detections or ()
        boxes = [each.location_data.relative_bounding_box for each in detections if each.score[0] >= certainty]
        return tuple((box.xmin, box.ymin, box.width, box.height) for box in boxes)


def hide(picture: MatLike, face: Box, params: FacePrivacyParams) -> None:
    """Make a face in `picture` unrecognizable."""
    height, width = picture.shape[:2]
    x, y, w, h = face[0] * width, face[1] * height, face[2] * width, face[3] * height
    left, right = (int(np.clip(edge, 0, width)) for edge in (x - w * params.margin, x + w * (1 + params.margin)))
    top, bottom = (int(np.clip(edge, 0, height)) for edge in (y - h * params.margin, y + h * (1 + params.margin)))
    region = picture[top:bottom, left:right]
    if not region.size:
        return
    inside = np.ones(region.shape[:2], np.uint8)
    if params.shape == "oval":
        inside[:] = 0
        half = (region.shape[1] // 2, region.shape[0] // 2)
        cv2.ellipse(inside, half, half, 0, 0, 360, 1, thickness=-1)
    region[inside > 0] = covered(region, params)[inside > 0]


def covered(region: MatLike, params: FacePrivacyParams) -> MatLike:
    """What is left of a face; of the size that it had."""
    height, width = region.shape[:2]
    if params.cover == "black":
        return np.zeros_like(region)
    if params.cover == "blur":
        return cv2.GaussianBlur(region, (0, 0), 2 + min(height, width) * 0.15 * params.coarseness)
    blocks = round(20 - 16 * params.coarseness)  # across the face
    small = cv2.resize(region, (blocks, blocks), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
