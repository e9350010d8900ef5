"""What `--emit` makes: checked files for each engine, the same each time, with no secret, whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import plans
import pytest
import yaml

from ai_runner_studio.errors import UsageError
from ai_runner_studio.export.emit import KINDS, Kind, Manifest, ManifestError, Shipment, Terms, emit, kubernetes, write
from ai_runner_studio.export.emit.aimodels import AIModel
from ai_runner_studio.export.plan import ImagePlan, TorchBuild

IMAGE = "registry.example:5000/team/my-pipeline:1.2.0"
SECRETS = {"AUTH_TOKEN": "hunter2", "HF_TOKEN": "hf_hunter2", "LIVE_RUNNER_SECRET": "hunter3"}


def plan(**changes: Any) -> ImagePlan:
    """One for a GPU, with what the test changes in it."""
    values: dict[str, Any] = {
        "name": "my-pipeline",
        "model_id": "my-pipeline",
        "torch": TorchBuild(flavour="cu130", version="2.13.0+cu130"),
        "environment": {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "MODEL_DIR": "/models"},
    }
    return plans.plan(**{**values, **changes})


CPU = plan(torch=TorchBuild(flavour="cpu", version="2.13.0+cpu"))


def shipment(kind: Kind, made: ImagePlan | None = None, **changes: Any) -> Shipment:
    return Shipment(made or plan(), Terms(**{"kinds": (kind,), "image": IMAGE, **changes}))


def files(made: Shipment) -> dict[str, str]:
    return {manifest.name: manifest.text for manifest in emit(made)}


def objects(made: Shipment) -> dict[str, dict[str, Any]]:
    """Kubernetes' objects by their kinds."""
    texts = files(made).values()
    return {described["kind"]: described for text in texts for described in yaml.safe_load_all(text)}


def pod(described: dict[str, Any]) -> dict[str, Any]:
    return dict(described["spec"]["template"]["spec"])


def services(made: Shipment) -> dict[str, Any]:
    return dict(yaml.safe_load(files(made)["compose.yaml"])["services"])


