"""The graph interpreter: validation and execution of prompts, after ComfyUI 0.3.64's ``execution.py``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from nodes import NODE_CLASS_MAPPINGS, InterruptProcessingException, running

if TYPE_CHECKING:
    from protocol import Protocol, Queued

Prompt = dict[str, dict[str, Any]]


def validate(prompt: Prompt) -> tuple[dict[str, Any] | None, list[str], dict[str, Any]]:
    """The error of the whole prompt (None: it may run), the good outputs, the errors of nodes."""
    for number, node in prompt.items():
        if node.get("class_type") not in NODE_CLASS_MAPPINGS:
            message = f"Cannot execute because node {node.get('class_type')} does not exist."
            return _error("invalid_prompt", message, f"Node ID '#{number}'"), [], {}
    outputs = [number for number in prompt if getattr(_class(prompt, number), "OUTPUT_NODE", False)]
    if not outputs:
        return _error("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
    good, details, node_errors = [], [], {}
    for output in outputs:
        found: dict[str, list[dict[str, Any]]] = {}
        try:
            _validate_node(prompt, output, found)
        except Exception as error:
            more = {"exception_type": type(error).__name__, "traceback": []}
            found = {
                output: [_error("exception_during_validation", "Exception when validating node", str(error), more)]
            }
            details += [f"{reason['message']}: {reason['details']}" for reason in found[output]]
        if not any(found.values()):
            good.append(output)
        for number, errors in found.items():
            if errors:
                kind = prompt[number]["class_type"]
                entry = node_errors.setdefault(number, {"errors": errors, "dependent_outputs": [], "class_type": kind})
                entry["dependent_outputs"].append(output)
    if good:
        return None, good, node_errors
    message = "Prompt outputs failed validation"
    return _error("prompt_outputs_failed_validation", message, "\n".join(details)), [], node_errors


def _validate_node(prompt: Prompt, number: str, found: dict[str, list[dict[str, Any]]]) -> None:
    if number in found:
        return
    errors = found[number] = []
    node_class, inputs = _class(prompt, number), prompt[number]["inputs"]
    declared = node_class.INPUT_TYPES()
    checked_by_node = "image" if hasattr(node_class, "VALIDATE_INPUTS") else ""
    for name, (kind, *more) in {**declared.get("required", {}), **declared.get("optional", {})}.items():
        about = {"input_name": name}
        if name not in inputs:
            if name in declared.get("required", {}):
                errors.append(_error("required_input_missing", "Required input is missing", name, about))
            continue
        value = inputs[name]
        if isinstance(value, list):
            _class(prompt, value[0]).RETURN_TYPES[value[1]]
            _validate_node(prompt, value[0], found)
            continue
        limits = more[0] if more else {}
        if kind in ("INT", "FLOAT"):
            value = inputs[name] = (int if kind == "INT" else float)(value)
        if value is not None and "max" in limits and value > limits["max"]:
            text = f"Value {value} bigger than max of {limits['max']}"
            errors.append(_error("value_bigger_than_max", text, name, about))
        elif isinstance(kind, list) and name != checked_by_node and value not in kind:
            text = f"{name}: '{value}' not in {kind}"
            errors.append(_error("value_not_in_list", "Value not in list", text, about))
        elif name == checked_by_node and (said := node_class.VALIDATE_INPUTS(value)) is not True:
            text = f"{name} - {said}"
            errors.append(_error("custom_validation_failed", "Custom validation failed for node", text, about))


def _class(prompt: Prompt, number: str) -> Any:
    return NODE_CLASS_MAPPINGS[prompt[number]["class_type"]]


def _error(kind: str, message: str, details: str, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": extra or {}}


class Executor:
    """Works on the queue, one prompt after the other, in a thread of its own."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._cache: dict[Any, tuple[Any, ...]] = {}
        self._executed: list[str] = []

    def run(self) -> None:
        while True:
            queued = self._protocol.next_prompt()
            if queued is not None:
                with torch.inference_mode():
                    self._execute(queued)
                self._protocol.task_done(queued)
            if self._protocol.take_free():
                running.frees += 1
                self._cache.clear()

    def _execute(self, queued: Queued) -> None:
        running.interrupted.clear()
        prompt, send = queued.prompt, queued.send
        send("execution_start", timestamp=_now_ms())
        signatures: dict[str, Any] = {}
        for number in prompt:
            _signature(prompt, number, signatures)
        self._cache = {key: value for key, value in self._cache.items() if key in signatures.values()}
        cached = [number for number in prompt if signatures[number] in self._cache]
        send("execution_cached", nodes=cached, timestamp=_now_ms())
        self._executed = []
        progress = _Progress(queued)
        for number in _order(prompt, queued.outputs):
            if signatures[number] in self._cache:
                continue
            try:
                self._run_node(prompt, number, signatures, progress)
            except InterruptProcessingException:
                self._tell_failure("execution_interrupted", queued, number)
                return
            except Exception as error:
                self._tell_failure("execution_error", queued, number, _described(error, prompt, number))
                return
            self._executed.append(number)
        send("execution_success", timestamp=_now_ms())

    def _run_node(self, prompt: Prompt, number: str, signatures: dict[str, Any], progress: _Progress) -> None:
        progress.begin(number)
        running.look()
        running.progress = progress.step
        node = _class(prompt, number)()
        inputs = {
            name: self._cache[signatures[value[0]]][value[1]] if isinstance(value, list) else value
            for name, value in prompt[number]["inputs"].items()
        }
        result = getattr(node, node.FUNCTION)(**inputs)
        self._cache[signatures[number]] = result if isinstance(result, tuple) else ()
        progress.finish(number)

    def _tell_failure(self, kind: str, queued: Queued, number: str, more: dict[str, Any] | None = None) -> None:
        about = {"node_id": number, "node_type": queued.prompt[number]["class_type"], "executed": self._executed}
        queued.send(kind, **about, **(more or {}), timestamp=_now_ms())


