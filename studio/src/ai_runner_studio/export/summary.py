"""A plan in words and columns, for a person to read."""

from __future__ import annotations

from .plan import ImagePlan, LeftOut


def summary(plan: ImagePlan) -> str:
    """What the image will be, and what will not be in it."""
    torch = f"{plan.torch.version} ({plan.torch.flavour})" if plan.torch.version else "none"
    rows = {
        "image": plan.tag,
        "pipeline": plan.pipeline_import,
        "params": plan.params_import or "-",
        "model id": plan.model_id,
        "command": " ".join(plan.command),
        "base": f"{plan.base}, Python {plan.python}, {plan.platform}",
        "torch": "from the base image" if plan.torch.from_base else torch,
        "system": ", ".join(plan.system_packages) or "-",
        "models": f"{plan.models_dir}, not in the image",
        "runs as": f"user {plan.user.uid}, port {plan.port}",
    }
    lines = [f"{name:<10}{value}" for name, value in rows.items()]
    lines += ["", "layers, in the order in which they change:"]
    for layer in plan.layers:
        origins = sorted({one.origin for one in layer.requirements})
        count = len(layer.requirements)
        packages = "package" if count == 1 else "packages"
        lines.append(f"  {layer.name:<14}{count:>3} {packages}, from {', '.join(origins)}")
    lines += ["", "own packages:"]
    for own in plan.own:
        made = ", made for the image" if own.generated else ""
        lines.append(f"  {own.name} {own.version} ({own.role}{made}), {size_text(own.bytes)}")
    if plan.dockerfile_lines:
        lines += ["", "the project's own steps:", *(f"  {line}" for line in plan.dockerfile_lines)]
    if plan.left_out:
        lines += ["", "not in the image:", *map(_left_out, plan.left_out)]
    return "\n".join(lines)


def _left_out(one: LeftOut) -> str:
    size = f" ({size_text(one.bytes)})" if one.bytes is not None else ""
    return f"  {one.what}{size}: {one.why}"


def size_text(size_bytes: int) -> str:
    """``12 kB``, ``3.4 MB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    if size_bytes < 1_000_000:
        return f"{size_bytes / 1000:.0f} kB"
    return f"{size_bytes / 1e6:.1f} MB"
