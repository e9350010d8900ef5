"""`ImagePlan`: there and back, the same text, refused when it is another thing."""

from __future__ import annotations

import json

import pytest
from plans import plan, requirement
from pydantic import ValidationError

from ai_runner_studio.export.plan import ImagePlan, Layer
from ai_runner_studio.export.planner import _versioned_by_contents


class TestText:
    def test_it_survives_a_round_trip(self) -> None:
        assert ImagePlan.from_json(plan().to_json()) == plan()

    def test_the_same_plan_is_the_same_text_in_whatever_order_it_was_put_together(self) -> None:
        one = plan(environment={"A": "1", "B": "2"})
        other = plan(environment={"B": "2", "A": "1"})
        assert one.to_json() == other.to_json()
        assert one.digest == other.digest
        assert plan(version="1.2.1").digest != plan().digest

    def test_its_schema_names_every_field_of_the_text(self) -> None:
        assert set(ImagePlan.json_schema()["properties"]) == set(json.loads(plan().to_json()))

    @pytest.mark.parametrize("changed", [{"schema_version": 2}, {"surprise": 1}, {"command": []}, {"base": None}])
    def test_another_document_is_refused(self, changed: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            ImagePlan.from_json(json.dumps(json.loads(plan().to_json()) | changed))

    def test_it_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError):
            plan().name = "other"  # type: ignore[misc]


class TestNames:
    def test_the_tag_is_a_valid_reference(self) -> None:
        assert plan(version="0.0.0+abc").tag == "tint:0.0.0-abc"

    def test_a_requirement_is_a_line_with_its_hashes(self) -> None:
        assert requirement("numpy").line == f"numpy==1.0 --hash=sha256:{'a' * 64}"

    @pytest.mark.parametrize(("flavour", "gpu"), [("cpu", False), ("cu130", True), ("none", False)])
    def test_a_cuda_build_needs_a_gpu(self, flavour: str, gpu: bool) -> None:
        assert plan(torch={"flavour": flavour}).torch.needs_gpu is gpu


class TestVersion:
    def test_without_one_it_is_made_of_all_that_is_in_the_image(self) -> None:
        def tag(**changed: object) -> str:
            return _versioned_by_contents(plan(**changed)).tag

        other = Layer(
            name="dependencies", file="req/20-dependencies.txt", requirements=(requirement("numpy", version="2.0"),)
        )
        assert tag() == tag(labels={"org.opencontainers.image.revision": "abc-dirty"}, offline=True)
        changes = [{"layers": (other,)}, {"base": "other:1"}, {"system_packages": ("sox",)}, {"command": ("x",)}]
        assert len({tag(), *(tag(**change) for change in changes)}) == 1 + len(changes)

    def test_all_that_names_it_is_changed(self) -> None:
        made = _versioned_by_contents(plan(labels={"org.opencontainers.image.version": "1.2.0"}))
        assert made.environment["VERSION"] == made.labels["org.opencontainers.image.version"] == made.version
        assert made.version.startswith("0.0.0+")
        assert _versioned_by_contents(plan(environment={"VERSION": "mine"})).environment["VERSION"] == "mine"
