"""The double speaks as the real server was recorded to speak (ComfyUI 0.3.64)."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from .running_double import RunningDouble

RECORDED = json.loads((Path(__file__).parent / "data" / "protocol_transcript.json").read_text())
CHANGING = {"prompt_id", "timestamp", "sid", "number", "argv", "python_version", "pytorch_version"}


class Recorder:
    """A client that keeps everything, as the one that made the recording."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.socket: aiohttp.ClientWebSocketResponse[bool]

    async def send(self, prompt: Any) -> tuple[int, Any]:
        body = {"prompt": prompt, "client_id": "rec-client"}
        async with self.session.post(f"{self.url}/prompt", json=body) as response:
            return response.status, await response.json()

    async def messages(self, last: str) -> list[Any]:
        """Everything up to a message of the kind `last`."""
        found: list[Any] = []
        while True:
            message = await self.socket.receive(timeout=60)
            if message.type is aiohttp.WSMsgType.BINARY:
                found.append(
                    {"binary_header_hex": message.data[:8].hex(), "payload_magic_hex": message.data[8:16].hex()}
                )
                continue
            found.append(json.loads(message.data))
            if found[-1]["type"] == last:
                return found


def comparable(value: Any) -> Any:
    """Without what is another each time, and with numbers as they are meant."""
    if isinstance(value, dict):
        kept = {key: comparable(item) for key, item in value.items() if key not in CHANGING}
        kept.pop("payload_bytes", None)
        if "current_outputs" in kept:  # a set
            kept["current_outputs"] = sorted(kept["current_outputs"])
        kept.pop("traceback", None)
        return kept
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def prompt_of(name: str) -> Any:
    (entry,) = RECORDED[name]["history"].values()
    return entry["prompt"][2]


@pytest.fixture
async def recorder(double: RunningDouble) -> AsyncIterator[Recorder]:
    async with aiohttp.ClientSession() as session:
        recorder = Recorder(double.url, session)
        async with session.ws_connect(f"{double.url}/ws?clientId=rec-client") as socket:
            recorder.socket = socket
            assert comparable(await recorder.messages("status")) == comparable(RECORDED["on_connect"])
            yield recorder


async def upload(recorder: Recorder) -> Any:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(file, "PNG")
    form = aiohttp.FormData()
    form.add_field("image", file.getvalue(), filename="rec.png", content_type="image/png")
    form.add_field("overwrite", "true")
    async with recorder.session.post(f"{recorder.url}/upload/image", data=form) as response:
        return {"status": response.status, "json": await response.json()}


class TestRecordedConversation:
    async def test_a_prompt_and_the_same_again_from_the_cache(self, recorder: Recorder) -> None:
        assert await upload(recorder) == RECORDED["upload"]
        for name in ("ok", "ok_cached_again"):
            status, answer = await recorder.send(prompt_of(name))
            assert (status, comparable(answer)) == (200, comparable(RECORDED[name]["response"]))
            messages = await recorder.messages("executing")
            while messages[-1]["data"]["node"] is not None:
                messages += await recorder.messages("executing")
            assert comparable(messages) == comparable(RECORDED[name]["ws"])

    async def test_a_node_that_raises(self, recorder: Recorder) -> None:
        prompt = prompt_of("node_raises")
        missing = "/proc/1/fd/999999"
        prompt["1"]["inputs"] = {"segment": missing, "token": "", "offset": 0, "width": 8, "height": 8, "seq": 1}
        status, _ = await recorder.send(prompt)
        recorded = RECORDED["node_raises"]
        assert status == 200
        said = await recorder.messages("execution_error")
        for messages in (said, recorded["ws"]):  # the node in the recording was an earlier one, with other inputs
            for name in ("current_inputs", "exception_message"):
                del messages[-1]["data"][name]
        assert comparable(said) == comparable(recorded["ws"])
        assert comparable(await recorder.messages("executing")) == comparable(recorded["ws_tail"][:-1])

    @pytest.mark.parametrize(
        ("name", "prompt"),
        [
            ("unknown_node", {"1": {"class_type": "NoSuchNode", "inputs": {}}}),
            ("no_output", {"1": {"class_type": "LoadImage", "inputs": {"image": "rec.png"}}}),
            (
                "missing_file",
                {
                    "1": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}},
                    "9": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
                },
            ),
            ("bad_link", {"9": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["77", 0]}}}),
        ],
    )
    async def test_a_prompt_that_is_refused(self, recorder: Recorder, name: str, prompt: Any) -> None:
        status, answer = await recorder.send(prompt)
        assert status == RECORDED[name]["http_status"]
        assert comparable(answer) == comparable(RECORDED[name]["response"])

    @pytest.mark.parametrize("path", ["queue", "prompt", "object_info/ImageInvert"])
    async def test_what_is_asked_for(self, recorder: Recorder, path: str) -> None:
        async with recorder.session.get(f"{recorder.url}/{path}") as response:
            assert comparable(await response.json()) == comparable(RECORDED[f"GET {path}"])

    async def test_the_same_fields_where_values_are_the_machines(self, recorder: Recorder) -> None:
        async with recorder.session.get(f"{recorder.url}/system_stats") as response:
            stats = await response.json()
        recorded = RECORDED["GET system_stats"]
        assert stats["system"].keys() == recorded["system"].keys()
        assert stats["devices"][0].keys() == recorded["devices"][0].keys()
        async with recorder.session.get(f"{recorder.url}/object_info/LoadImage") as response:
            said, before = (await response.json())["LoadImage"], RECORDED["GET object_info/LoadImage"]["LoadImage"]
        assert (said["output"], said["input"]["required"]["image"][1]) == (
            before["output"],
            before["input"]["required"]["image"][1],
        )

    @pytest.mark.parametrize(("path", "body"), [("interrupt", {}), ("free", {"free_memory": True})])
    async def test_what_is_told_without_an_answer(self, recorder: Recorder, path: str, body: Any) -> None:
        async with recorder.session.post(f"{recorder.url}/{path}", json=body) as response:
            assert response.status == RECORDED[f"POST {path}"]["status"]
            assert await response.read() == b""

    async def test_pictures_have_a_header_of_two_big_endian_numbers(self) -> None:
        (binary,) = [message for message in RECORDED["ok"]["ws"] if "binary_header_hex" in message]
        assert struct.unpack(">II", bytes.fromhex(binary["binary_header_hex"])) == (1, 2)
