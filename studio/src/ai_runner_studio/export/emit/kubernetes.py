"""Kubernetes: a step that fetches weights, and the runners that serve with them."""

from __future__ import annotations

import re
from typing import Any

from .manifest import Manifest, ManifestError, needs, yaml_text
from .shipment import END_WITHIN_S, START_WITHIN_S, TMP, Shipment

SCHEMAS = "1.31"  # of what is written, any later version takes it
GPU = "nvidia.com/gpu"
SECRET_KEY = "AUTH_TOKEN"

Object = dict[str, Any]


def manifests(shipment: Shipment) -> list[Manifest]:
    """``kubernetes-models.yaml``: volume and job; ``kubernetes.yaml``: service, runners, and who may reach them.

    Raises:
        UsageError: kubernetes-validate is not installed. ManifestError: an object does not fit Kubernetes' schemas.
    """
    return [*([_weights(shipment)] if shipment.has_models else []), _serving(shipment)]


def _weights(shipment: Shipment) -> Manifest:
    name = shipment.name
    return _manifest(
        "kubernetes-models.yaml",
        f"""Fetches the weights of {name} into its models volume; apply it first, and wait for it:
  kubectl apply -f kubernetes-models.yaml
  kubectl wait --for=condition=complete --timeout=2h job/{name}-models
Where weights need a token, it is read from the secret below, as HF_TOKEN.""",
        [*([_claim(shipment)] if shipment.models_size else []), _job(shipment)],
        "a pipeline without weights does not need this file: --models-volume none",
    )


def _serving(shipment: Shipment) -> Manifest:
    name = shipment.name
    heading = f"""Serves {name}. Who may start streams is decided by a token that is not in this file:
  kubectl create secret generic {name} --from-literal={SECRET_KEY}=...
  kubectl apply -f kubernetes.yaml"""
    objects, notes = [_service(shipment), _workload(shipment)], []
    if shipment.live_runner:
        label = "".join(f"{key}={value}" for key, value in _clients(shipment).items())
        heading += f"""
The live-runner routes do not check that token: only pods labelled {label} reach the runners.
  kubectl label pod ORCHESTRATOR {label}"""
        objects.append(_policy(shipment))
        notes.append(f"only pods labelled {label} reach the runners, in clusters that enforce network policies")
    return _manifest("kubernetes.yaml", heading, objects, *notes)


def _manifest(name: str, heading: str, objects: list[Object], *notes: str) -> Manifest:
    try:
        return Manifest(name, yaml_text(heading, *(_checked(each, name) for each in objects)), notes)
    except ImportError as error:
        raise needs("kubernetes", "kubernetes-validate", error) from error


def _checked(described: Object, file: str) -> Object:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(described, SCHEMAS, strict=True)
    except kubernetes_validate.ValidationError as error:
        place = ".".join(str(part) for part in error.path)
        raise ManifestError(f"{file}: {described['kind']}: {place}: {error.message}") from error
    return described


def _metadata(shipment: Shipment, name: str = "", **labels: str) -> Object:
    version = re.sub(r"[^A-Za-z0-9_.-]", "-", shipment.plan.version)[:63].strip("_.-")
    told = {"app.kubernetes.io/name": shipment.name, "app.kubernetes.io/version": version, **labels}
    return {"name": name or shipment.name, "labels": {key: value for key, value in told.items() if value}}


def _selector(shipment: Shipment) -> dict[str, str]:
    return {"app.kubernetes.io/name": shipment.name, "app.kubernetes.io/component": "runner"}


def _clients(shipment: Shipment) -> dict[str, str]:
    """The label of pods that may reach the runners."""
    return {f"{shipment.name}-client": "true"}


def _policy(shipment: Shipment) -> Object:
    """Let clients of this namespace reach the port, and nobody else; probes come from the node, which is exempt."""
    clients = {"podSelector": {"matchLabels": _clients(shipment)}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(shipment),
        "spec": {
            "podSelector": {"matchLabels": _selector(shipment)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [clients], "ports": [{"protocol": "TCP", "port": "http"}]}],
        },
    }


def _claim(shipment: Shipment) -> Object:
    mode = "ReadWriteOnce" if shipment.terms.replicas == 1 else "ReadWriteMany"  # runners on several machines share it
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(shipment, f"{shipment.name}-models"),
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": shipment.models_size}}},
    }


