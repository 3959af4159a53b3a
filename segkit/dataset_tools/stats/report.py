"""Statistics of a data set as a table and as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
from tabulate import tabulate

from segkit.dataset_tools.stats.intensities import PERCENTS, Intensities
from segkit.dataset_tools.stats.measure import DatasetStats
from segkit.utils.errors import counted

QUANTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
MOST_CLASSES = 40  # rows of the table of classes
OVERLAPPING = 0.5  # IoU


def quantities(stats: DatasetStats) -> dict[str, np.ndarray]:
    """The measured quantities by name, each with a value for an image or an object."""
    objects = stats.objects
    short, long = stats.sizes.min(1), stats.sizes.max(1)
    found = {
        "image: shorter side, px": short,
        "image: longer side, px": long,
        "image: objects": stats.counts,
        "object: box width, px": objects.width,
        "object: box height, px": objects.height,
        "object: box side (square root of its area), px": objects.side,
        "object: box height / width": objects.aspect,
        "object: mask area, px": objects.area[objects.masked],
        "object: mask's equivalent diameter, px": objects.diameter[objects.masked],
        "object: mask area / box area": (objects.area / (objects.width * objects.height))[objects.masked],
        "object: box side / image's shorter side": objects.side / np.maximum(short[objects.image], 1),
    }
    return {name: values for name, values in found.items() if len(values)}


def shares(stats: DatasetStats) -> dict[str, float]:
    """Shares of the objects, 0 to 1, by what they have in common."""
    objects = stats.objects
    if not len(objects):
        return {}
    masked = objects.masked
    return {
        "have a mask": float(masked.mean()),
        "touch or overlap another object's mask": float(objects.touching[masked].mean()) if masked.any() else 0.0,
        "share pixels with another object's mask": float((objects.mask_iou > 0).mean()),
        f"have a box of IoU over {OVERLAPPING} with another": float((objects.box_iou > OVERLAPPING).mean()),
        "lie in another object's box (90 %)": float(objects.contained.mean()),
    }


def as_dict(stats: DatasetStats) -> dict[str, Any]:
    """Plain values for a JSON file."""
    looks = stats.intensities
    return {
        "data": stats.name,
        "images": stats.images,
        "measured_images": stats.measured,
        "objects": int(stats.counts.sum()),
        "measured_objects": len(stats.objects),
        "images_without_objects": int((stats.counts == 0).sum()),
        "crowd_regions": stats.objects.crowds,
        "ignore_regions": stats.objects.ignored,
        "objects_without_area": stats.objects.empty,
        "classes": [
            {"name": name, "objects": int(count), "images": int(images)}
            for name, count, images in zip(stats.classes, stats.class_objects, stats.class_images, strict=True)
        ],
        "quantiles": {
            name: dict(zip(map(str, QUANTILES), np.percentile(values, QUANTILES).tolist(), strict=True))
            for name, values in quantities(stats).items()
        },
        "shares": shares(stats),
        "intensities": {
            "images": looks.images,
            "unreadable_images": looks.unreadable,
            "dtypes": dict(looks.dtypes),
            "bits": {str(bits): number for bits, number in looks.bits.items()},
            "channels": {str(channels): number for channels, number in looks.channels.items()},
            "colors": dict(looks.colors),
            "percentiles": [dict(zip(map(str, PERCENTS), row, strict=True)) for row in looks.percentiles.tolist()],
            "mean": looks.mean.tolist(),
            "std": looks.std.tolist(),
        },
    }


def as_text(stats: DatasetStats) -> str:
    """Tables for a terminal."""
    objects = stats.objects
    parts = [counted(stats.images, "image"), counted(len(objects), "object")]
    if stats.is_sample:
        parts[1] += f" measured, in a random sample of {counted(stats.measured, 'image')}"
    for count, noun, rest in (
        (int((stats.counts == 0).sum()), "image", " without objects"),
        (objects.crowds, "crowd region", ""),
        (objects.ignored, "ignore region", ""),
        (objects.empty, "object", " without area"),
    ):
        if count:
            parts.append(f"{counted(count, noun)}{rest}")
    head = f"{stats.name}: {', '.join(parts)}"
    rows = [
        [name, *(_number(value) for value in np.percentile(values, QUANTILES)), _number(float(np.mean(values)))]
        for name, values in quantities(stats).items()
    ]
    titles = ["min", *(f"{q} %" for q in QUANTILES[1:-1]), "max", "mean"]
    align = ["left"] + ["right"] * len(titles)
    tables = [
        head,
        tabulate(rows, ["", *titles], colalign=align, disable_numparse=True) if rows else "",
        _classes(stats),
        _shares(stats),
        _intensities(stats.intensities),
    ]
    return "\n\n".join(table for table in tables if table)


def _classes(stats: DatasetStats) -> str:
    counts, total = stats.class_objects, max(int(stats.class_objects.sum()), 1)
    order = np.argsort(-counts, kind="stable")
    rows = [
        [stats.classes[k], f"{counts[k]:,}", f"{100 * counts[k] / total:.1f} %", f"{stats.class_images[k]:,}"]
        for k in order[:MOST_CLASSES]
    ]
    if len(order) > MOST_CLASSES:
        rest = int(counts[order[MOST_CLASSES:]].sum())
        rows.append([f"({len(order) - MOST_CLASSES} more classes)", f"{rest:,}", f"{100 * rest / total:.1f} %", ""])
    return tabulate(
        rows,
        ["class", "objects", "share", "images"],
        colalign=("left", "right", "right", "right"),
        disable_numparse=True,
    )


def _shares(stats: DatasetStats) -> str:
    rows = [[f"of the objects {name}", f"{100 * share:.1f} %"] for name, share in shares(stats).items()]
    return tabulate(rows, tablefmt="plain", colalign=("left", "right"), disable_numparse=True) if rows else ""


def _intensities(looks: Intensities) -> str:
    if not looks.images:
        return f"no image could be read ({looks.unreadable} tried)"

    def listed(counts: Any) -> str:
        return ", ".join(
            f"{value} ({number})" if len(counts) > 1 else f"{value}" for value, number in counts.most_common()
        )

    head = (
        f"intensities of {counted(looks.images, 'image')}: {listed(looks.dtypes)}, bits {listed(looks.bits)}, channels "
        f"{listed(looks.channels)}, stored as {listed(looks.colors)}"
    )
    if looks.unreadable:
        head += f"; {counted(looks.unreadable, 'image')} could not be read"
    rows = [
        [f"channel {k}", *(_number(v) for v in row), _number(looks.mean[k]), _number(looks.std[k])]
        for k, row in enumerate(looks.percentiles)
    ]
    titles = ["", "min", *(f"{q:g} %" for q in PERCENTS[1:-1]), "max", "mean", "std"]
    return (
        head + "\n" + tabulate(rows, titles, colalign=["left"] + ["right"] * (len(titles) - 1), disable_numparse=True)
    )


def _number(value: float) -> str:
    """Three significant digits, whole numbers from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
