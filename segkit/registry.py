"""The registries: a table of contents of everything in segkit that can be extended.

A *spec* is a mapping ``{name: X, argument: value, ...}``. A registry turns the name into a class and, with
:meth:`Registry.build`, the spec into an object. What only the builder knows (channels, strides, the number of classes)
are the constructor's positional parameters and come from ``runtime``; what a configuration may say is keyword-only.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fvcore.common.registry import Registry as FvcoreRegistry

from segkit.utils.errors import SegkitError, did_you_mean


@dataclass(frozen=True)
class Slot:
    """Marks a parameter as a component: ``neck: Annotated[nn.Module, Slot(NECK_REGISTRY)]``.

    Attributes:
        registry: where the component's name is looked up.
        gives: run-time values for the siblings built after this one, as ``{run-time name: attribute of the component}``.
    """

    registry: Registry
    # Not hashed: typing hashes what stands in Optional[Annotated[...]].
    gives: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class SlotList:
    """Marks a parameter as a list of components of one registry."""

    registry: Registry


class Registry(FvcoreRegistry):
    """Maps a name to a component class.

    Args:
        name: what is printed in messages, as ``BACKBONE``.
        home: the package whose import registers the components that come with segkit. It is imported at the first
            look-up, by name: so nothing is loaded before it is needed, and the registries stay at the left of the layers.
        key: the key of a spec that holds the name.
        label: a key by which any spec may give its component a name of its own, which becomes its attribute ``name``.
    """

    def __init__(self, name: str, home: str = "", key: str = "name", label: str | None = None) -> None:
        super().__init__(name)
        self.home = home
        self.key = key
        self.label = label
        self._loaded = False

    def register(self, obj: Any = None, *, name: str | None = None) -> Any:
        """``@REG.register``, ``@REG.register()``, ``@REG.register(name="X")`` or ``REG.register(obj)``: all return ``obj``."""
        if obj is None:
            return functools.partial(self.register, name=name)
        name = name or obj.__name__
        known = self._obj_map.get(name)
        if known is not None and not _same_source(known, obj):
            raise SegkitError(
                f"{self._name} registry: '{name}' is registered already, by {known.__module__}.{known.__qualname__}; "
                f"{obj.__module__}.{obj.__qualname__} needs another name",
                value=name,
            )
        self._obj_map[name] = obj
        return obj

    def get(self, name: str) -> Any:
        """The component of that name; SegkitError with the nearest names where there is none."""
        self._load_home()
        if name not in self._obj_map:
            raise SegkitError(
                f"no {self.title} is called '{name}'{did_you_mean(name, self._obj_map)}",
                value=name,
                choices=self._obj_map,
            )
        return self._obj_map[name]

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load_home()
        return sorted(self._obj_map)

    @property
    def title(self) -> str:
        """The registry's name in words, for messages: ``proposal generator``."""
        return self._name.lower().replace("_", " ")

    def __contains__(self, name: object) -> bool:
        self._load_home()
        return name in self._obj_map

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        self._load_home()
        return iter(sorted(self._obj_map.items()))

    def _load_home(self) -> None:
        if not self._loaded and self.home:
            self._loaded = True  # before the import: the home's own modules may look something up
            try:
                importlib.import_module(self.home)
            except BaseException:
                self._loaded = False
                raise

    def build(self, spec: Mapping[str, Any], *, path: str = "", **runtime: Any) -> Any:
        """Build the component that ``spec`` describes, with the components in its own slots.

        Args:
            spec: ``{name: X, argument: value, ...}``.
            path: the spec's key path in the configuration, for messages.
            runtime: values for positional parameters, by parameter name; those a constructor does not ask for are left.
        Raises:
            SegkitError: unknown name or argument; a ValueError of the constructor, prefixed with the key path.
        """
        path = path or self.title
        name = spec.get(self.key)
        if not isinstance(name, str):
            raise SegkitError(f"{path}: '{self.key}' is missing, which says what {self.title} to build", key=path)
        try:
            component = self.get(name)
        except SegkitError as error:
            raise SegkitError(f"{path}.{self.key}: {error}", key=path, value=name, choices=error.choices) from None
        schema = signature_of(component)
        runtime = dict(runtime)
        arguments: dict[str, Any] = {}
        for key in spec:
            if key not in (self.key, self.label) and key not in schema.options:
                raise SegkitError(unknown_argument(name, key, schema, f"{path}.{key}"), key=f"{path}.{key}")
        for key, parameter in schema.options.items():
            value = spec.get(key, parameter.default)
            if value is inspect.Parameter.empty:
                raise SegkitError(f"{path}: {name} needs the argument '{key}'", key=f"{path}.{key}")
            slot = schema.slots.get(key)
            if isinstance(slot, Slot) and isinstance(value, Mapping):
                value = slot.registry.build(value, path=f"{path}.{key}", **runtime)
            elif isinstance(slot, SlotList) and isinstance(value, (list, tuple)):
                value = [
                    slot.registry.build(v, path=f"{path}.{key}.{i}", **runtime) if isinstance(v, Mapping) else v
                    for i, v in enumerate(value)
                ]
            if isinstance(slot, Slot) and value is not None:
                for given, attribute in slot.gives.items():
                    if not hasattr(value, attribute):
                        raise SegkitError(
                            f"{path}.{key}: {type(value).__name__} has no '{attribute}', which the parts after it read",
                            key=f"{path}.{key}",
                        )
                    runtime[given] = getattr(value, attribute)
            arguments[key] = value
        missing = [
            p for p in schema.runtime if p not in runtime and schema.runtime[p].default is inspect.Parameter.empty
        ]
        assert not missing, f"{path}: the builder of {name} gave no {', '.join(missing)}"
        # By keyword: a component may leave out run-time values in the middle of the builder's list.
        arguments.update({p: runtime[p] for p in schema.runtime if p in runtime})
        try:
            built = component(**arguments)
        except SegkitError as error:
            text = str(error) if str(error).startswith(path) else f"{path}: {error}"
            raise SegkitError(text, key=error.key or path, value=error.value, choices=error.choices) from error
        except ValueError as error:
            raise SegkitError(f"{path}: {error}", key=path) from error
        except (RuntimeError, TypeError, OverflowError, MemoryError) as error:
            if not _too_large(error):
                raise
            line = str(error).partition("\n")[0]
            raise SegkitError(f"{path}: {name} is too large to be made: {line}", key=path) from error
        if self.label is not None and self.label in spec:
            built.name = spec[self.label]
        return built


