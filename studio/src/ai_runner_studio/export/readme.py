"""The README of a build context: how to build, prepare and run, with the plan's own names in the commands."""

from __future__ import annotations

from .plan import EPOCH_S, ImagePlan

_TEXT = """# {name} {version}

Build context of a production image: `{pipeline}`, served for Livepeer's network. Made by `ai-runner-studio
export-image`; nothing but a builder is needed. `image.json` is the plan that it was made by: every package with version
and hashes, and what of the project was left out.

| folder | |
|---|---|
| `req/` | requirements with hashes, one file for each layer |
| `pkgs/` | wheels of the project's own packages |
{wheels_row}| `tools/` | uv {uv}, which installs inside the build and does not stay in the image |

## Build

```sh
docker build -t {tag} .
podman build --format docker --timestamp {epoch} -t {tag} .
buildah build --layers --format docker --timestamp {epoch} -t {tag} .
```

One of them. Without `--format docker`, podman and buildah drop the health check; without `--layers`, buildah builds
everything each time; with `--timestamp`, two builds have the same layers. Another base image with Python {python}:
`--build-arg BASE_IMAGE=...`.

{network}

## Models

Weights are not in the image. They lie in `{models}`, a volume, and are prepared once, with access to the network:

```sh
docker run --rm {gpu}-v models:{models} -e HF_HUB_OFFLINE=0 -e PREPARE_MODELS=1 {tag}
```

A folder instead of a volume must be writable for user {uid} while models are prepared.

## Run

```sh
docker run --rm {gpu}-p 127.0.0.1:{port}:{port} -v models:{models}:ro {tag}
curl -s http://127.0.0.1:{port}/health
```

It says `LOADING`, then `IDLE`. The process runs as user {uid}, and ends in order at SIGTERM.
"""

_ONLINE = """The build takes packages from PyPI{torch}. Another index and a certificate of one's own are given as
secrets, which stay out of the image and its history (`index-url`, `extra-index-url` and `trusted-host` of a `pip.conf`
are read):

```sh
docker build --secret id=pip_conf,src=$HOME/.config/pip/pip.conf --secret id=ca_bundle,src=ca.pem -t {tag} .
```"""
_OFFLINE = "All wheels are in `wheels/`: the build needs no network, apart from the base image{apt}."


def readme(plan: ImagePlan) -> str:
    """The text."""
    torch = " and PyTorch's index" if "+" in plan.torch.version else ""
    apt = " and Debian packages" if plan.system_packages else ""
    network = _OFFLINE.format(apt=apt) if plan.offline else _ONLINE.format(torch=torch, tag=plan.tag)
    return _TEXT.format(
        name=plan.name,
        version=plan.version,
        pipeline=plan.pipeline_import,
        wheels_row="| `wheels/` | everybody else's wheels |\n" if plan.offline else "",
        uv=plan.installer.version,
        tag=plan.tag,
        epoch=EPOCH_S,
        python=plan.python,
        network=network,
        models=plan.models_dir,
        gpu="--gpus all " if plan.torch.needs_gpu else "",
        uid=plan.user.uid,
        port=plan.port,
    )
