"""ImageJ's regions, written by roifile, against masks worked out by hand from ImageJ's rules."""

import struct
import sys
import zipfile

import numpy as np
import pytest
from pixel_formats import SIZE, loaded_set, mask_set, save_image

from segkit.data.formats import build_dataset, recognize
from segkit.data.formats.imagej_rois import files as imagej_files
from segkit.data.formats.imagej_rois.dataset import ImageJRois, roi_stem
from segkit.data.formats.imagej_rois.files import class_prefix
from segkit.utils.errors import SegkitError

roifile = pytest.importorskip("roifile")
Y, X = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5  # pixel centres


def roi(kind, box=(0, 0, 0, 0), **attributes):
    """A ROI of a type with its bounds (left, top, right, bottom)."""
    made = roifile.ImagejRoi()
    made.roitype = roifile.ROI_TYPE[kind]
    made.left, made.top, made.right, made.bottom = box
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def polygon(points, kind="POLYGON", name="", **attributes):
    made = roifile.ImagejRoi.frompoints(np.array(points), name=name)
    made.roitype = roifile.ROI_TYPE[kind]
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def composite(*outlines):
    values = []
    for points in outlines:
        values += [0.0, *points[0]]
        for point in points[1:]:
            values += [1.0, *point]
        values.append(4.0)
    return roi("RECT", (0, 0, 32, 24), multi_coordinates=np.array(values, np.float32), shape_roi_size=len(values))


def write(root, rois, name="a.zip", image="a.png"):
    save_image(root / image)
    (root / name).unlink(missing_ok=True)
    if name.endswith(".roi"):
        rois[0].tofile(root / name)
    else:
        roifile.roiwrite(root / name, rois)
    return str(root)


def load(root, *rois, **arguments):
    return ImageJRois(root=write(root, list(rois)), **arguments).load(0).targets


def rectangle(x0, y0, x1, y1):
    return (x0 < X) & (x1 > X) & (y0 < Y) & (y1 > Y)


def test_rectangles_polygons_and_holes(tmp_path):
    square = [(4, 3), (9, 3), (9, 8), (4, 8)]
    hole = [(5, 4), (8, 4), (8, 7), (5, 7)]
    targets = load(
        tmp_path,
        roi("RECT", (2, 3, 7, 9)),
        roi("RECT", (-5, -5, 3, 4)),  # beyond the image
        polygon(square),
        polygon(square, "TRACED"),
        polygon([(1.2, 2.4), (6.6, 2.4), (6.6, 5.6), (1.2, 5.6)], "FREEHAND"),  # subpixel
        composite(square, hole, [(20, 20), (22, 20), (22, 22), (20, 22)]),
        roi("RECT", (40, 40, 50, 50)),  # outside of the image: dropped
    )
    expected = [
        rectangle(2, 3, 7, 9),
        rectangle(0, 0, 3, 4),
        rectangle(4, 3, 9, 8),
        rectangle(4, 3, 9, 8),
        rectangle(1.2, 2.4, 6.6, 5.6),
        (rectangle(4, 3, 9, 8) & ~rectangle(5, 4, 8, 7)) | rectangle(20, 20, 22, 22),
    ]
    assert loaded_set(targets) == mask_set(expected)


@pytest.mark.parametrize("box", [(3, 2, 4, 3), (3, 2, 5, 6), (3, 2, 10, 9), (0, 0, 32, 24), (-4, -3, 9, 11)])
def test_ovals_by_imagejs_formula(tmp_path, box):
    """OvalRoi: a pixel belongs if (x - a)^2 / a2 + (y - b)^2 / b2 <= 1, with whole numbers within the bounds."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    expected = np.zeros(SIZE, bool)
    for y in range(height):
        for x in range(width):
            dx, dy = x - (width / 2 - 0.5), y - (height / 2 - 0.5)
            if dx * dx / (width / 2) ** 2 + dy * dy / (height / 2) ** 2 <= 1 and top + y >= 0 and left + x >= 0:
                expected[top + y, left + x] = True
    assert loaded_set(load(tmp_path, roi("OVAL", box))) == mask_set([expected])


def test_polygons_equal_scikit_image(tmp_path):
    """Corners in general position: no centre lies on an outline, where ImageJ's rule and scikit-image's differ."""
    draw = pytest.importorskip("skimage.draw")
    rng = np.random.default_rng(2)
    polygons = [rng.uniform(0, 24, (5, 2)).astype(np.float32) for _ in range(20)]
    expected = []
    for points in polygons:
        mask = np.zeros(SIZE, bool)
        mask[draw.polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, SIZE)] = True
        expected.append(mask)
    assert loaded_set(load(tmp_path, *map(polygon, polygons))) == mask_set([mask for mask in expected if mask.any()])


def test_coordinates_are_roifiles(tmp_path):
    """The corners of a polygon's mask are those that roifile itself returns."""
    made = polygon([(3, 2), (11, 2), (11, 9), (3, 9)])
    corners = made.coordinates()
    box = load(tmp_path, made).boxes[0].tolist()
    assert box == [*corners.min(0).tolist(), *corners.max(0).tolist()]


