"""The Dockerfile of a plan: what docker, podman and buildah of several years build alike.

Rules, each with what goes wrong otherwise:

- A hashed requirement file is copied before the step that installs it. Old buildah does not look into bind mounts when
  it decides whether a step is cached; the copied file is what changes.
- Bind mounts have absolute targets, come from the context, never from a stage, and are not written to.
- Secrets are mounted at their default place alone: mounted over a file, some builders delete that file.
- No here-documents, no ``COPY --link``, no ``# syntax`` line (it is fetched from a hub), no start interval.
- Labels are literal: some builders keep the old value of an ARG from the cache.
- One stage: a virtual environment that is copied from another stage is copied again, whole, at each change of code.
"""

from __future__ import annotations

import json

from .plan import EPOCH_S, ImagePlan, Layer

_EARLY = ("LANG", "PYTHONUNBUFFERED")  # what the steps of the build need too
# `python3` of the virtual environment; PORT may be another one when the container is started.
_PROBE = "import os,urllib.request as u;u.urlopen('http://127.0.0.1:%s/health/live'%os.environ.get('PORT','{port}'),timeout=3)"
INDEX_SETTINGS = "index_settings.py"  # in the context's tools/
# .pyc files by hash, since builders may change times of files; checked, since the project's steps may change a file.
_SAME_BYTES = f"SOURCE_DATE_EPOCH={EPOCH_S} PYTHONHASHSEED=0 PYC_INVALIDATION_MODE=CHECKED_HASH"
_UV = (
    "UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never "
    f"UV_HTTP_TIMEOUT=300 {_SAME_BYTES}"
)
# uv notes the time of a wheel's file, which only its own next run here would read.
_NO_TIMES = r"find /opt/venv -name uv_cache.json -execdir sed -i /uv_cache.json/d RECORD \; -delete"
_UNLOCK = "rm -f /opt/venv/.lock"  # uv makes it writable for everyone
_TOOLS = "--mount=type=bind,source=tools,target=/ctx/tools"
_OWN = "--mount=type=bind,source=pkgs,target=/ctx/pkgs"
_WHEELS = "--mount=type=bind,source=wheels,target=/ctx/wheels"
_SECRETS = "--mount=type=secret,id=ca_bundle --mount=type=secret,id=pip_conf"
# What the two secrets say, in uv's words. Each may be missing. Any index may have any package: its hash decides.
_CONFIGURE = (
    "export UV_INDEX_STRATEGY=unsafe-best-match",
    "if [ -s /run/secrets/ca_bundle ]; then export SSL_CERT_FILE=/run/secrets/ca_bundle; fi",
    "if [ -s /run/secrets/pip_conf ]; then",
    f"  indexes=$(/opt/venv/bin/python /ctx/tools/{INDEX_SETTINGS} /run/secrets/pip_conf)",
    '  eval "$indexes"',
    "fi",
)


def dockerfile(plan: ImagePlan) -> str:
    """The whole file."""
    parts = [*_beginning(plan), *_system(plan), _user(plan), _environment_of_python(plan)]
    steps = ["\n".join(plan.dockerfile_lines)] if plan.dockerfile_lines else []
    for layer in plan.layers:
        if layer.name in ("runner", "application"):
            parts, steps = [*parts, *steps], []
        parts += _install(plan, layer, last=layer is plan.layers[-1])
    return "\n\n".join([*parts, *steps, *_end(plan)]) + "\n"


def _beginning(plan: ImagePlan) -> list[str]:
    early = [f"{name}={plan.environment[name]}" for name in _EARLY if name in plan.environment]
    path = "VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH"
    return [
        f"# {plan.name} {plan.version}, made by ai-runner-studio export-image. README.md says how to build it.",
        f"ARG BASE_IMAGE={plan.base}\nFROM ${{BASE_IMAGE}}",
        f"ENV {' '.join([*early, path])}",
    ]


