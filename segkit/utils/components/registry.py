"""The class of registries, which build components from specs.

fvcore's Registry is not the base class: its ``register(obj)`` returns None, so that ``@REG.register`` would replace the class
by None, and it has no schemas, no suggestions and no lazy imports.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from segkit.utils.components.adapter import Foreign
from segkit.utils.components.construction import (
    check_arguments,
    check_component,
    construct,
    missing_name,
    option_values,
)
from segkit.utils.components.dotted_path import dotted_hint, locate_class
from segkit.utils.components.signature import (
    Signature,
    same_source,
    signature_of,
    source_of,
)
from segkit.utils.errors import SegkitError, did_you_mean
from segkit.utils.lazy import being_imported, import_once


class Registry:
    """Maps names to component classes, and builds components from specs.

    Args:
        name: the registry's name in messages, as ``BACKBONE``.
        home: the package whose import registers the components that come with segkit. It is imported by name at the first
            look-up, so that nothing is loaded before it is needed and this module imports none of them.
        key: the key of a spec that holds the component's name.
        runtime: names of the values that the builder passes. Positional parameters of these names are filled by the
            builder, all others by the configuration. None: the names are not known before something is built.
        makes: attributes that each finished component must have.
        hint: the advice in the message if it lacks one.
        label: a key by which any spec may set its component's attribute ``name``.
    """

    def __init__(
        self,
        name: str,
        home: str = "",
        key: str = "name",
        *,
        runtime: Sequence[str] | None = None,
        makes: Sequence[str] = (),
        hint: str = "",
        label: str | None = None,
    ) -> None:
        self._name = name
        self._obj_map: dict[str, Any] = {}
        self.home = home
        self.key = key
        self.runtime = None if runtime is None else frozenset(runtime)
        self.makes = tuple(makes)
        self.hint = hint or (f"see those in {home}, and the classes they derive from" if home else "")
        self.label = label
        self._loaded = False
        self._foreign: Foreign | None = None

    def register(self, obj: Any = None, *, name: str | None = None) -> Any:
        """Registers a class or function and returns it; a decorator, with or without arguments.

        Args:
            obj: a class, or a function that returns a component.
            name: by which specs name it; None: its own.
        Raises:
            SegkitError: ``obj`` is no class or function, has no name, or another one is registered by that name.
        """
        if obj is None:
            return functools.partial(self.register, name=name)
        if not (inspect.isclass(obj) or inspect.isroutine(obj) or isinstance(obj, functools.partial)):
            raise SegkitError(
                f"{self._name} registry: expected a class, or a function that returns a {self.title}; given {obj!r:.80} of "
                f"the type {type(obj).__name__}. Register an object's class; write a name as register(name='MyName')"
            )
        name = name or getattr(obj, "__name__", None)
        if not isinstance(name, str) or not name or name == "<lambda>":
            raise SegkitError(f"{self._name} registry: {source_of(obj)} has no name; give register(..., name='MyName')")
        known = self._obj_map.get(name)
        if known is not None and not same_source(known, obj):
            raise SegkitError(
                f"{self._name} registry: '{name}' is registered already, by {source_of(known)}; "
                f"{source_of(obj)} needs another name",
                value=name,
            )
        self._obj_map[name] = obj
        return obj

    def adapts(self, kind: type, *modules: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        """Decorates the function that turns classes of another library into components.

        After ``@REG.adapts(torch.optim.Optimizer, "torch.optim")`` a spec may name any subclass of that base, registered
        or by its dotted path. The function takes the class and returns the component.
        """

        def decorate(adapt: Callable[[Any], Any]) -> Callable[[Any], Any]:
            self._foreign = Foreign(kind, modules, functools.cache(adapt))
            return adapt

        return decorate

    def get(self, name: str) -> Any:
        """Returns the component of a name or dotted path.

        Raises:
            SegkitError: there is none; the message has the nearest names.
        """
        self._load_home()
        component, foreign = self._obj_map.get(name), self._foreign
        if component is None and "." in name and foreign is not None:
            component = locate_class(name, foreign.kind, self.title, foreign.modules)
        if component is None:
            word, hint = name.rpartition(".")[2], ""
            if foreign is not None and word.lower() not in map(str.lower, self._obj_map):
                hint = dotted_hint(word, foreign.kind, foreign.modules)
            hint = hint or did_you_mean(word, self._obj_map)
            raise SegkitError(f"no {self.title} is called '{name}'{hint}", value=name, choices=self._obj_map)
        if foreign is not None and inspect.isclass(component) and issubclass(component, foreign.kind):
            return foreign.adapt(component)
        return component

    def takes_path(self, path: str) -> bool:
        """Whether a dotted path names a component of another library for this registry."""
        self._load_home()
        try:
            return "." in path and self._foreign is not None and self.get(path) is not None
        except SegkitError:
            return False

    def signature(self, name: str) -> Signature:
        """Returns the schema of the component of that name.

        Raises:
            SegkitError: there is no such component, or its parameters cannot be read.
        """
        schema = signature_of(self.get(name), self.runtime)
        self._check_key(name, schema)
        return schema

    def _check_key(self, name: str, schema: Signature) -> None:
        """Raises if the component requires a parameter called like the key that names it."""
        parameter = schema.options.get(self.key)
        if parameter is not None and parameter.default is inspect.Parameter.empty:
            raise SegkitError(
                f"{name} has a parameter '{self.key}', but that key of a spec names the {self.title}; rename the parameter",
                value=name,
            )

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load_home()
        return sorted(self._obj_map)

    @property
    def title(self) -> str:
        """The registry's name in words, for messages: ``proposal generator``."""
        return self._name.lower().replace("_", " ")

    def __repr__(self) -> str:
        return f"Registry({self._name!r})"

    def __contains__(self, name: object) -> bool:
        self._load_home()
        return name in self._obj_map

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Yields names and components, sorted; foreign classes as adapted components."""
        return iter([(name, self.get(name)) for name in self.names()])

    def _load_home(self) -> None:
        """Imports the home; returns once its components are registered, whichever thread imports it."""
        if self._loaded or not self.home:
            return
        # A module of the home may look up a component while the home is imported: it is not loaded yet then.
        self._loaded = not being_imported(import_once(self.home))

    def build(self, spec: Mapping[str, Any], *, path: str = "", **runtime: Any) -> Any:
        """Builds the component that ``spec`` describes, and the components in its slots before it.

        Args:
            spec: ``{name: X, argument: value, ...}``.
            path: the spec's key path in the configuration, for messages.
            runtime: values of positional parameters, by name; those that a constructor lacks are ignored.
        Raises:
            SegkitError: unknown name or argument, or a ValueError of the constructor, with the key path in front.
        """
        path = path or self.title
        name = spec.get(self.key)
        if not isinstance(name, str):
            raise SegkitError(f"{path}: {missing_name(spec, self.key, self.title)}", key=path)
        try:
            component = self.get(name)
            schema = self._signature_for(component, spec, runtime)
            self._check_key(name, schema)
        except SegkitError as error:
            raise SegkitError(f"{path}.{self.key}: {error}", key=path, value=name, choices=error.choices) from None
        runtime = dict(runtime)
        given = {key: value for key, value in spec.items() if key not in (self.key, self.label)}
        check_arguments(name, given, schema, runtime, path)
        arguments = option_values(name, given, schema, runtime, path)
        # By keyword: a component need not take every run-time value of the builder's list.
        arguments.update({p: runtime[p] for p in schema.runtime if p in runtime})
        made = construct(component, schema, arguments, name, path)
        check_component(made, self.makes, name, path, title=self.title, hint=self.hint)
        if self.label is not None and self.label in spec:
            made.name = spec[self.label]
        return made

    def _signature_for(self, component: Any, spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> Signature:
        """The schema, in which a positional parameter that only the spec has is an option."""
        if self.runtime is not None:
            return signature_of(component, self.runtime.union(runtime))
        positional = signature_of(component).runtime.keys()
        return signature_of(component, frozenset(positional - (spec.keys() - runtime.keys())))