class TestKubernetes:
    def test_the_step_for_weights_is_a_file_of_its_own(self) -> None:
        texts = files(shipment("kubernetes"))
        kinds = {name: [each["kind"] for each in yaml.safe_load_all(text)] for name, text in texts.items()}
        assert kinds == {
            "kubernetes-models.yaml": ["PersistentVolumeClaim", "Job"],
            "kubernetes.yaml": ["Service", "Deployment"],
        }

    def test_a_gpu_is_asked_for_where_torch_is_built_for_one_and_nowhere_else(self) -> None:
        for kind in ("Deployment", "Job"):
            gpu, cpu = (pod(objects(shipment("kubernetes", each))[kind]) for each in (plan(), CPU))
            assert gpu["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
            assert "limits" not in cpu["containers"][0]["resources"]
            assert "tolerations" in gpu
            assert "tolerations" not in cpu
        two = pod(objects(shipment("kubernetes", gpus=2))["Deployment"])
        assert two["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 2}

    def test_the_runner_may_write_to_tmp_alone(self) -> None:
        spec = pod(objects(shipment("kubernetes"))["Deployment"])
        runner = spec["containers"][0]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["fsGroup"]) == (10001, 10001)
        assert runner["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [(each["mountPath"], each.get("readOnly", False)) for each in runner["volumeMounts"]] == [
            ("/models", True),
            ("/tmp", False),
        ]
        assert {"name": "HOME", "value": "/tmp"} in runner["env"]  # caches of torch, triton and CUDA are below it
        assert {"name": "tmp", "emptyDir": {}} in spec["volumes"]
        assert spec["terminationGracePeriodSeconds"] >= 8

    def test_the_preparation_alone_writes_weights_and_asks_the_network(self) -> None:
        job = pod(objects(shipment("kubernetes"))["Job"])
        container = job["containers"][0]
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert environment == {
            "HOME": "/tmp",
            "PREPARE_MODELS": "1",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_TOKEN": None,
        }
        assert not container["volumeMounts"][0].get("readOnly")
        assert job["restartPolicy"] == "Never"
        assert "livenessProbe" not in container

    def test_selectors_find_the_runner_and_not_the_preparation(self) -> None:
        found = objects(shipment("kubernetes"))
        selector = found["Service"]["spec"]["selector"].items()
        assert selector <= found["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
        assert not selector <= found["Job"]["spec"]["template"]["metadata"]["labels"].items()

    def test_each_of_several_runners_has_an_address_of_its_own(self) -> None:
        found = objects(shipment("kubernetes", replicas=3))
        assert found["StatefulSet"]["spec"]["serviceName"] == found["Service"]["metadata"]["name"]
        assert found["Service"]["spec"]["clusterIP"] == "None"
        assert found["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
        urls = Shipment(plan(), Terms(kinds=("kubernetes", "aimodels"), replicas=3)).urls
        assert urls == tuple(f"http://my-pipeline-{index}.my-pipeline:8000" for index in range(3))

    def test_weights_may_lie_in_a_folder_of_the_host(self) -> None:
        found = objects(shipment("kubernetes", models="/srv/models"))
        assert "PersistentVolumeClaim" not in found
        for kind in ("Deployment", "Job"):
            volume = pod(found[kind])["volumes"][0]
            assert volume == {"name": "models", "hostPath": {"path": "/srv/models", "type": "Directory"}}

    def test_a_pipeline_without_weights_has_no_volume_and_no_job(self) -> None:
        made = shipment("kubernetes", models="none")
        assert list(files(made)) == ["kubernetes.yaml"]
        spec = pod(objects(made)["Deployment"])
        assert [each["name"] for each in spec["volumes"]] == ["tmp"]
        assert [each["mountPath"] for each in spec["containers"][0]["volumeMounts"]] == ["/tmp"]
        (weights,) = [each for each in emit(shipment("kubernetes")) if each.name == "kubernetes-models.yaml"]
        assert "--models-volume none" in weights.notes[0]

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_live_runner_routes_which_no_token_guards_are_reached_by_labelled_pods_alone(self, replicas: int) -> None:
        made = Shipment(plan(), Terms(kinds=("kubernetes", "runners"), image=IMAGE, replicas=replicas))
        (text,) = [each.text for each in emit(made) if each.name == "kubernetes.yaml"]
        found = {each["kind"]: each for each in yaml.safe_load_all(text)}
        spec = found["NetworkPolicy"]["spec"]
        assert spec["podSelector"]["matchLabels"] == found["Service"]["spec"]["selector"]
        assert spec["policyTypes"] == ["Ingress"]
        assert spec["ingress"] == [
            {
                "from": [{"podSelector": {"matchLabels": {"my-pipeline-client": "true"}}}],
                "ports": [{"protocol": "TCP", "port": "http"}],
            }
        ]
        assert "my-pipeline-client=true" in text.partition("apiVersion")[0]

    def test_where_the_token_guards_all_routes_there_is_no_policy(self) -> None:
        assert "NetworkPolicy" not in objects(shipment("kubernetes"))

    def test_what_does_not_fit_the_schemas_is_not_written(self) -> None:
        with pytest.raises(ManifestError, match=r"x\.yaml: Service: spec\.ports.*"):
            kubernetes._manifest("x.yaml", "", [{"apiVersion": "v1", "kind": "Service", "spec": {"ports": "many"}}])

    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("my_pipeline.v2", "my-pipeline-v2"),
            ("3d", "runner-3d"),
            ("a" * 80, "a" * 52),
            ("a" * 51 + "-b", "a" * 51),
        ],
    )
    def test_names_are_such_that_a_cluster_takes_them(self, name: str, expected: str) -> None:
        assert objects(shipment("kubernetes", plan(name=name)))["Service"]["metadata"]["name"] == expected


class TestCompose:
    def test_a_runner_listens_on_this_machine_alone_and_writes_to_tmp_alone(self) -> None:
        runner = services(shipment("compose"))["my-pipeline"]
        assert runner["ports"] == ["127.0.0.1:8000:8000"]
        assert (runner["user"], runner["read_only"], runner["cap_drop"]) == ("10001:10001", True, ["ALL"])
        assert runner["tmpfs"] == ["/tmp:exec,mode=1777"]
        assert runner["volumes"] == [{"type": "volume", "source": "models", "target": "/models", "read_only": True}]

    def test_gpus_are_reserved_each_once(self) -> None:
        made = services(shipment("compose", replicas=2, gpus=2))
        devices = [
            each["deploy"]["resources"]["reservations"]["devices"][0]
            for name, each in made.items()
            if "profiles" not in each
        ]
        assert [each["device_ids"] for each in devices] == [["0", "1"], ["2", "3"]]
        assert devices[0]["driver"] == "nvidia"
        assert [made[name]["ports"] for name in ("my-pipeline-0", "my-pipeline-1")] == [
            ["127.0.0.1:8000:8000"],
            ["127.0.0.1:8001:8000"],
        ]
        assert all("deploy" not in each for each in services(shipment("compose", CPU)).values())

    def test_the_preparation_is_in_a_profile_of_its_own(self) -> None:
        step = services(shipment("compose", models="/srv/models"))["my-pipeline-models"]
        assert step["profiles"] == ["prepare"]
        assert step["environment"]["PREPARE_MODELS"] == "1"
        assert step["environment"]["HF_HUB_OFFLINE"] == "0"
        assert step["volumes"] == [
            {
                "type": "bind",
                "source": "/srv/models",
                "bind": {"create_host_path": False},
                "target": "/models",
                "read_only": False,
            }
        ]

    def test_a_pipeline_without_weights_has_no_volume_and_no_preparation(self) -> None:
        made = shipment("compose", models="none")
        described = yaml.safe_load(files(made)["compose.yaml"])
        assert list(described["services"]) == ["my-pipeline"]
        assert "volumes" not in described | described["services"]["my-pipeline"]
        assert "prepare" not in files(made)["compose.yaml"]

    def test_what_does_not_fit_the_specification_is_not_written(self) -> None:
        from ai_runner_studio.export.emit import compose

        with pytest.raises(ManifestError, match=r"(?s)compose\.yaml:.*imagee"):
            compose._check("services: {a: {imagee: b}}\n")


class TestAiModels:
    def test_containers_that_the_orchestrator_starts(self) -> None:
        made = files(shipment("aimodels", plan(model_id="org/model"), replicas=2))
        assert json.loads(made["aiModels.json"]) == [
            {
                "pipeline": "live-video-to-video",
                "model_id": "org/model",
                "warm": True,
                "capacity": 2,
                "price_per_unit": 0,
                "pixels_per_unit": 1,
            }
        ]
        assert json.loads(made["aiRunnerImageOverrides.json"]) == {"live": {"org/model": IMAGE}}

    def test_runners_that_are_there_already(self) -> None:
        made = files(shipment("aimodels", replicas=2, runner_urls=("http://10.0.0.5:8000", "https://b.example/run")))
        external = json.loads(made["aiModels.external.json"])
        assert [each["url"] for each in external] == ["http://10.0.0.5:8000", "https://b.example/run"]
        assert all("token" not in each and "warm" not in each for each in external)

    def test_by_default_they_are_where_compose_puts_them(self) -> None:
        made = files(shipment("aimodels", replicas=2))
        urls = [each["url"] for each in json.loads(made["aiModels.external.json"])]
        assert urls == ["http://127.0.0.1:8000", "http://127.0.0.1:8001"]

    @pytest.mark.parametrize("url", ["10.0.0.5:8000", "ftp://a", "http://me:secret@host:8000", "http://a/?b=c"])
    def test_a_url_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(UsageError, match="no address of a runner"):
            emit(shipment("aimodels", runner_urls=(url,)))

    def test_a_field_that_no_orchestrator_knows_is_refused(self) -> None:
        with pytest.raises(ValueError, match="Extra inputs are not permitted"):
            AIModel.model_validate({"model_id": "a", "token": "secret"})


class TestRunners:
    def test_one_for_each_replica_with_the_settings_of_the_environment(self) -> None:
        environ = {"LIVE_RUNNER_PRICE": "0.25", "LIVE_RUNNER_METADATA": "hello", **SECRETS}
        runners = json.loads(files(shipment("runners", replicas=2, environ=environ))["runners.json"])["runners"]
        assert [(each["label"], each["runner_url"]) for each in runners] == [
            ("my-pipeline-0", "http://127.0.0.1:8000"),
            ("my-pipeline-1", "http://127.0.0.1:8001"),
        ]
        assert runners[0]["price_info"] == {"price": 0.25, "currency": "usd", "unit": "hour"}
        assert (runners[0]["app"], runners[0]["version"]) == ("live-video-to-video/my-pipeline", "1.2.0")

    def test_a_setting_of_no_use_is_told_by_its_name(self) -> None:
        with pytest.raises(UsageError, match=r"--emit runners: LIVE_RUNNER_PRICE .* no number"):
            emit(shipment("runners", environ={"LIVE_RUNNER_PRICE": "cheap"}))

    def test_the_others_turn_the_routes_on_with_it(self) -> None:
        alone, together = (
            services(Shipment(plan(), Terms(kinds=kinds)))["my-pipeline"]["environment"]
            for kinds in (("compose",), ("compose", "runners"))
        )
        assert "LIVE_RUNNER" not in alone
        assert together["LIVE_RUNNER"] == "1"


class TestAllKinds:
    @pytest.fixture(scope="class")
    def everything(self) -> list[Manifest]:
        return emit(Shipment(plan(), Terms(image=IMAGE, environ=SECRETS)))

    def test_every_kind_is_made_and_names_the_image(self, everything: list[Manifest]) -> None:
        assert [manifest.name for manifest in everything] == [
            "kubernetes-models.yaml",
            "kubernetes.yaml",
            "compose.yaml",
            "aiModels.json",
            "aiRunnerImageOverrides.json",
            "aiModels.external.json",
            "runners.json",
        ]
        with_image = {manifest.name for manifest in everything if IMAGE in manifest.text}
        assert with_image == {
            "kubernetes-models.yaml",
            "kubernetes.yaml",
            "compose.yaml",
            "aiRunnerImageOverrides.json",
        }

    def test_the_same_plan_gives_the_same_bytes(self, everything: list[Manifest]) -> None:
        assert emit(Shipment(plan(), Terms(kinds=tuple(reversed(KINDS)), image=IMAGE))) == everything

    def test_no_secret_is_in_them(self, everything: list[Manifest]) -> None:
        assert not [each.name for each in everything for secret in SECRETS.values() if secret in each.text]

    def test_the_image_is_the_plans_own_tag_unless_told_otherwise(self) -> None:
        overrides = files(Shipment(plan(), Terms(kinds=("aimodels",))))["aiRunnerImageOverrides.json"]
        assert json.loads(overrides) == {"live": {"my-pipeline": "my-pipeline:1.2.0"}}


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"image": "Registry/My-Pipeline"}, "--image 'Registry/My-Pipeline' is no reference"),
            ({"image": "a b"}, "is no reference"),
            ({"image": "https://registry.example/a:1"}, "is no reference"),
            ({"image": "a:1\nevil: true"}, "is no reference"),
            ({"image": "a" * 4000 + "!"}, "is no reference"),
            ({"replicas": 0}, "--replicas is 0"),
            ({"gpus": -1}, "--gpus is -1"),
            ({"models": "much"}, "neither a size, a folder nor none"),
            ({"models": "/srv/../etc"}, "neither a size, a folder nor none"),
            ({"models": "/srv/$HOME"}, "neither a size, a folder nor none"),
            ({"models": "/"}, "neither a size, a folder nor none"),
            ({"replicas": 2, "runner_urls": ("http://a:8000",)}, "--runner-url is given 1 times"),
            ({"kinds": ("helm",)}, "--emit 'helm' is no kind"),
        ],
    )
    def test_with_the_flag_and_the_way_out(self, given: dict[str, Any], said: str) -> None:
        with pytest.raises(UsageError, match=said) as refusal:
            Terms(**given)
        assert refusal.value.hint
        assert refusal.value.exit_code == 2

    @pytest.mark.parametrize("image", ["a", "a/b:1", "localhost/a:1.0", "host:5000/a/b__c@sha256:" + "0" * 64])
    def test_references_that_engines_take_are_taken(self, image: str) -> None:
        assert shipment("kubernetes", image=image).reference == image

    @pytest.mark.parametrize(
        ("kind", "module"), [("kubernetes", "kubernetes_validate"), ("kubernetes", "yaml"), ("compose", "yaml")]
    )
    def test_nothing_is_written_unchecked(self, kind: Kind, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=f"--emit {kind} needs .*not installed") as refusal:
            emit(shipment(kind))
        assert refusal.value.hint == "pip install 'ai-runner-studio[ship]'"


class TestWriting:
    TWO = (Manifest("a.json", "{}\n"), Manifest("b.json", "[]\n"))

    def test_the_folder_is_made_and_other_files_stay(self, tmp_path: Path) -> None:
        folder = tmp_path / "deep" / "ship"
        folder.mkdir(parents=True)
        (folder / "mine.txt").write_text("mine")
        (folder / "a.json").write_text("old")
        assert write(list(self.TWO), folder) == [folder / "a.json", folder / "b.json"]
        assert sorted(os.listdir(folder)) == ["a.json", "b.json", "mine.txt"]
        assert (folder / "a.json").read_text() == "{}\n"
        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE((folder / "a.json").stat().st_mode) == 0o666 & ~umask

    def test_all_of_them_or_none(self, tmp_path: Path) -> None:
        (tmp_path / "b.json").mkdir()
        with pytest.raises(ManifestError, match=r"cannot be written to .*: b\.json is a folder"):
            write(list(self.TWO), tmp_path)
        assert os.listdir(tmp_path) == ["b.json"]

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ManifestError, match="cannot be written") as refusal:
            write(list(self.TWO), tmp_path / "file" / "ship")
        assert "--emit-to" in refusal.value.hint