class _Progress:
    """The messages about one prompt's nodes."""

    def __init__(self, queued: Queued) -> None:
        self._queued = queued
        self._states: dict[str, dict[str, Any]] = {}
        self._number = ""

    def begin(self, number: str) -> None:
        self._number = number
        self._say(0.0, 1.0, "running")
        self._queued.send("executing", node=number, display_node=number)

    def step(self, value: int, most: int, picture: tuple[str, Any] | None) -> None:
        running.look()
        self._say(value, most, "running")
        self._queued.send("progress", value=value, max=most, node=self._number)
        if picture is not None:
            self._queued.send_picture(*picture)

    def finish(self, number: str) -> None:
        most = self._states[number]["max"]
        self._say(most, most, "finished")

    def _say(self, value: float, most: float, state: str) -> None:
        number, prompt_id = self._number, self._queued.prompt_id
        ids = {"node_id": number, "display_node_id": number, "real_node_id": number, "parent_node_id": None}
        self._states[number] = {"value": value, "max": most, "state": state, "prompt_id": prompt_id, **ids}
        self._queued.send("progress_state", nodes=dict(self._states))


def _signature(prompt: Prompt, number: str, found: dict[str, Any]) -> Any:
    """What a result depends on; equal for equal results."""
    if number not in found:
        node_class, inputs = _class(prompt, number), prompt[number]["inputs"]
        changed = node_class.IS_CHANGED(**inputs) if hasattr(node_class, "IS_CHANGED") else None
        parts = [
            (name, (_signature(prompt, value[0], found), value[1]) if isinstance(value, list) else repr(value))
            for name, value in sorted(inputs.items())
        ]
        found[number] = (prompt[number]["class_type"], changed, tuple(parts))
    return found[number]


def _order(prompt: Prompt, outputs: list[str]) -> list[str]:
    order: list[str] = []

    def add(number: str) -> None:
        for value in prompt[number]["inputs"].values():
            if isinstance(value, list) and value[0] not in order:
                add(value[0])
        if number not in order:
            order.append(number)

    for output in outputs:
        add(output)
    return order


def _described(error: Exception, prompt: Prompt, number: str) -> dict[str, Any]:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    shown = {key: [value] for key, value in prompt[number]["inputs"].items() if not isinstance(value, list)}
    return {
        "exception_message": f"{error}\n",
        "exception_type": name,
        "traceback": [],
        "current_inputs": shown,
        "current_outputs": sorted(prompt),
    }


def _now_ms() -> int:
    return int(time.time() * 1000)
