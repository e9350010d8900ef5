"""Parts of an application: imports that are followed, names that are defined, entrypoints, builds of torch, git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ai_runner_studio.errors import ExportError
from ai_runner_studio.export.entrypoint import find_entrypoint, make_entrypoint
from ai_runner_studio.export.git_state import published_at, revision
from ai_runner_studio.export.inventory import Installed, Inventory
from ai_runner_studio.export.loose_modules import defines, reach_of
from ai_runner_studio.export.own_package import package_name
from ai_runner_studio.export.torch_build import flavour_of
from ai_runner_studio.export.wheel import WheelFile, files_of, write_wheel


def inventory(*installed: Installed) -> Inventory:
    return Inventory(
        python="3.11",
        prefix=Path("/nowhere"),
        system="linux",
        machine="x86_64",
        standard=frozenset({"os", "json"}),
        distributions={one.name: one for one in installed},
        origins={},
        torch_version="",
    )


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


class TestReach:
    def test_local_modules_are_taken_and_others_imports_are_told(self, tmp_path: Path) -> None:
        files = {
            "mine/__init__.py": "",
            "mine/pipeline.py": "import os, torch\nfrom common.colour import red\nfrom . import params\n",
            "mine/params.py": "import pydantic\ntry:\n    import xformers\nexcept ImportError:\n    pass\n",
            "mine/table.json": "[]",
            "common/colour.py": "import helpers\n",
            "helpers.py": "def late():\n    import scipy\n",
            "unused.py": "import pandas\n",
        }
        reach = reach_of(("mine",), written(tmp_path, files), inventory())
        assert sorted(reach.files) == [name for name in sorted(files) if name != "unused.py"]
        assert reach.foreign == {"torch": "mine/pipeline.py:1", "pydantic": "mine/params.py:1"}
        assert reach.optional == {"xformers", "scipy"}

    def test_files_that_a_module_names_by_its_own_place_are_taken(self, tmp_path: Path) -> None:
        text = """
import os
from pathlib import Path
HERE = Path(__file__).resolve().parent
ROOT = os.path.dirname(os.path.abspath(__file__))
class P:
    def __init__(self):
        self.lut = open(os.path.join(ROOT, "luts", "a.cube"), "rb").read()
        self.mask = (HERE / "mask.png").read_bytes()
        self.many = [Path(ROOT, "sets", name).read_text() for name in "xy"]
        self.late = open("late.txt")
        self.one = (HERE / f"curves/{self.many}.csv").read_text()
        self.all = list(HERE.glob("*.ico"))
        self.two = open(f"{ROOT}/two.dat")
