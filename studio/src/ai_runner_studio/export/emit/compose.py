"""Docker Compose: the runners of one machine, and a step, in a profile of its own, that fetches weights."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from runner.module_command import module_command

from .manifest import Manifest, ManifestError, needs, yaml_text
from .shipment import END_WITHIN_S, START_WITHIN_S, TMP, Shipment

CHECK_LIMIT_S = 60.0
_CHECK = ("--builtin-schema", "vendor.compose-spec", "--default-filetype", "yaml", "-")

Object = dict[str, Any]


def manifests(shipment: Shipment) -> list[Manifest]:
    """``compose.yaml``.

    Raises:
        UsageError: check-jsonschema is not installed. ManifestError: the file does not fit the schema of Compose.
    """
    name = shipment.name
    services = {each: _runner(shipment, index) for index, each in enumerate(shipment.names)}
    fetch = ""
    if shipment.has_models:
        services[f"{name}-models"] = _models_step(shipment)
        fetch = f"\n  docker compose --profile prepare run --rm {name}-models    # fetches the weights, once"
    described: Object = {"name": name, "services": services}
    if shipment.models_size:
        described["volumes"] = {"models": {}}
    places = ", ".join(f"127.0.0.1:{port}" for port in shipment.ports)
    heading = f"""Serves {name} on this machine alone, at {places}.{fetch}
  docker compose up --detach --wait
AUTH_TOKEN (who may start streams) and HF_TOKEN (weights that need one) are read from {name}.env, if there is one."""
    try:
        text = yaml_text(heading, described)
    except ImportError as error:
        raise needs("compose", "PyYAML", error) from error
    _check(text)
    return [Manifest("compose.yaml", text)]


def _check(text: str) -> None:
    """Against the Compose specification's own JSON schema, which check-jsonschema brings along."""
    if find_spec("check_jsonschema") is None:
        raise needs("compose", "check-jsonschema", ImportError("check_jsonschema"))
    done = subprocess.run(
        [*module_command(sys.executable, "check_jsonschema"), *_CHECK],
        input=text,
        capture_output=True,
        text=True,
        timeout=CHECK_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise ManifestError(f"compose.yaml: {(done.stdout or done.stderr).strip()}")


def _service(shipment: Shipment, environment: dict[str, str]) -> Object:
    """The parts that runner and preparation share."""
    user = shipment.plan.user
    return {
        "image": shipment.reference,
        "platform": shipment.plan.platform,
        "environment": environment,
        "env_file": [{"path": f"{shipment.name}.env", "required": False}],
        "user": f"{user.uid}:{user.gid}",
        "read_only": True,
        "tmpfs": [f"{TMP}:exec,mode=1777"],  # torch runs what it compiles there; a tmpfs alone would forbid it
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }


def _runner(shipment: Shipment, index: int) -> Object:
    service = {
        **_service(shipment, shipment.environment),
        "restart": "unless-stopped",
        "stop_grace_period": f"{END_WITHIN_S}s",
        "ports": [f"127.0.0.1:{shipment.ports[index]}:{shipment.plan.port}"],
        **({"volumes": [_models(shipment, read_only=True)]} if shipment.has_models else {}),
        "healthcheck": {
            "test": ["CMD", "python3", "-c", _ask_ready(shipment.plan.port)],
            "interval": "5s",
            "timeout": "5s",
            "retries": 2,
            "start_period": f"{START_WITHIN_S}s",
        },
    }
    return service | _gpus(shipment, index)


def _models_step(shipment: Shipment) -> Object:
    return {
        "profiles": ["prepare"],
        **_service(shipment, shipment.preparing),
        "restart": "no",
        "volumes": [_models(shipment, read_only=False)],
        "healthcheck": {"disable": True},
        **_gpus(shipment, 0),
    }


def _models(shipment: Shipment, read_only: bool) -> Object:
    source = {"type": "bind", "source": shipment.models_folder, "bind": {"create_host_path": False}}
    if not shipment.models_folder:
        source = {"type": "volume", "source": "models"}
    return {**source, "target": shipment.plan.models_dir, "read_only": read_only}


def _gpus(shipment: Shipment, index: int) -> Object:
    """Each runner has GPUs of its own: the first the first ones, and so on."""
    count = shipment.gpu_count
    if not count:
        return {}
    ids = [str(number) for number in range(index * count, (index + 1) * count)]
    device = {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [device]}}}}


def _ask_ready(port: int) -> str:
    """A program that fails unless the runner is ready; asks the port that the container has been given."""
    return (
        "import os, urllib.request as u; "
        f"u.urlopen('http://127.0.0.1:%s/health/ready' % os.environ.get('PORT', '{port}'), timeout=4)"
    )
