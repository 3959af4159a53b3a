"""What a hook and a writer are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.engine.trainer import Trainer


class Hook:
    """Something that happens around training steps. Override what you need; :class:`Trainer` says what it offers.

    A hook of your own is registered, takes keyword-only arguments, and is named under ``hooks:`` in the configuration::

        @HOOK_REGISTRY.register
        class GradientNoise(Hook):
            def __init__(self, *, scale: float = 1e-3) -> None:
                self.scale = scale

            def after_step(self, trainer: Trainer) -> None:
                trainer.log("noise", self.scale)

    Where several processes train, each has all hooks, so that what they decide is the same everywhere. What is to happen once
    (writing, printing) asks ``segkit.utils.distributed.is_main()`` first. Writers are called in the first process only.

    A checkpoint has a hook's state by the hook's ``name``, which is its class's where nothing else is said. Of several hooks of
    one class each needs a name of its own as soon as they keep a state: ``hook.name = "fine"``, or in a configuration
    ``{name: GradientNoise, hook_name: fine, scale: 1e-4}``.

    It is called after the default hooks that change or measure the training (evaluation, early stopping), and before those
    that write.
    """

    name: str = "Hook"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def before_train(self, trainer: Trainer) -> None:
        """Once, before the first step; in a resumed run the state is back already."""

    def before_step(self, trainer: Trainer) -> None:
        """``trainer.iteration`` steps are done, and the next begins."""

    def after_step(self, trainer: Trainer) -> None:
        """The step is done and counted in ``trainer.iteration``; ``trainer.done`` says whether it was the last.

        If a run is interrupted in here, the resumed run calls it once more.
        """

    def after_train(self, trainer: Trainer) -> None:
        """Once, after the last step, where nothing went wrong."""

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Instead of ``after_train`` when the run ends with ``error``, KeyboardInterrupt of a signal included; the last hook
        first, which saves the run."""

    @property
    def keeps_state(self) -> bool:
        """Whether its class has a ``state_dict`` of its own."""
        return type(self).state_dict is not Hook.state_dict

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint should keep of this hook: tensors and plain values. Empty: nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What ``state_dict`` gave, before ``before_train``."""


class Writer:
    """A place where metrics go. Register yours in ``WRITER_REGISTRY`` and name it in a ``Writers`` hook."""

    def open(self, trainer: Trainer) -> None:
        """Before the first step."""

    def write(self, trainer: Trainer, record: Mapping[str, float]) -> None:
        """One line of metrics: ``iteration``, ``epoch``, ``loss/total``, ``loss/...``, ``lr``, ...; may hold NaN."""

    def close(self, trainer: Trainer) -> None:
        """After the last step, or when the run ends with an exception."""