"""
        names = ["luts/a.cube", "luts/b.cube", "mask.png", "sets/x", "sets/y", "late.txt", "notes.md"]
        names += ["curves/a.csv", "curves/a.txt", "one.ico", "two.dat"]
        reach = reach_of(
            ("effect",), written(tmp_path, {"effect.py": text, **dict.fromkeys(names, "data")}), inventory()
        )
        assert sorted(reach.files) == sorted(
            ["effect.py", "luts/a.cube", "mask.png", "sets/x", "sets/y", "curves/a.csv", "one.ico", "two.dat"]
        )
        assert reach.beside == {"late.txt": "effect.py:11"}

    def test_modules_that_are_imported_by_name_or_from_a_folder_on_the_path_are_taken(self, tmp_path: Path) -> None:
        files = {
            "effect.py": "import importlib, sys, os\nsys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))\n"
            "import colour\nred = importlib.import_module('extras.red')\nany = importlib.import_module(f'more.{red}')\n",
            "lib/colour.py": "import shade\n",
            "lib/shade.py": "",
            "extras/red.py": "",
            "more/__init__.py": "",
        }
        reach = reach_of(("effect",), written(tmp_path, {**files, "lib2/unused.py": ""}), inventory())
        assert sorted(reach.files) == sorted(files)
        assert not {"colour", "shade", "extras", "more"} & {*reach.foreign, *reach.optional}

    def test_a_file_named_like_the_runtime_is_not_taken_for_it(self, tmp_path: Path) -> None:
        files = {"effect.py": "from runner.live.pipelines import Pipeline\n", "runner.py": "import sdk\n"}
        reach = reach_of(("effect",), written(tmp_path, files), inventory())
        assert (list(reach.files), list(reach.foreign)) == (["effect.py"], ["runner"])

    def test_files_and_folders_are_included_on_request(self, tmp_path: Path) -> None:
        written(tmp_path, {"effect.py": "", "data/a.bin": "", "data/b.py": "import late\n", "late.py": "", ".env": ""})
        reach = reach_of(("effect",), tmp_path, inventory(), ("data/",))
        assert sorted(reach.files) == ["data/a.bin", "data/b.py", "effect.py", "late.py"]
        for place in ("nothing", ".env", "../x"):
            with pytest.raises(ExportError, match=f"include: {place}: no file"):
                reach_of(("effect",), tmp_path, inventory(), (place,))

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("fast.cpython-311-x86_64-linux-gnu.so", "compiled code"),
            ("fast.so", "compiled code"),
            ("mine/fast.abi3.so", "compiled code"),
        ],
    )
    def test_compiled_code_in_a_folder_needs_a_wheel(self, tmp_path: Path, name: str, said: str) -> None:
        written(tmp_path, {"mine/__init__.py": "import fast\n", name: ""})
        with pytest.raises(ExportError, match=said) as raised:
            reach_of(("mine",), tmp_path, inventory())
        assert "wheel" in raised.value.hint

    @pytest.mark.parametrize("inner", ["mine", "mine/pipeline.py"])
    def test_code_that_a_link_leads_out_of_the_project_for_is_refused(self, tmp_path: Path, inner: str) -> None:
        written(tmp_path / "else", {"mine/pipeline.py": "", "mine/__init__.py": ""})
        project = written(tmp_path / "project", {"a.py": ""})
        if inner != "mine":
            written(project, {"mine/__init__.py": ""})
        (project / inner).symlink_to(tmp_path / "else" / inner)
        with pytest.raises(ExportError, match=f"{inner}.* a link that leads out of the project"):
            reach_of(("mine",), project, inventory())

    def test_a_syntax_error_is_told_with_its_place(self, tmp_path: Path) -> None:
        with pytest.raises(ExportError, match=r"a\.py:2 is no valid Python"):
            reach_of(("a",), written(tmp_path, {"a.py": "x = 1\ndef (\n"}), inventory())

    @pytest.mark.parametrize(
        ("text", "defined"),
        [
            ("class P: pass", True),
            ("def P(frame, params): return frame", True),
            ("P = make()", True),
            ("from other import P", True),
            ("from other import Q as P", True),
            ("from other import *", True),
            ("if 1:\n    class P: pass", True),
            ("import P.x", True),
            ("class Q: pass", False),
            ("print('P')", False),
        ],
    )
    def test_whether_a_module_defines_a_name(self, tmp_path: Path, text: str, defined: bool) -> None:
        (tmp_path / "a.py").write_text(text)
        assert defines(tmp_path / "a.py", "P") is defined


MAIN = """
from runner.app import start_app
from runner.live.pipelines import PipelineSpec
def main(): start_app(PipelineSpec(name="tint-live", pipeline_cls="tint.pipeline:Tint", params_cls="tint.params:Params"))
"""


def wheel_of(folder: Path, scripts: dict[str, str], main: str = MAIN) -> WheelFile:
    return write_wheel(folder, "tint", "1.0", {"tint_runner/main.py": main.encode()}, scripts=scripts)


class TestEntrypoint:
    def test_the_packages_own_script_is_found_with_what_its_spec_says(self, tmp_path: Path) -> None:
        wheel = wheel_of(tmp_path, {"tint-runner": "tint_runner.main:main", "other": "nowhere:main"})
        found = find_entrypoint("tint.pipeline:Tint", wheel, inventory())
        assert found is not None
        assert (found.script, found.distribution, found.model_id, found.params_import) == (
            "tint-runner",
            "tint",
            "tint-live",
            "tint.params:Params",
        )

    def test_one_of_another_pipeline_is_none(self, tmp_path: Path) -> None:
        wheel = wheel_of(tmp_path, {"tint-runner": "tint_runner.main:main"})
        assert find_entrypoint("tint.pipeline:Other", wheel, inventory()) is None

    def test_another_installed_package_may_have_it(self, tmp_path: Path) -> None:
        main = written(tmp_path, {"main.py": "PIPELINE = 'tint.pipeline:Tint'\n"}) / "main.py"
        installed = Installed(
            "tint-live", "1.0", scripts={"tint-live": "x:main"}, script_files={"tint-live": str(main)}
        )
        found = find_entrypoint("tint.pipeline:Tint", None, inventory(installed))
        assert found is not None
        assert (found.script, found.distribution, found.model_id) == ("tint-live", "tint-live", "")

    def test_of_several_one_must_be_named(self, tmp_path: Path) -> None:
        wheel = wheel_of(tmp_path, {"a-runner": "tint_runner.main:main", "b-runner": "tint_runner.main:main"})
        with pytest.raises(ExportError, match=r"several console scripts serve .*: a-runner, b-runner"):
            find_entrypoint("tint.pipeline:Tint", wheel, inventory())
        found = find_entrypoint("tint.pipeline:Tint", wheel, inventory(), "b-runner")
        assert found is not None
        assert found.script == "b-runner"
        with pytest.raises(ExportError, match="no console script 'c-runner'"):
            find_entrypoint("tint.pipeline:Tint", wheel, inventory(), "c-runner")

    def test_one_that_is_made_is_a_script_with_the_spec_and_the_params(self, tmp_path: Path) -> None:
        wheel, made = make_entrypoint(
            tmp_path,
            name="tint-live",
            model_id="tint",
            version="1.0",
            pipeline="tint.pipeline:Tint",
            params=None,
            initial={"prompt": "a 'red' \"fox\"", "on": True},
            package="tint",
        )
        assert wheel.scripts == {"tint-live-runner": "tint_live_entrypoint:main"}
        assert wheel.requires == ("ai-runner-base", "tint")
        source = files_of(wheel.path)["tint_live_entrypoint/__init__.py"].decode()
        names: dict[str, object] = {}
        exec(compile(source.partition("def main")[0], "made", "exec"), names)
        spec = names["PIPELINE"]
        assert spec.initial_params == {"prompt": "a 'red' \"fox\"", "on": True}  # type: ignore[attr-defined]
        assert made.model_id == spec.name == "tint"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("version", "text", "flavour"),
    [
        ("2.13.0+cpu", "", "cpu"),
        ("2.13.0+cu130", "", "cu130"),
        ("2.9.0+rocm6.4", "", "rocm6.4"),
        ("2.13.0", "from typing import Optional\ncuda: Optional[str] = '13.0'\n", "cu130"),
        ("2.13.0", "cuda = '12.8'\nhip = None\n", "cu128"),
        ("2.13.0", "cuda: str | None = None\n", "cpu"),
    ],
)
def test_a_build_of_torch_is_known_by_its_version_file(version: str, text: str, flavour: str) -> None:
    assert flavour_of(version, text) == flavour


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"pyproject.toml": "[project]\nname = 'Tint'\n"}, ""),
        ({"pyproject.toml": "[project]\nname = 'Tint'\n[tool.uv]\npackage = true\n"}, "tint"),
        ({"pyproject.toml": "[project]\nname = 'Tint'\n[build-system]\nrequires = []\n"}, "tint"),
        ({"pyproject.toml": "[project]\nname = 'Tint'\n[build-system]\n[tool.uv]\npackage = false\n"}, ""),
        ({"pyproject.toml": "[project]\nname = 'Tint'\n[project.scripts]\na = 'a:b'\n"}, "tint"),
        ({"pyproject.toml": "[project]\nname = 'Tint'\n", "setup.py": ""}, "tint"),
        ({"setup.py": ""}, ""),
    ],
)
def test_an_application_that_is_not_built_is_no_package(tmp_path: Path, files: dict[str, str], name: str) -> None:
    assert package_name(written(tmp_path, files)) == name


class TestGit:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        written(tmp_path, {"a.py": "1\n"})
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
            subprocess.run(["git", "-C", str(tmp_path), *command], check=True, timeout=60)
        return tmp_path

    def test_a_revision_says_whether_there_are_other_files(self, repository: Path) -> None:
        clean = revision(repository, None)
        assert len(clean) == 40
        written(repository, {"image/Dockerfile": "FROM x\n"})
        assert revision(repository, repository / "image") == clean
        written(repository, {"a.py": "2\n"})
        assert revision(repository, repository / "image") == f"{clean}-dirty"

    def test_without_a_repository_there_is_none(self, tmp_path: Path) -> None:
        assert revision(tmp_path, None) == ""
        assert published_at(tmp_path) == ""

    @pytest.mark.parametrize(
        ("remote", "told"),
        [
            ("git@github.com:someone/tint.git", "https://github.com/someone/tint"),
            ("https://token:x@github.com/someone/tint.git", "https://github.com/someone/tint"),
            ("ssh://git@example.com/a/b", "https://example.com/a/b"),
            ("/srv/git/tint.git", ""),
            ("file:///srv/git/tint", ""),
        ],
    )
    def test_where_it_is_published_is_told_without_credentials(self, repository: Path, remote: str, told: str) -> None:
        subprocess.run(["git", "-C", str(repository), "remote", "add", "origin", remote], check=True, timeout=60)
        assert published_at(repository) == told
