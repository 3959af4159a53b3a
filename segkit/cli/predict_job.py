"""The model, inputs and writers of ``segkit predict``, loaded once for all shards."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from typing import Any

import torch

from segkit.cli.shipped import find_config
from segkit.data.formats.id_map import id_map_category_ids, load_id_map
from segkit.evaluation.submission import RESULTS_NAME, ZIP_NAME
from segkit.inference.find_inputs import find_inputs
from segkit.inference.predict_files import name_inputs
from segkit.inference.predictor import Predictor
from segkit.inference.series import Linker, find_series
from segkit.inference.shards import Shard
from segkit.results.base import ResultWriter
from segkit.results.build import build_writers, check_writers, writer_spec
from segkit.results.identity import prediction_identity
from segkit.results.part_files import PartFiles
from segkit.results.prediction_run import PredictionRun
from segkit.utils.errors import SegkitError
from segkit.utils.paths import output_file, output_folder, prepare_folder


class PredictJob:
    """The model, inputs and writers of a command.

    Args:
        options: of ``segkit predict``.
        device: where the model runs; None: a GPU if there is one.
    Raises:
        SegkitError: an argument is wrong; nothing is written then.
    """

    def __init__(self, options: argparse.Namespace, device: str | torch.device | None = None) -> None:
        self.options = options
        self.specs = writer_specs(options)
        self.output = output_folder(options.output, "--output")
        check_writers(self.specs, self.output)
        overlays = output_folder(self.output / "overlays", "--output")
        for name in ("predictions.json", *((RESULTS_NAME, ZIP_NAME) if options.id_map is not None else ())):
            output_file(self.output / name, "--output")
        self.id_map = load_id_map(options.id_map) if options.id_map is not None else []
        found = find_inputs(options.inputs, own_output=overlays)
        self.predictor = load_predictor(options, device)
        self.make_linker = linker_factory(options)
        self.inputs: Mapping[str, Any] = (
            find_series(found.files, self.predictor.reader)
            if options.series
            else name_inputs(
                found.files,
                self.id_map,
                skipped=found.skipped,
                skip_unreadable=options.skip_unreadable,
                reader=self.predictor.reader,
            )
        )
        self.category_ids = self.predictor.category_ids
        if self.id_map and not getattr(self.predictor.model, "class_agnostic", False):
            ids = id_map_category_ids(options.id_map, self.predictor.classes)  # of the COCO file, if it is one
            self.category_ids = ids or self.category_ids
        self.identity = prediction_identity(
            self.predictor,
            self.inputs,
            weights=options.weights,
            id_map=options.id_map,
            writers=self.specs,
            batch_size=options.batch_size,
        )
        if self.make_linker is not None:
            self.identity["series"] = f"linked with {self.make_linker.keywords}"

    def run_of(self, shard: Shard) -> PredictionRun:
        """The prediction of a shard of the inputs; makes the output folder."""
        prepare_folder(self.output, "--output")
        return PredictionRun(
            self.output,
            self.inputs,
            self.make_writers,
            self.identity,
            shard=shard,
            batch_size=self.options.batch_size,
            make_linker=self.make_linker,
        )

    def make_writers(self, parts: PartFiles) -> list[ResultWriter]:
        """The writers, which append to these parts."""
        return build_writers(
            self.specs,
            output=self.output,
            classes=self.predictor.classes,
            category_ids=self.category_ids,
            parts=parts,
            image_ids={entry.file_name: entry.image_id for entry in self.id_map},
            id_map=self.id_map,
        )


def linker_factory(options: argparse.Namespace) -> functools.partial[Linker] | None:
    """Makes the linkers of ``--series``; None without it."""
    given = {"--min-iou": options.min_iou, "--max-gap": options.max_gap}
    if not options.series:
        if flag := next((name for name, value in given.items() if value is not None), None):
            raise SegkitError(f"{flag} needs --series", key=flag)
        return None
    if options.id_map is not None:
        raise SegkitError(
            "--series cannot be combined with --id-map: frames are no images of a test set", key="--series"
        )
    settings = {"min_iou": options.min_iou, "max_gap": options.max_gap}
    make = functools.partial(Linker, **{key: value for key, value in settings.items() if value is not None})
    make()  # raises for a wrong value, before anything is predicted
    return make


def load_predictor(options: argparse.Namespace, device: str | torch.device | None) -> Predictor:
    """The predictor of the checkpoint, with the changes that the options make."""
    config = find_config(options.config_file) if options.config_file is not None else None
    tiles = {"predict.tile": options.tile, "predict.overlap": options.overlap}
    overrides = [*options.opts, *(f"{key}={value}" for key, value in tiles.items() if value is not None)]
    predictor = Predictor.load(options.weights, config, overrides, options.score_threshold, device, options.batch_size)
    if options.overlap is not None and predictor.cfg.predict.tile is None:
        raise SegkitError("--overlap needs --tile, or predict.tile in the configuration", key="--overlap")
    return predictor


def writer_specs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The writers of ``--write``.

    Without it: the COCO file, the pictures and, with an id map, the submission.
    """
    if options.write is None:
        names = ["coco"] + ["overlays"] * (not options.no_overlays) + ["submission"] * (options.id_map is not None)
        specs: list[dict[str, Any]] = [{"name": name} for name in names]
    else:
        specs = [writer_spec(text) for text in options.write]
    if options.id_map is None and any(spec["name"] == "submission" for spec in specs):
        raise SegkitError("--write submission needs the ids of its images: --id-map JSON", key="--id-map")
    overlays = next((spec for spec in specs if spec["name"] == "overlays"), None)
    if overlays is not None and options.no_overlays:
        raise SegkitError("--no-overlays contradicts --write overlays; omit one of them", key="--no-overlays")
    for flag, option in (("--color-by", "color_by"), ("--style", "style")):
        if (value := getattr(options, option)) is None:
            continue
        if overlays is None:
            raise SegkitError(f"{flag} needs the writer overlays; add it to --write", key=flag)
        overlays.setdefault(option, value)
    return specs