def rotated(subtype, ends, value):
    """A rotated rectangle or ellipse: the ends of its axis, and its width or ratio as the bytes of a float."""
    style, head, arc = struct.unpack(">BBh", struct.pack(">f", value))
    x1, y1, x2, y2 = ends
    return polygon(
        [(0, 0), (5, 0), (5, 5)], "FREEHAND", subtype=roifile.ROI_SUBTYPE[subtype], x1=x1, y1=y1, x2=x2, y2=y2,
        arrow_style_or_aspect_ratio=style, arrow_head_size=head, rounded_rect_arc_size=arc,
    )  # fmt: skip


def test_rotated_shapes(tmp_path):
    targets = load(
        tmp_path, rotated("ROTATED_RECT", (5.2, 5.1, 15.3, 15.2), 4.1), rotated("ELLIPSE", (10, 4, 20, 14), 0.5),
        roi("RECT", (1, 1, 21, 13), rounded_rect_arc_size=8),
    )  # fmt: skip
    along, across = (X - 10.25 + Y - 10.15) / 2**0.5, (Y - 10.15 - X + 10.25) / 2**0.5
    u, v = (X - 15 + Y - 9) / 2**0.5, (Y - 9 - X + 15) / 2**0.5
    half = 5 * 2**0.5
    corner_x, corner_y = np.maximum(abs(X - 11) - 6, 0), np.maximum(abs(Y - 7) - 2, 0)
    expected = [
        (abs(along) < 5.05 * 2**0.5) & (abs(across) < 2.05),
        (u / half) ** 2 + (v / (half / 2)) ** 2 <= 1,
        (abs(X - 11) < 10) & (abs(Y - 7) < 6) & (corner_x**2 + corner_y**2 <= 16),
    ]
    assert loaded_set(targets) == mask_set(expected)


def test_curves_of_composites(tmp_path):
    """A circle of radius 8 as four cubic curves, as ImageJ stores a combined oval."""
    k = 8 * 0.5522847498
    values = [0, 20, 12]
    for (x1, y1), (x2, y2), (x3, y3) in (
        ((20, 12 + k), (12 + k, 20), (12, 20)), ((12 - k, 20), (4, 12 + k), (4, 12)),
        ((4, 12 - k), (12 - k, 4), (12, 4)), ((12 + k, 4), (20, 12 - k), (20, 12)),
    ):  # fmt: skip
        values += [3, x1, y1, x2, y2, x3, y3]
    made = roi(
        "RECT", (4, 4, 20, 20), multi_coordinates=np.array([*values, 4], np.float32), shape_roi_size=len(values) + 1
    )
    (mask,) = load(tmp_path, made).masks.to_dense().numpy()
    assert (mask != ((X - 12) ** 2 + (Y - 12) ** 2 <= 64)).sum() <= 4


def test_lines_and_points_are_counted(tmp_path):
    dataset = ImageJRois(
        root=write(
            tmp_path,
            [roi("RECT", (2, 2, 5, 5)), roi("LINE", x1=1, y1=1, x2=3, y2=3), polygon([(1, 1), (4, 4)], "POINT"),
             polygon([(1, 1), (4, 4), (5, 1)], "POLYLINE")],
        )
    )  # fmt: skip
    total, lost = dataset.lost_objects()
    assert total == 4 and sorted(item.reason.rpartition(" ")[2] for item in lost) == ["line", "point", "polyline"]
    assert all(item.count == 1 and "a.zip: " in item.examples[0] for item in lost)


def test_classes_by_name_and_group(tmp_path):
    names = ["nucleus_1", "nucleus 02", "mn-3", "0012-0345"]
    rois = [roi("RECT", (i, 0, i + 1, 1), name=name, group=i) for i, name in enumerate(names)]
    root = write(tmp_path, rois)
    assert ImageJRois(root=root).classes == ["object"]
    by_name = ImageJRois(root=root, class_from="name", class_name="other")
    assert by_name.classes == ["mn", "nucleus", "other"] and by_name.label_counts(0) == {0: 1, 1: 2, 2: 1}
    assert by_name.load(0).targets.labels.tolist() == [1, 1, 0, 2]
    assert ImageJRois(root=root, class_from="group").classes == ["group1", "group2", "group3", "object"]
    with pytest.raises(SegkitError, match=r"class 'mn', .* among the classes m, nucleus, other"):
        ImageJRois(root=root, class_from="name", class_name="other", classes=["m", "nucleus", "other"])
    found = [class_prefix(name) for name in ("cell (3)", "cell#4.roi", "a1b2", "7", "T-cell")]
    assert found == ["cell", "cell", "a1b", "", "T-cell"]