def _service(shipment: Shipment) -> Object:
    spec: Object = {
        "selector": _selector(shipment),
        "ports": [{"name": "http", "port": shipment.plan.port, "targetPort": "http"}],
    }
    if shipment.terms.replicas > 1:
        # A second start at a busy runner ends the stream that is there, so none may be picked at random: the service
        # has no address, but each runner a name. They are told while they load too; /health says what they do.
        spec = {"clusterIP": "None", "publishNotReadyAddresses": True, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(shipment), "spec": spec}


def _workload(shipment: Shipment) -> Object:
    pod = _pod(shipment, _runner(shipment), _selector(shipment))
    spec: Object = {"replicas": shipment.terms.replicas, "selector": {"matchLabels": _selector(shipment)}}
    if shipment.terms.replicas == 1:
        # A GPU, and a volume of one machine, are not there twice: the old runner ends before the new one starts.
        kind, spec = "Deployment", {**spec, "strategy": {"type": "Recreate"}}
    else:
        kind, spec = "StatefulSet", {**spec, "serviceName": shipment.name, "podManagementPolicy": "Parallel"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": _metadata(shipment), "spec": {**spec, "template": pod}}


def _job(shipment: Shipment) -> Object:
    container = {
        **_container(shipment, "prepare", shipment.preparing),
        "volumeMounts": _mounts(shipment, read_only=False),
    }
    container["env"].append(_secret(shipment, "HF_TOKEN", optional=True))
    pod = _pod(shipment, container, {"app.kubernetes.io/component": "models"})
    pod["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": _metadata(shipment, f"{shipment.name}-models"),
        # A job cannot be changed; it goes by itself, so that the file can be applied again for another image.
        "spec": {"backoffLimit": 2, "ttlSecondsAfterFinished": 3600, "template": pod},
    }


def _pod(shipment: Shipment, container: Object, labels: dict[str, str]) -> Object:
    user = shipment.plan.user
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # variables that are named after neighbours could be taken for settings
        "terminationGracePeriodSeconds": END_WITHIN_S,
        "nodeSelector": {"kubernetes.io/arch": shipment.plan.platform.partition("/")[2]},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user.uid,
            "runAsGroup": user.gid,
            "fsGroup": user.gid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [*_models(shipment), {"name": "tmp", "emptyDir": {}}],
    }
    if shipment.gpu_count:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return {"metadata": {"labels": _metadata(shipment, **labels)["labels"]}, "spec": spec}


def _models(shipment: Shipment) -> list[Object]:
    if not shipment.has_models:
        return []
    place: Object = {"persistentVolumeClaim": {"claimName": f"{shipment.name}-models"}}
    if shipment.models_folder:
        place = {"hostPath": {"path": shipment.models_folder, "type": "Directory"}}
    return [{"name": "models", **place}]


def _mounts(shipment: Shipment, read_only: bool) -> list[Object]:
    models: Object = {"name": "models", "mountPath": shipment.plan.models_dir}
    mounted = [models | ({"readOnly": True} if read_only else {})] if shipment.has_models else []
    return [*mounted, {"name": "tmp", "mountPath": TMP}]


def _container(shipment: Shipment, name: str, environment: dict[str, str]) -> Object:
    """The parts that runner and preparation share."""
    container: Object = {
        "name": name,
        "image": shipment.reference,
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
    }
    if shipment.gpu_count:
        container["resources"]["limits"] = {GPU: shipment.gpu_count}
    return container


def _runner(shipment: Shipment) -> Object:
    container = _container(shipment, "runner", shipment.environment)
    container["env"].append(_secret(shipment, SECRET_KEY))
    container["ports"] = [{"name": "http", "containerPort": shipment.plan.port}]
    container["volumeMounts"] = _mounts(shipment, read_only=True)
    # LOADING is alive, but not ready; ERROR is neither. What loads for too long becomes ERROR by the runner itself.
    return container | {
        "startupProbe": _probe("/health/live", period_s=2, failures=START_WITHIN_S // 2),
        "readinessProbe": _probe("/health/ready", period_s=5, failures=1),
        "livenessProbe": _probe("/health/live", period_s=5, failures=2),
    }


def _probe(path: str, period_s: int, failures: int) -> Object:
    """An orchestrator's own figures: asked every 5 s, an answer within 5 s, gone at the second failure."""
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _secret(shipment: Shipment, key: str, optional: bool = False) -> Object:
    reference: Object = {"name": shipment.name, "key": key}
    return {"name": key, "valueFrom": {"secretKeyRef": reference | ({"optional": True} if optional else {})}}
