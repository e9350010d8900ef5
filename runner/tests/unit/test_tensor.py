"""Pixels to tensors and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from runner.live.process.tensor import BufferPool, FrameConverter, OutputError, check_output, range_warning


@pytest.fixture
def pixels() -> np.ndarray:
    return np.arange(64 * 100 * 3, dtype=np.uint32).reshape(64, 100, 3).astype(np.uint8)


class TestConversion:
    def test_input_is_exactly_what_the_contract_says(self, pixels: np.ndarray) -> None:
        tensor = FrameConverter().to_tensor(pixels)
        assert tensor.shape == (1, 64, 100, 3)
        assert tensor.dtype is torch.float32
        assert tensor.is_contiguous()
        assert torch.equal(tensor[0], torch.from_numpy(pixels.astype(np.float32) / 255.0))

    def test_every_value_survives_the_round_trip(self, pixels: np.ndarray) -> None:
        converter = FrameConverter()
        out = np.empty_like(pixels)
        converter.to_pixels(converter.to_tensor(pixels), out)
        assert np.array_equal(out, pixels)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_values_outside_are_clamped_and_nan_is_black(self, dtype: torch.dtype) -> None:
        tensor = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5, float("nan")], dtype=dtype).reshape(1, 1, 2, 3)
        out = np.empty((1, 2, 3), np.uint8)
        FrameConverter().to_pixels(tensor, out)
        assert out.ravel().tolist() == [0, 0, 128, 255, 255, 0]

    def test_a_view_that_is_not_contiguous_is_read_in_its_own_order(self, pixels: np.ndarray) -> None:
        channels_first = FrameConverter().to_tensor(pixels)[0].permute(2, 0, 1).contiguous()
        out = np.empty_like(pixels)
        FrameConverter().to_pixels(channels_first.permute(1, 2, 0), out)
        assert np.array_equal(out, pixels)


class TestBufferPool:
    def test_a_free_array_is_used_again(self) -> None:
        pool = BufferPool()
        first = pool.take((1, 4, 4, 3)).__array_interface__["data"][0]
        assert pool.take((1, 4, 4, 3)).__array_interface__["data"][0] == first

    def test_one_that_any_view_refers_to_is_not(self) -> None:
        pool = BufferPool()
        red = torch.from_numpy(pool.take((1, 4, 4, 3)))[..., 0]
        red.fill_(7)
        torch.from_numpy(pool.take((1, 4, 4, 3))).fill_(0)
        assert (red == 7).all()

    def test_a_pipeline_that_keeps_every_frame_gets_them_unharmed(self, pixels: np.ndarray) -> None:
        converter = FrameConverter()
        kept = [converter.to_tensor(np.full_like(pixels, number)) for number in range(20)]
        assert [round(float(tensor.max()) * 255) for tensor in kept] == list(range(20))


class TestCheck:
    @pytest.mark.parametrize("shape", [(1, 48, 64, 3), (48, 64, 3)])
    def test_pictures_pass(self, shape: tuple[int, ...]) -> None:
        assert check_output(torch.zeros(shape)) == (64, 48)

    @pytest.mark.parametrize(
        ("output", "said"),
        [
            (None, "NoneType.*without `return`"),
            (np.zeros((1, 4, 4, 3), np.float32), r"ndarray.*torch.from_numpy"),
            (torch.zeros(1, 3, 4, 4), r"\(1, 3, 4, 4\).*permute\(0, 2, 3, 1\)"),
            (torch.zeros(4, 4), r"\(4, 4\).*3 channels"),
            (torch.zeros(1, 4, 4, 1), "1 channel"),
            (torch.zeros(2, 4, 4, 3), r"\(2, 4, 4, 3\).*expected a float tensor"),
            (torch.zeros(1, 4, 4, 3, dtype=torch.uint8), "uint8.*Divide by 255"),
        ],
    )
    def test_anything_else_says_expected_got_and_the_way_out(self, output: object, said: str) -> None:
        with pytest.raises(OutputError, match=said):
            check_output(output)

    def test_the_range_is_told_with_numbers(self) -> None:
        assert range_warning(torch.rand(1, 4, 4, 3)) == ""
        assert "0 to 255" in range_warning(torch.tensor([0.0, 255.0]))
        assert "from -1 to 1" in range_warning(torch.tensor([-1.0, 1.0]))
        assert "NaN" in range_warning(torch.tensor([float("nan")]))
