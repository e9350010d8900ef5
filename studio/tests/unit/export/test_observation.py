"""Files of a project that processes open, and what is said of those that an image lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ai_runner_studio.export.observation import Observation, missing_files, warning_of
from ai_runner_studio.export.plan import LeftOut

CODE = """
import importlib, os, pathlib, subprocess, sys
sys.path.insert(0, "lib")
importlib.import_module("sh" + "ade")
open("data/" + "a.bin").close()
open(pathlib.Path("written.txt"), "w").close()
os.close(os.open(b"bytes.bin", os.O_RDONLY))
subprocess.run([sys.executable, "-c", "open('inner.txt').close()"], check=True)
open(sys.executable, "rb").close()
import sitecustomize
assert sitecustomize.MINE
"""


def test_what_processes_read_is_noted_and_a_sitecustomize_of_the_users_runs(tmp_path: Path) -> None:
    project, folder, site = tmp_path / "project", tmp_path / "folder", tmp_path / "site"
    for path in (project / "lib/shade.py", project / "data/a.bin", project / "bytes.bin", project / "inner.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    folder.mkdir()
    site.mkdir()
    (site / "sitecustomize.py").write_text("MINE = True\n")
    observation = Observation(project, folder)
    assert observation.files() == ()
    places = os.pathsep.join([observation.environment["PYTHONPATH"], str(site)])
    for _ in range(2):  # the second time the module is read from its compiled file
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-c", CODE]
        subprocess.run(command, cwd=project, env=environ | {"PYTHONPATH": places}, check=True, timeout=60)
        assert observation.files() == ("bytes.bin", "data/a.bin", "inner.txt", "lib/shade.py")
        (folder / "noted").unlink()


def test_those_that_the_image_lacks_are_named_with_the_way_out() -> None:
    left = [
        LeftOut(what="data/", why="outside of the package", bytes=9),
        LeftOut(what="model.pt", why="weights belong into the models folder", bytes=9),
        LeftOut(what=".venv", why="an environment"),
    ]
    missing = missing_files(["data/a.bin", "database.py", "effect.py", "model.pt", ".venv/lib/x.py"], left)
    assert [warning_of(one, packaged=False) for one in missing] == [
        "warning: the pipeline opens data/a.bin here, and the image lacks it (outside of the package); "
        "--include data/a.bin takes it in",
        "warning: the pipeline opens model.pt here, and the image lacks it (weights belong into the models folder)",
    ]
    assert "pyproject.toml" in warning_of(missing[0], packaged=True)
