"""Fuzzes the readers of GeoJSON and ImageJ's ROIs, as ``fuzz_mask_formats`` does others."""

from __future__ import annotations

import copy
import functools
import gzip
import io
import random
import zipfile
from pathlib import Path

import numpy as np
from fuzz_files import SQUARE, cleaned, damaged, mutated_json, points, put, read_all
from mutations import change


def features():
    ring = {"type": "Polygon", "coordinates": [SQUARE, [[5, 5], [9, 5], [9, 8], [5, 8], [5, 5]]]}
    many = {"type": "MultiPolygon", "coordinates": [[SQUARE, [[5, 5], [9, 5], [9, 8]]], [[[6, 6], [8, 6], [8, 7]]]]}
    point = {"type": "Point", "coordinates": [1, 2]}
    kinds = [(ring, "annotation"), (many, "detection"), (point, "annotation"), (ring, "cell")]
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "id": str(i), "geometry": geometry, "nucleusGeometry": ring,
             "properties": {"objectType": kind, "classification": {"name": "ab"[i % 2], "color": [1, 2, 3]}}}
            for i, (geometry, kind) in enumerate(kinds)
        ],
    }  # fmt: skip


def change_features(content, draw):
    try:
        item = draw.choice(content["features"])
        way = draw.randrange(6)
        if way <= 2:
            rings = item["geometry"]["coordinates"]
            if item["geometry"]["type"] == "MultiPolygon":
                rings = draw.choice(rings)
            rings[draw.randrange(len(rings))] = points(draw)
        elif way == 3:
            item["geometry"] = draw.choice(
                [None, {}, 3, {"type": "Polygon"}, {"type": "GeometryCollection", "geometries": []}]
            )
        elif way == 4:
            item["geometry"]["coordinates"] = points(draw)
        else:
            odd = [None, {"names": ["a", 3]}, {"name": ""}, "c", {"name": 3}, {"names": []}, {"name": "a\nb"}]
            item["properties"][draw.choice(["classification", "objectType", "metadata"])] = draw.choice(odd)
    except (KeyError, TypeError, IndexError, ValueError):
        change(content, draw)


def try_geojson(seed, folder):
    draw = random.Random(seed)
    folder = cleaned(Path(folder) / "geo")
    content = features() if draw.random() < 0.8 else features()["features"]
    if isinstance(content, list):
        content = {"features": content}
    data = mutated_json(content, draw, change_features)
    if draw.random() < 0.2:
        data = gzip.compress(data if draw.random() < 0.95 else b"[" + b" " * 8_000_000)
        put(folder / "a.geojson.gz", data if draw.random() < 0.5 else damaged(data, draw))
    else:
        put(folder / "a.geojson", data)
    if draw.random() < 0.1:
        put(folder / "classes.json", mutated_json({"pathClasses": [{"name": "a"}, {"name": "c"}]}, draw, change))
    spec = {"format": "geojson", "root": str(folder)}
    if draw.random() < 0.2:
        spec["cell_outline"] = "nucleus"
    if draw.random() < 0.1:
        spec["files"] = draw.choice([{"a.png": "a.geojson"}, {"a.png": "../a"}, {"": ""}, {"b.png": "a.geojson"}, {}])
    return read_all(spec, folder, seed % 8 == 0)


@functools.lru_cache
def rois():
    """The bytes of ROIs of several types."""
    from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

    made = []
    for kind in ("POLYGON", "FREEHAND", "TRACED", "POINT"):
        for shift in (0, 0.25):
            roi = ImagejRoi.frompoints(np.array([[2, 2], [12, 3], [11, 15], [3, 9]]) + shift, name=f"n_{len(made)}")
            roi.roitype = ROI_TYPE[kind]
            made.append(roi)
    for kind in ("RECT", "OVAL"):
        roi = ImagejRoi()
        roi.roitype, roi.left, roi.top, roi.right, roi.bottom = ROI_TYPE[kind], 3, 4, 20, 15
        made.append(roi)
    path = np.array([0, 2, 2, 1, 12, 2, 1, 12, 12, 4, 0, 4, 4, 1, 8, 4, 3, 9, 5, 9, 7, 8, 8, 4], np.float32)
    made.append(ImagejRoi(roitype=ROI_TYPE.RECT, multi_coordinates=path, shape_roi_size=len(path), right=20, bottom=20))
    turned = copy.copy(made[2])
    turned.subtype, turned.x1, turned.y1, turned.x2, turned.y2 = ROI_SUBTYPE.ROTATED_RECT, 2, 2, 15, 12
    turned.arrow_style_or_aspect_ratio = 64
    return [roi.tobytes() for roi in (*made, turned)]


def try_imagej_rois(seed, folder):
    draw = random.Random(seed)
    folder = cleaned(Path(folder) / "rois")
    data = [damaged(one, draw) if draw.random() < 0.4 else one for one in draw.sample(rois(), draw.choice([1, 1, 3]))]
    if draw.random() < 0.5:
        put(folder / "a.roi", damaged(data[0], draw))
    else:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
            for i, one in enumerate(data):
                archive.writestr(draw.choice([f"{i}.roi"] * 8 + [f"../{i}.roi", f"/x{i}.roi", f"{i}.txt"]), one)
            if draw.random() < 0.02:
                archive.writestr("bomb.roi", b"Iout" + bytes(draw.choice([10, 60, 80]) << 20))
        data = stream.getvalue()
        put(folder / draw.choice(["a.zip", "RoiSet.zip"]), damaged(data, draw) if draw.random() < 0.5 else data)
    spec = {"format": "imagej_rois", "root": str(folder), "class_from": draw.choice(["none", "name", "group"])}
    return read_all(spec, folder, seed % 8 == 0)
