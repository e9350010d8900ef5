"""OpenAPI: the paths, methods, operation ids and fields that the network's clients were generated from."""

from __future__ import annotations

from typing import Any

import pytest

from runner.app import create_app

OPERATIONS = {
    ("/live-video-to-video", "post"): ("genLiveVideoToVideo", {"200", "400", "401", "422", "500"}),
    ("/health", "get"): ("health", {"200"}),
    ("/hardware/info", "get"): ("hardware_info", {"200"}),
    ("/hardware/stats", "get"): ("hardware_stats", {"200"}),
    ("/version", "get"): ("version", {"200"}),
}
# Model -> its fields with their types; those that may be left out end in "?".
MODELS = {
    "LiveVideoToVideoParams": "subscribe_url:string publish_url:string control_url?:string events_url?:string "
    "model_id?:string params?:object gateway_request_id?:string manifest_id?:string stream_id?:string",
    "LiveVideoToVideoResponse": "subscribe_url:string publish_url:string control_url?:string events_url?:string "
    "request_id?:string manifest_id?:string",
    "HealthCheck": "status:string",
    "Version": "pipeline:string model_id:string version:string",
    "HardwareInformation": "pipeline:string model_id:string gpu_info:object",
    "HardwareStats": "pipeline:string model_id:string gpu_stats:object",
    "GPUComputeInfo": "id:string name:string memory_total:integer memory_free:integer major:integer minor:integer",
    "GPUUtilizationInfo": "id:string name:string memory_total:integer memory_free:integer "
    "utilization_compute:integer utilization_memory:integer",
    "HTTPError": "detail:APIError",
    "APIError": "msg:string",
    "HTTPValidationError": "detail?:array",
    "ValidationError": "loc:array msg:string type:string",
}


@pytest.fixture(scope="module")
def api() -> dict[str, Any]:
    return create_app().openapi()


def fields(model: dict[str, Any]) -> str:
    told = []
    for name, field in model["properties"].items():
        optional = "" if name in model.get("required", ()) else "?"
        told.append(f"{name}{optional}:{field.get('type') or field['$ref'].rpartition('/')[2]}")
    return " ".join(told)


def test_operations(api: dict[str, Any]) -> None:
    operations = {
        (path, method): (operation["operationId"], set(operation["responses"]))
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    }
    assert operations == OPERATIONS


def test_models(api: dict[str, Any]) -> None:
    assert {name: fields(model) for name, model in api["components"]["schemas"].items()} == MODELS
    health = api["components"]["schemas"]["HealthCheck"]["properties"]["status"]
    assert health["enum"] == ["LOADING", "OK", "ERROR", "IDLE"]
    defaults = api["components"]["schemas"]["LiveVideoToVideoParams"]["properties"]
    assert defaults["params"]["default"] == {}
    assert defaults["model_id"]["default"] == ""


def test_starts_of_streams_bring_a_bearer_token(api: dict[str, Any]) -> None:
    assert api["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    secured = [path for path, methods in api["paths"].items() for each in methods.values() if "security" in each]
    assert secured == ["/live-video-to-video"]


@pytest.mark.parametrize(("model", "field", "item"), [("HTTPValidationError", "detail", "ValidationError")])
def test_references(api: dict[str, Any], model: str, field: str, item: str) -> None:
    schemas = api["components"]["schemas"]
    assert schemas[model]["properties"][field]["items"] == {"$ref": f"#/components/schemas/{item}"}
    for name, inner in (("HardwareInformation", "GPUComputeInfo"), ("HardwareStats", "GPUUtilizationInfo")):
        (values,) = [each for each in schemas[name]["properties"].values() if each["type"] == "object"]
        assert values["additionalProperties"] == {"$ref": f"#/components/schemas/{inner}"}
    body = api["paths"]["/live-video-to-video"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/LiveVideoToVideoParams"}