def _system(plan: ImagePlan) -> list[str]:
    if not plan.system_packages:
        return []
    return [
        "# hadolint ignore=DL3008\n"
        + _run(
            [],
            "apt-get update",
            f"apt-get install -y --no-install-recommends {' '.join(plan.system_packages)}",
            "rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/log/alternatives.log"
            " /var/cache/ldconfig/aux-cache",
        )
    ]


def _user(plan: ImagePlan) -> str:
    uid, gid = plan.user.uid, plan.user.gid
    return _run(
        [],
        f"export SOURCE_DATE_EPOCH={EPOCH_S}",  # shadow has the day on which a user was made
        f"groupadd --gid {gid} runner",
        f"useradd --no-log-init --uid {uid} --gid {gid} --create-home --home-dir /home/runner --shell /usr/sbin/nologin"
        " runner",
        f"mkdir -p {plan.models_dir}",
        f"chown {uid}:{gid} {plan.models_dir}",
    )


def _environment_of_python(plan: ImagePlan) -> str:
    system = " --system-site-packages" if plan.torch.from_base else ""
    return _run([_TOOLS], f"export {_UV}", f"/ctx/tools/uv venv -q --python {plan.python}{system} /opt/venv", _UNLOCK)


def _install(plan: ImagePlan, layer: Layer, last: bool) -> list[str]:
    """The step of one layer; the last one sees to it that everything fits together."""
    place = f"/opt/app/{layer.file}"
    own = any(one.origin == "own" for one in layer.requirements)
    foreign = any(one.origin != "own" for one in layer.requirements)
    mounts, flags = [_TOOLS], ["--no-deps", "--require-hashes", "--only-binary :all:"]
    before: tuple[str, ...] = ()
    if own:
        mounts, flags = [*mounts, _OWN], [*flags, "--find-links /ctx/pkgs"]
    if not foreign:
        flags = ["--offline", "--no-index", *flags]
    elif plan.offline:
        mounts, flags = [*mounts, _WHEELS], ["--offline", "--no-index", *flags, "--find-links /ctx/wheels"]
    else:
        mounts, before = [*mounts, _SECRETS], _CONFIGURE
        if layer.name == "torch" and "+" in plan.torch.version:
            flags.append(f"--index https://download.pytorch.org/whl/{plan.torch.flavour}")
    install = f"/ctx/tools/uv pip install -q {' '.join(flags)} -r {place}"
    # With a torch from the base image the check would miss it: it sees the virtual environment alone.
    check = ("/ctx/tools/uv pip check -q",) if last and not plan.torch.from_base else ()
    return [f"COPY {layer.file} {place}", _run(mounts, f"export {_UV}", *before, install, *check, _NO_TIMES, _UNLOCK)]


def _run(mounts: list[str], *commands: str) -> str:
    """A RUN of commands that ends at the first that fails."""
    script = ["set -e", *commands]
    joined = "".join(
        f" \\\n    {line}" + ("" if line.endswith("then") or last else ";")
        for line, last in ((line, line is script[-1]) for line in script)
    )
    return f"RUN{''.join(f' {mount}' for mount in mounts)}{joined}"


def _end(plan: ImagePlan) -> list[str]:
    late = {name: value for name, value in plan.environment.items() if name not in _EARLY}
    probe = json.dumps(["python3", "-c", _PROBE.format(port=plan.port)])
    return [
        _pairs("ENV", late),
        f"USER {plan.user.uid}:{plan.user.gid}\nWORKDIR /home/runner",
        f"EXPOSE {plan.port}\nSTOPSIGNAL SIGTERM",
        f"HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 CMD {probe}",
        _pairs("LABEL", plan.labels),
        f"CMD {json.dumps(list(plan.command))}",
    ]


def _pairs(instruction: str, values: dict[str, str]) -> str:
    return f"{instruction} " + " \\\n    ".join(f"{name}={_quoted(value)}" for name, value in sorted(values.items()))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