def _too_large(error: Exception) -> bool:
    """Whether there is no room for what an argument asks for: torch tells that by other errors as well."""
    signs = ("overflow", "too large", "allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in signs)


@dataclass(frozen=True)
class Signature:
    """A constructor, read as a schema.

    Attributes:
        runtime: parameters that only the builder fills.
        options: keyword-only parameters: what a spec may say.
        annotations: types of all parameters, ``Annotated`` kept.
        slots: which options are themselves components.
    """

    runtime: dict[str, inspect.Parameter]
    options: dict[str, inspect.Parameter]
    annotations: dict[str, Any]
    slots: dict[str, Slot | SlotList]


@functools.cache
def signature_of(component: Callable[..., Any]) -> Signature:
    """Read a component's constructor (or a factory function's parameters) as a schema."""
    function: Any = component.__init__ if inspect.isclass(component) else component
    parameters = dict(inspect.signature(component).parameters)
    try:
        annotations = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise SegkitError(
            f"{component.__module__}.{component.__qualname__}: cannot read its annotations: {error}"
        ) from error
    kinds = inspect.Parameter
    runtime = {n: p for n, p in parameters.items() if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)}
    options = {n: p for n, p in parameters.items() if p.kind is kinds.KEYWORD_ONLY}
    slots = {n: s for n in options if (s := find_slot(annotations.get(n))) is not None}
    return Signature(runtime, options, annotations, slots)


def find_slot(annotation: Any) -> Slot | SlotList | None:
    """The Slot inside an annotation, also under ``Optional``."""
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, (Slot, SlotList)):
            return extra
    for inner in typing.get_args(annotation):
        if (slot := find_slot(inner)) is not None:
            return slot
    return None


def unknown_argument(name: str, key: str, schema: Signature, where: str) -> str:
    """The message for an argument that a component does not take."""
    if key in schema.runtime:
        return f"{where}: '{key}' of {name} is worked out when the model is built and cannot be set"
    if not schema.options:
        return f"{where}: {name} has no argument '{key}'; it takes none"
    return f"{where}: {name} has no argument '{key}'{did_you_mean(key, schema.options)}"


def _same_source(known: Any, obj: Any) -> bool:
    """Whether two objects are the same definition, imported twice (a notebook cell run again, a module reloaded)."""
    return (known.__module__, known.__qualname__) == (obj.__module__, obj.__qualname__)


META_ARCH_REGISTRY = Registry("META_ARCH", "segkit.modeling.meta_arch")
BACKBONE_REGISTRY = Registry("BACKBONE", "segkit.modeling.backbones")
NECK_REGISTRY = Registry("NECK", "segkit.modeling.necks")
ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR", "segkit.modeling.proposals")
PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR", "segkit.modeling.proposals")
RPN_HEAD_REGISTRY = Registry("RPN_HEAD", "segkit.modeling.proposals")
ROI_HEADS_REGISTRY = Registry("ROI_HEADS", "segkit.modeling.roi_heads")
ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD", "segkit.modeling.roi_heads")
ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD", "segkit.modeling.roi_heads")
TRANSFORM_REGISTRY = Registry("TRANSFORM", "segkit.data.transforms")
DATASET_FORMAT_REGISTRY = Registry("DATASET_FORMAT", "segkit.data.formats", key="format")
SAMPLER_REGISTRY = Registry("SAMPLER", "segkit.data.samplers")
OPTIMIZER_REGISTRY = Registry("OPTIMIZER", "segkit.solver.optimizers")
SCHEDULE_REGISTRY = Registry("SCHEDULE", "segkit.solver.schedules")
HOOK_REGISTRY = Registry("HOOK", "segkit.engine.hooks", label="hook_name")
EVALUATOR_REGISTRY = Registry("EVALUATOR", "segkit.evaluation")
WRITER_REGISTRY = Registry("WRITER", "segkit.engine.hooks")

ALL_REGISTRIES = tuple(value for value in list(globals().values()) if isinstance(value, Registry))
