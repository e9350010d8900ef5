"""Form: the parameters of one Scope pipeline in one mode, made of its config class.

Scope's config classes check values and say how they are shown; this turns one into a params class of the runner, whose
JSON schema becomes the studio's form.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import get_annotations
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema

from runner.errors import ParamsError

from .params import ScopeParams
from .registry import ScopePipeline

# What Scope's server takes beside the fields of config classes (its docs/api): at loading, and for a running pipeline.
LOAD_EXTRAS = frozenset({"loras", "lora_merge_mode", "quantization", "vace_enabled", "vae_type"})
LIVE_EXTRAS = frozenset(
    {
        "ctrl_input",
        "denoising_step_list",
        "first_frame_image",
        "images",
        "kv_cache_attention_bias",
        "last_frame_image",
        "lora_scales",
        "manage_cache",
        "noise_controller",
        "noise_scale",
        "prompt_interpolation_method",
        "transition",
        "vace_context_scale",
        "vace_ref_images",
        "vace_use_input_video",
    }
)
_OURS = frozenset(ScopeParams.model_fields)
_SIZE = ("width", "height")


@dataclass(frozen=True, slots=True)
class Filled:
    """Params as a form has checked and completed them.

    Attributes:
        params: what the runner and the studio see of them.
        values: what Scope gets: parameter -> value; those that are None are left out.
        load_values: those whose change constructs the pipeline anew, its id among them.
    """

    form: Form
    params: ScopeParams
    values: Mapping[str, Any]

    @property
    def load_values(self) -> dict[str, Any]:
        named = {"pipeline": self.params.pipeline, **self.values}
        return {name: value for name, value in named.items() if name in self.form.load_names}


class Form:
    """What can be set of one pipeline in one mode.

    Attributes:
        pipeline: whose. mode: ``text`` or ``video``.
        load_names: parameters whose change constructs the pipeline anew.
    """

    def __init__(self, pipeline: ScopePipeline, mode: str, ids: Iterable[str]) -> None:
        self.pipeline = pipeline
        self.mode = mode
        self._fields: dict[str, FieldInfo] = dict(pipeline.config_class.model_fields)
        self._mode_defaults = _mode_defaults(pipeline.config_class, mode, self._fields)
        own = {name for name, field in self._fields.items() if _ui(field).get("is_load_param")}
        self.load_names = frozenset({*own, *LOAD_EXTRAS, "pipeline", *_SIZE})
        self._ids = tuple(ids)

    @cached_property
    def params_class(self) -> type[ScopeParams]:
        """A `ScopeParams` with the config class's own fields on top."""
        return self._make_class()

    @classmethod
    def of(cls, pipeline: ScopePipeline, input_mode: str | None, ids: Iterable[str]) -> Form:
        """The form for a mode, or for the pipeline's default mode.

        Raises:
            ParamsError: the pipeline does not have that mode.
        """
        there = modes(pipeline.config_class)
        if input_mode is not None and input_mode not in there:
            reason = f"Scope pipeline '{pipeline.id}' has no mode '{input_mode}', only {', '.join(there)}"
            raise ParamsError(reason, {"input_mode": reason})
        return cls(pipeline, input_mode or _default_mode(there), ids)

    def fill(self, params: Mapping[str, Any]) -> Filled:
        """Params checked, with all defaults filled in; the config class's own validators have the last word.

        Raises:
            ParamsError: with the reason for each refused field.
        """
        given = ScopeParams.check(params)
        extras = dict(given.model_extra or {})
        self._refuse_unknown(extras)
        known = {**extras, "width": given.width, "height": given.height}
        wanted = {**self._mode_defaults, **{name: value for name, value in known.items() if name in self._fields}}
        try:
            config = self.pipeline.config_class(**wanted)
        except ValidationError as error:
            raise _refusal(self.pipeline.config_class, error) from error
        checked = {name: getattr(config, name) for name in self._fields}
        checked |= {name: value for name, value in known.items() if name not in self._fields}
        shown = {name: value for name, value in checked.items() if name in self.params_class.model_fields}
        beside = {name: checked[name] for name in extras}
        ours = {name: getattr(given, name) for name in _OURS}
        ours |= {"pipeline": self.pipeline.id, "input_mode": self.mode}
        values = {name: value for name, value in checked.items() if value is not None}
        return Filled(self, self.params_class.model_construct(**{**beside, **shown, **ours}), values)

    def meant_for(self, other: Form, params: Mapping[str, Any]) -> dict[str, Any]:
        """Params that came when this form was shown, and are for another pipeline or mode.

        A screen sends all that it shows, and so this form's defaults too, which were nobody's choice: they are left
        out, and so is what the other does not know. Of params that are not the whole form everything is kept.
        """
        shown = set(self.params_class.model_fields) - _OURS
        if not shown <= params.keys():
            return dict(params)
        usual = self._defaults_as_json()
        foreign = {name for name in shown if name not in other.known or params[name] == usual.get(name)}
        return {name: value for name, value in params.items() if name not in foreign}

    @property
    def known(self) -> set[str]:
        """Names of all parameters that are accepted."""
        return {*_OURS, *self._fields, *LOAD_EXTRAS, *LIVE_EXTRAS}

    def _defaults_as_json(self) -> dict[str, Any]:
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in self.params_class.model_fields.items()
            if not field.is_required()
        }
        return self.params_class.model_construct(**defaults).model_dump(mode="json")

    def _refuse_unknown(self, extras: Mapping[str, Any]) -> None:
        refused = {}
        for name in extras:
            if name not in self.known:
                near = difflib.get_close_matches(name, self.known, n=1)
                guess = f"; did you mean '{near[0]}'?" if near else ""
                refused[name] = f"Scope pipeline '{self.pipeline.id}' has no such parameter{guess}"
        if refused:
            raise ParamsError("; ".join(f"{name}: {reason}" for name, reason in refused.items()), refused)

    # ---- the class -------------------------------------------------------------------------

    def _make_class(self) -> type[ScopeParams]:
        config_class = self.pipeline.config_class
        fields: dict[str, Any] = {"pipeline": self._pipeline_field()}
        there: Any = tuple(modes(config_class))
        if len(there) > 1:
            described = ScopeParams.model_fields["input_mode"].description
            fields["input_mode"] = (Literal[there], Field(default=self.mode, description=described))
        else:
            fields["input_mode"] = (SkipJsonSchema[str], self.mode)
        if not getattr(config_class, "supports_prompts", True):
            prompts = ScopeParams.model_fields["prompts"]
            fields["prompts"] = (SkipJsonSchema[object], prompts.default)
        for name in self._shown():
            fields[name] = self._field(name)
        title = str(getattr(config_class, "pipeline_name", "") or self.pipeline.id)
        return create_model(
            "ScopeForm",
            __base__=ScopeParams,
            __module__=__name__,
            __doc__=str(getattr(config_class, "pipeline_description", "") or title),
            __cls_kwargs__={"title": title},
            **fields,
        )

    def _pipeline_field(self) -> tuple[Any, Any]:
        field = copy.copy(ScopeParams.model_fields["pipeline"])
        field.default, field.default_factory = self.pipeline.id, None
        field.metadata = []
        ids: Any = tuple(sorted({self.pipeline.id, *self._ids}))
        return (Literal[ids], field)

    def _shown(self) -> list[str]:
        """Fields of the form: the config class's own and what its mode sets, by the order that Scope shows them in.

        Those that every config class inherits mean nothing to most pipelines; they are accepted, but not shown.
        """
        own = {name for base in _own_classes(self.pipeline.config_class) for name in get_annotations(base)}
        names = [name for name in self._fields if (name in own or name in self._mode_defaults) and name not in _OURS]
        shown = [name for name in names if self._in_mode(name) and _has_schema(self._fields[name])]
        return sorted(shown, key=lambda name: _ui(self._fields[name]).get("order", len(names)))

    def _in_mode(self, name: str) -> bool:
        modes = _ui(self._fields[name]).get("modes")
        return not modes or self.mode in modes

    def _field(self, name: str) -> tuple[Any, FieldInfo]:
        field = copy.copy(self._fields[name])
        if name in self._mode_defaults:
            field.default, field.default_factory = self._mode_defaults[name], None
        label = _ui(field).get("label")
        if label:
            field.title = str(label)
        if name in self.load_names:
            field.description = f"{field.description or ''} A change loads the pipeline anew.".strip()
        return (field.annotation, field)


