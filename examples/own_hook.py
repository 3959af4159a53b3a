"""Your own hook: code that runs around training steps, here to log a metric."""

from pathlib import Path

import segkit
from segkit.engine import Hook, Trainer


@segkit.HOOK_REGISTRY.register
class LossShare(Hook):
    """Logs which share of the total loss one of the losses has, as ``share/NAME``.

    Args:
        loss: its name.
        period: iterations between two figures.
    """

    def __init__(self, *, loss: str = "mask", period: int = 10) -> None:
        self.loss = loss
        self.period = period

    def after_step(self, trainer: Trainer) -> None:
        if trainer.iteration % self.period == 0:
            share = trainer.losses[self.loss] / trainer.losses["total"]
            trainer.log(f"share/{self.loss}", share)  # a tensor: it is read from the device when metrics are written


if __name__ == "__main__":
    settings = {
        "output_dir": "output/own_hook",
        "hooks": [{"name": "LossShare", "loss": "mask", "period": 2}],
        "data.train": {"format": "synthetic", "num_images": 8, "image_size": [96, 96], "max_objects": 12},
        "data.val": None,
        "data.num_workers": 0,
        "train.iterations": 4,
        "train.log_period": 2,
    }
    segkit.train("segkit://quickstart.yaml", overrides=settings, restart=True)
    print(Path("output/own_hook/metrics.json").read_text())
