"""Which wheels fit the image's machine and Python."""

from __future__ import annotations

import pytest

from ai_runner_studio.export.target import Target


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("a-1.0-py3-none-any.whl", True),
        ("a-1.0-py2.py3-none-any.whl", True),
        ("a-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("a-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1.0-cp39-abi3-manylinux1_x86_64.whl", True),
        ("a-1.0+cpu-cp311-cp311-linux_x86_64.whl", True),
        ("a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", False),
        ("a-1.0-cp311-cp311-manylinux_2_39_x86_64.whl", False),
        ("a-1.0-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("a-1.0-cp311-cp311-manylinux_2_28_aarch64.whl", False),
        ("a-1.0-cp311-cp311-win_amd64.whl", False),
        ("a-1.0-cp311-cp311-macosx_11_0_arm64.whl", False),
        ("a-1.0.tar.gz", False),
    ],
)
def test_a_wheel_fits_python_3_11_on_debian_12(wheel: str, fits: bool) -> None:
    assert Target("3.11", "linux/amd64").takes(wheel) is fits


def test_the_other_machine_takes_its_own() -> None:
    assert Target("3.12", "linux/arm64").takes("a-1.0-cp312-cp312-manylinux_2_28_aarch64.whl")
    assert not Target("3.12", "linux/arm64").takes("a-1.0-cp312-cp312-manylinux_2_28_x86_64.whl")