@pytest.mark.parametrize("name", ["a.roi", "a.zip", "a_RoiSet.zip", "RoiSet.zip", "a.png.roi", "rois/a.zip"])
def test_names_of_files(tmp_path, name):
    (tmp_path / "rois").mkdir() if "/" in name else None
    write(tmp_path, [roi("RECT", (1, 1, 4, 4))], name, "images/a.png" if "/" in name else "a.png")
    found = recognize(tmp_path)
    assert found.spec["format"] == "imagej_rois" and len(build_dataset(found.spec).load(0).targets) == 1
    assert len(ImageJRois(root=str(tmp_path / name), images=str(next(tmp_path.rglob("*.png")))).load(0).targets) == 1


def test_several_images(tmp_path):
    for name in ("plate1", "plate2"):
        write(tmp_path, [roi("RECT", (1, 1, 4, 4))], f"{name}.zip", f"{name}.png")
    save_image(tmp_path / "plate3.png")
    dataset = ImageJRois(root=str(tmp_path))
    assert len(dataset) == 2 and "plate3.png (nearest: plate" in dataset.summary()
    assert [roi_stem(name) for name in ("a-RoiSet.zip", "b.roi", "c_rois.zip")] == ["a", "b", "c"]


def test_files_of_no_images_name(tmp_path):
    write(tmp_path, [roi("RECT", (1, 1, 4, 4))], "0001-0002.roi")
    write(tmp_path, [roi("RECT", (1, 1, 4, 4))], "0003-0004.roi")
    found = recognize(tmp_path)
    assert found.spec["format"] == "imagej_rois"
    with pytest.raises(SegkitError, match=r"holds 2 ROI files \(0001-0002.roi, ...\) and one image; .* here a.zip"):
        build_dataset(found.spec)
    save_image(tmp_path / "0001-0003.png")
    with pytest.raises(
        SegkitError, match=r"none of 2 images has .*first ROI file is 0001-0002.roi \(nearest: 0001-0003"
    ):
        build_dataset(found.spec)


def test_archives_are_bounded(tmp_path, monkeypatch):
    save_image(tmp_path / "a.png")
    data = roi("RECT", (1, 1, 4, 4)).tobytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../x.roi", data)
    with pytest.raises(SegkitError, match=r"a.zip: the name '../x.roi' leads out"):
        ImageJRois(root=str(tmp_path))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.roi", data + bytes(70 << 20))
    with pytest.raises(SegkitError, match=r"a.zip: unpacks to more than can be read \('x.roi'"):
        ImageJRois(root=str(tmp_path))
    monkeypatch.setattr(imagej_files, "MAX_MEMBERS", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i in range(3):
            archive.writestr(f"{i}.roi", data)
    with pytest.raises(SegkitError, match=r"a.zip: holds 3 files; at most 2"):
        ImageJRois(root=str(tmp_path))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Iout",
        b"PK junk",
        b"Iout" + bytes(60),
        b"Iout\0\xe4\0\0" + b"\x7f" * 90,
        b"Iout\0\xe4\x01\0" + b"\xff" * 70,
    ],
)
def test_damaged_files(tmp_path, data):
    save_image(tmp_path / "a.png")
    (tmp_path / "a.roi").write_bytes(data)
    assert recognize(tmp_path).spec["format"] == "imagej_rois"  # and the error names the file
    try:
        ImageJRois(root=str(tmp_path)).load(0)
    except SegkitError as error:
        assert "a.roi" in str(error)
    (tmp_path / "a.roi").rename(tmp_path / "a.zip")
    with pytest.raises(SegkitError, match=r"a.zip: cannot be read"):
        ImageJRois(root=str(tmp_path))


def test_members_of_archives(tmp_path):
    save_image(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("__MACOSX/._x.roi", b"resource fork")
        archive.writestr("notes.txt", b"")
    with pytest.raises(SegkitError, match=r"a.zip: holds no .roi file; it holds __MACOSX/._x.roi, notes.txt"):
        ImageJRois(root=str(tmp_path))
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("x.roi", roi("RECT", (1, 1, 4, 4)).tobytes())
    assert recognize(tmp_path).spec["format"] == "imagej_rois"
    assert len(ImageJRois(root=str(tmp_path)).load(0).targets) == 1


def test_without_roifile(tmp_path, monkeypatch):
    write(tmp_path, [roi("RECT", (1, 1, 4, 4))])
    monkeypatch.setitem(sys.modules, "roifile", None)
    assert recognize(tmp_path).spec["format"] == "imagej_rois"
    with pytest.raises(SegkitError, match=r"pip install 'segkit\[imagej\]'"):
        ImageJRois(root=str(tmp_path))