def _own_classes(config_class: Any) -> list[Any]:
    """The config class and its bases, but Scope's base class, from which all of them come."""
    line = [base for base in config_class.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]
    return line[:-1] or line


def modes(config_class: Any) -> dict[str, Any]:
    """Mode -> its settings, as the config class declares them; one that declares none works on video."""
    return dict(getattr(config_class, "modes", None) or {"video": None})


def _default_mode(there: Mapping[str, Any]) -> str:
    marked = [mode for mode, settings in there.items() if getattr(settings, "default", False)]
    return (marked or list(there))[0]


def _mode_defaults(config_class: Any, mode: str, fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """What a mode sets of the config class's fields; the size is the stream's affair."""
    settings = modes(config_class).get(mode)
    values = settings.model_dump(exclude_none=True) if isinstance(settings, BaseModel) else dict(settings or {})
    return {name: value for name, value in values.items() if name in fields and name not in _SIZE}


def _ui(field: FieldInfo) -> dict[str, Any]:
    """How Scope's own screen shows a field."""
    extra = field.json_schema_extra
    ui = extra.get("ui") if isinstance(extra, dict) else None
    return dict(ui) if isinstance(ui, dict) else {}


def _has_schema(field: FieldInfo) -> bool:
    """Whether a field can be shown at all: a type such as a tensor has no JSON schema."""
    try:
        annotated: Any = Annotated[field.annotation, field]
        TypeAdapter(annotated).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        return False
    return True


def _refusal(config_class: Any, error: ValidationError) -> ParamsError:
    refused = {
        ".".join(str(part) for part in item["loc"]) or "params": f"{item['msg']} (got {item['input']!r})"
        for item in error.errors()
    }
    text = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
    return ParamsError(f"{config_class.__name__} refuses {text}", refused)
