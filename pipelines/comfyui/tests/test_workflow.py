"""Workflows: where the picture goes in and out, what a server lacks for them, and what its refusals say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from comfyui_pipeline.catalog import InputSpec, NodeCatalog
from comfyui_pipeline.client import refusals
from comfyui_pipeline.errors import WorkflowError
from comfyui_pipeline.exposed import keys, with_values
from comfyui_pipeline.rewrite import LiveGraph, LiveNode
from comfyui_pipeline.workflow import Workflow

from .workflows import chain, node

pytestmark = pytest.mark.quick

RECORDED = json.loads((Path(__file__).parent / "data" / "protocol_transcript.json").read_text())


def graph(nodes: dict[str, Any]) -> LiveGraph:
    return LiveGraph.find(Workflow.parse(nodes))


class TestEnds:
    def test_every_live_input_gives_the_same_picture(self) -> None:
        nodes = chain(node("ImageInvert"))
        nodes["5"] = node("LoadTensor")
        found = graph(nodes)
        assert found.entries == ("1", "5")
        prompt = found.prompt(LiveNode("In", {"seq": 7}), LiveNode("Out", {"seq": 7}))
        assert prompt["1"]["inputs"] == prompt["5"]["inputs"] == {"seq": 7}
        assert prompt["9"] == {"class_type": "Out", "inputs": {"images": ["2", 0], "seq": 7}}
        assert nodes["1"]["class_type"] == "LoadTensor"

    def test_files_stay_files_beside_a_live_input(self) -> None:
        nodes = chain(node("ImageInvert"), first="PrimaryInputLoadImage")
        nodes["5"] = node("LoadImage", image="face.jpg")
        assert graph(nodes).entries == ("1",)

    @pytest.mark.parametrize(
        ("nodes", "reason"),
        [
            (chain(first="EmptyImage"), r"where the live picture goes in: it needs a node LiveFrameIn or LoadTensor"),
            (chain(last="SaveText"), r"where the live picture goes out: it needs a node LiveFrameOut or SaveTensor"),
            (
                {**chain(first="LoadImage"), "5": node("LoadImage", "Face", image="face.jpg")},
                r"not clear .* in: node 1 \(LoadImage\), node 5 'Face' \(LoadImage\); put a LoadTensor in its place",
            ),
            (
                {**chain(last="SaveImage"), "5": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}},
                r"not clear .* out: .* put a SaveTensor in its place",
            ),
            (
                {**chain(), "5": {"class_type": "SaveTensor", "inputs": {"images": ["1", 0]}}},
                "keep one of them",
            ),
            (
                {**chain(), "5": node("LoadAudioTensor")},
                r"no sound and no text: take out node 5 \(LoadAudioTensor\)",
            ),
            ({"1": node("LoadTensor"), "9": node("SaveTensor")}, r"node 9 \(SaveTensor\) is not linked to a picture"),
        ],
    )
    def test_what_is_not_clear_is_told(self, nodes: dict[str, Any], reason: str) -> None:
        with pytest.raises(WorkflowError, match=reason):
            graph(nodes)


class TestValues:
    NODES: ClassVar[dict[str, Any]] = {
        **chain(node("KSampler", "Sampler", seed=1, cfg=1.5)),
        "6": node("CLIPTextEncode", "Positive prompt", text="a fox"),
        "7": node("CLIPTextEncode", "Same", text="a"),
        "8": node("CLIPTextEncode", "Same", text="b"),
    }

    @pytest.mark.parametrize(
        ("key", "number", "name"),
        [
            ("2.seed", "2", "seed"),
            ("Sampler.cfg", "2", "cfg"),
            ("6.text", "6", "text"),
            ("Positive prompt.text", "6", "text"),
            ("Positive prompt", "6", "text"),
            ("6", "6", "text"),
            ("7.text", "7", "text"),
        ],
    )
    def test_they_are_named_by_id_or_title(self, key: str, number: str, name: str) -> None:
        changed = with_values(graph(self.NODES), {key: "new"})
        assert changed.workflow.nodes[number]["inputs"][name] == "new"
        assert self.NODES[number]["inputs"][name] != "new"

    @pytest.mark.parametrize(
        ("key", "reason"),
        [
            ("Same.text", "names several values: say 7.text or 8.text"),
            ("Sampler", "names several values: say 2.seed or 2.cfg"),
            ("Sampler.sed", r"has no 'Sampler.sed'; is it 'Sampler.seed'\?"),
            ("2.image", r"linked to node 1 \(LoadTensor\)"),
            ("9.images", r"linked to node 2 'Sampler' \(KSampler\)"),
            ("zzz", r"has no 'zzz' \(it has: 2.seed, 2.cfg, 6.text"),
        ],
    )
    def test_a_key_that_is_wrong_is_told_with_what_there_is(self, key: str, reason: str) -> None:
        with pytest.raises(WorkflowError, match=reason):
            with_values(graph(self.NODES), {key: 1})

    def test_all_mistakes_are_told_at_once(self) -> None:
        with pytest.raises(WorkflowError) as raised:
            with_values(graph(self.NODES), {"zzz": 1, "Same.text": "x"})
        assert len(raised.value.problems) == 2

    def test_keys_are_listed_in_the_workflows_order(self) -> None:
        assert keys(graph(self.NODES)) == ["2.seed", "2.cfg", "6.text", "7.text", "8.text"]


class TestCatalog:
    @pytest.mark.parametrize(
        ("declared", "value", "problem"),
        [
            (["INT", {"min": 1, "max": 8}], 0, "the least is 1"),
            (["INT", {"min": 1, "max": 8}], 9, "the most is 8"),
            (["INT", {}], None, "not a number"),
            (["FLOAT", {}], float("inf"), ""),
            (["INT", {}], float("inf"), "not a number"),
            (["FLOAT", {"max": 2}], "1.5", ""),
            (["STRING", {"multiline": True}], "a fox", ""),
            (["BOOLEAN"], "yes", "not true or false"),
            ([["a", "b"]], "c", r"not to be had (there: a, b)"),
            (["COMBO", {"options": ["a", "b"]}], "c", "not to be had"),
            (["COMBO", {"options": [], "remote": {"route": "/x"}}], "c", ""),
            ([["a.png"], {"image_upload": True}], "other.png", ""),
            (["MODEL"], "anything", ""),
        ],
    )
    def test_values_are_looked_at_as_the_server_declares_them(self, declared: Any, value: Any, problem: str) -> None:
        found = InputSpec.parse("x", declared, required=True).problem(value, "Some")
        assert problem in found
        assert bool(problem) == bool(found)

    @pytest.mark.parametrize(
        ("kind", "name", "folder"),
        [
            ("CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
            ("UpscaleModelLoader", "model_name", "upscale_models"),
            ("CLIPVisionLoader", "clip_name", "clip_vision"),
            ("CLIPLoader", "clip_name", "text_encoders"),
        ],
    )
    def test_a_missing_model_is_told_with_its_folder(self, kind: str, name: str, folder: str) -> None:
        many = [f"{number}.safetensors" for number in range(20)]
        problem = InputSpec.parse(name, [many], required=True).problem("gone.safetensors", kind)
        assert f"model 'gone.safetensors' is missing: put it into ComfyUI's models/{folder}" in problem
        assert "and 12 more" in problem

    def test_links_to_nowhere_and_missing_inputs_are_told(self) -> None:
        info = {
            "ImageInvert": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["IMAGE"]},
            "Blend": {"input": {"required": {"a": ["IMAGE"], "b": ["IMAGE"]}, "optional": {"c": ["IMAGE"]}}},
        }
        nodes = {
            "1": {"class_type": "ImageInvert", "inputs": {"image": ["77", 0]}},
            "2": {"class_type": "Blend", "inputs": {"a": ["1", 3]}},
            "3": {"class_type": "Blend", "inputs": {"a": ["1"], "b": ["1", 0]}},
        }
        with pytest.raises(WorkflowError) as raised:
            Workflow.parse(nodes).check(NodeCatalog(info))
        assert raised.value.problems == (
            "node 1 (ImageInvert): input 'image' is linked to node 77, which is not in the workflow",
            "node 2 (Blend): input 'a' is linked to output 3 of node 1 (ImageInvert), which has 1",
            "node 2 (Blend): input 'b' is required and not there",
            "node 3 (Blend): input 'a' is linked to ['1'], which is no [node, output]",
        )


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("unknown_node", "Cannot execute because node NoSuchNode does not exist: Node ID '#1'"),
            ("no_output", "Prompt has no outputs"),
            (
                "missing_file",
                "node 1 (LoadImage): Custom validation failed for node: image - Invalid image file: gone.png",
            ),
            ("bad_link", "node 9 (SaveImageWebsocket): Exception when validating node: '77'"),
        ],
    )
    def test_what_the_server_was_recorded_to_say_becomes_a_sentence(self, name: str, text: str) -> None:
        assert refusals(RECORDED[name]["response"], {}) == [f"ComfyUI refuses the workflow: {text}"]

    def test_an_answer_without_a_reason_is_a_refusal_too(self) -> None:
        assert refusals({}, {}) == ["ComfyUI refuses the workflow: no reason is given"]
