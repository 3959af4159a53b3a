"""The kinds of faults of data sets: how severe each is, and what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        severity: ``error`` (training fails, or its metrics are wrong), ``warning`` (probably a mistake) or ``note``.
        title: what is found, in the plural.
        advice: what to do.
        mended: what ``--fix`` does about it; empty: it lists them and changes nothing.
    """

    severity: Severity
    title: str
    advice: str
    mended: str = ""


KINDS: dict[str, Kind] = {
    # annotation files
    "unreadable_annotations": Kind(
        "error",
        "annotation files that cannot be read",
        "mend the file; see the message",
        "the images or objects of which nothing can be read are skipped",
    ),
    "missing_package": Kind(
        "error",
        "files that a package reads which is not installed",
        "install it: the message has the command",
        "skipped",
    ),
    "invalid_image_entry": Kind(
        "error",
        "entries of the list of images that are invalid",
        "each needs a file name, an id, a height and a width",
        "skipped",
    ),
    "invalid_class_list": Kind(
        "error",
        "lists of annotated classes of an image that are invalid",
        "LVIS needs neg_category_ids and not_exhaustive_category_ids of each image: lists of category ids",
        "dropped: the copy is in the COCO format, which has no such lists",
    ),
    "invalid_category": Kind(
        "error", "categories that are invalid", "each needs a name and an id, a whole number", "skipped"
    ),
    "invalid_annotation": Kind(
        "error",
        "annotations that are invalid",
        "correct the value that the message names",
        "the invalid value is removed, or the object if nothing else says where it is",
    ),
    "invalid_segmentation": Kind(
        "error",
        "segmentations that are neither polygons nor RLE",
        "write [[x, y, x, y, ...], ...] or an RLE",
        "the box is kept; without one the object is skipped",
    ),
    "rle_size": Kind(
        "error",
        "RLEs of another size than their image",
        "encode the mask at the image's size, [height, width]",
        "the box is kept; without one the object is skipped",
    ),
    "repeated_image_id": Kind(
        "error", "image ids that repeat", "give each image an id of its own", "the first image keeps the id and objects"
    ),
    "repeated_annotation_id": Kind(
        "warning", "annotation ids that repeat", "give each annotation an id of its own", "numbered from 1"
    ),
    "repeated_category_id": Kind(
        "error", "category ids that repeat", "give each category an id of its own", "the first category keeps the id"
    ),
    "repeated_category_name": Kind(
        "error",
        "names that several categories with objects have",
        "use one category, or different names",
        "merged into one category",
    ),
    "unknown_image": Kind(
        "error", "annotations of an image that is not listed", "add the image, or remove the annotation", "skipped"
    ),
    "unknown_category": Kind(
        "error", "annotations of a category that is not listed", "add the category, or correct its id", "skipped"
    ),
    # image files
    "missing_image": Kind("error", "images without a file", "copy the files, or correct their names", "skipped"),
    "unreadable_image": Kind("error", "images that cannot be read", "save them again, or remove them", "skipped"),
    "wrong_size": Kind(
        "error",
        "images of another size than their annotations state",
        "annotations may belong to a resized or turned copy: find the image that they were drawn on",
        "skipped",
    ),
    "image_in_two_splits": Kind(
        "error",
        "images that are in two splits, as one file or as copies with the same pixels",
        "remove them from one split, or metrics do not say how good the model is on new images",
        "removed from the training images; between other splits they are listed",
    ),
    "duplicate_image": Kind(
        "warning",
        "images that are the same file as another one, or have the same pixels",
        "keep one of them, with the objects of all",
        "the first one is kept, with its own objects",
    ),
    "orientation_tag": Kind(
        "note",
        "images with an orientation tag",
        "segkit turns them upright; annotations must be drawn on the upright image",
    ),
    "mixed_channels": Kind(
        "warning", "images with another number of channels than most", "convert them, or set data.channels"
    ),
    "mixed_bits": Kind(
        "warning", "images with another number of bits than most", "save all images with one number of bits"
    ),
    "not_decoded": Kind(
        "note", "images too large to be decoded here", "only their size and header were checked: tile them first"
    ),
    # masks and boxes
    "unit_coordinates": Kind(
        "error",
        "objects with coordinates in 0..1",
        "multiply x by the image's width and y by its height",
        "multiplied by the image's size",
    ),
    "corner_boxes": Kind(
        "error",
        "boxes that look like [x1, y1, x2, y2]",
        "write [x, y, width, height]",
        "width and height are computed",
    ),
    "no_geometry": Kind(
        "warning", "objects with neither a segmentation nor a box", "annotate or remove them", "skipped"
    ),
    "flat_box": Kind(
        "warning", "boxes of no width or height", "correct the box, or remove it", "the mask's box, else skipped"
    ),
    "few_corners": Kind(
        "warning",
        "polygons with fewer than three corners",
        "draw them again: only the object's box is used",
        "the object keeps its other polygons, or its box",
    ),
    "degenerate_polygon": Kind(
        "warning", "polygons without area", "draw them again, or remove them", "drawn as pixels; empty ones are skipped"
    ),
    "self_intersecting": Kind(
        "warning",
        "polygons that intersect themselves",
        "tools fill them differently: draw them again",
        "drawn as pixels, as pycocotools fills them",
    ),
    "beyond_image": Kind(
        "warning", "objects that reach out of their image", "clip them to the image", "clipped to the image"
    ),
    "outside_image": Kind("warning", "objects that lie outside of their image", "remove them", "skipped"),
    "empty_mask": Kind("warning", "objects with an empty mask or box", "draw them again, or remove them", "skipped"),
    "one_pixel_mask": Kind("warning", "masks of one pixel", "often a slip of the brush: remove them"),
    "mask_unlike_box": Kind(
        "warning",
        "boxes that differ from the box of their mask",
        "training uses the mask's box, evaluation the file's",
        "boxes are computed from the masks",
    ),
    "area_unlike_mask": Kind(
        "note",
        "areas that differ from those of the masks by more than a half",
        "evaluation sorts objects by the file's areas: compute them again",
        "areas are computed from the masks",
    ),
    "object_in_parts": Kind(
        "warning",
        "masks of several parts that do not touch",
        "two objects with one number, or stray pixels: look at them",
    ),
    "several_polygons": Kind("note", "objects drawn as several parts", "right if something hides their middle"),
    "hole": Kind("note", "masks with holes", "right for rings; else fill them"),
    "merged_objects": Kind(
        "warning",
        "images whose single object has many parts",
        "one value for all objects: number the objects, for example with skimage.measure.label",
    ),
    "duplicate_object": Kind(
        "warning", "objects equal to another one of their image", "remove them", "the first one is kept"
    ),
    "near_duplicate_object": Kind(
        "warning", "objects with an IoU above 0.95 with another one", "remove one of the two"
    ),
    "same_mask_two_classes": Kind(
        "warning", "objects with the mask of an object of another class", "keep the right class"
    ),
    "overlap": Kind(
        "warning",
        "objects that overlap although the format cannot hold overlaps",
        "each pixel belongs to one object: cut one of the two",
    ),
    # classes and counts
    "unused_category": Kind("note", "classes without an object", "remove them, or annotate objects"),
    "class_only_outside_training": Kind(
        "warning", "classes with objects in other splits only", "the model cannot learn them: divide the images again"
    ),
    "class_missing_in_split": Kind(
        "warning",
        "classes of the training that a split has no object of",
        "their metrics are missing: divide the images again",
    ),
    "different_classes": Kind(
        "error", "splits with objects of classes that the training lacks", "use one list of classes"
    ),
    "similar_class_names": Kind(
        "warning",
        "class names that differ only in case, spaces or Unicode form",
        "use one name",
        "merged with --merge-classes",
    ),
    "class_imbalance": Kind(
        "note", "classes with fewer than a hundredth of the objects of the largest", "annotate more, or repeat images"
    ),
    "no_objects": Kind("note", "images without objects", "right if nothing is there; else annotate them"),
    "mostly_crowd": Kind(
        "note", "images with more crowd regions than objects", "nothing is learnt in crowd regions: set iscrowd to 0"
    ),
    "over_detection_limit": Kind(
        "warning", "images with more objects than detections", "raise model.roi_heads.detections_per_image"
    ),
    "small_object": Kind(
        "note", "objects smaller than the finest stride", "enlarge the images, or use a finer feature level"
    ),
    "cut_by_border": Kind("note", "sets in which most objects touch the border", "the tiles may be too small"),
    "cleared_border": Kind(
        "note",
        "sets in which no object touches the border",
        "objects at the border were removed or cut: the model learns that there are none",
    ),
    "lost_objects": Kind(
        "warning", "objects that reading loses or uses in part", "see the message", "the copy has what is read of them"
    ),
    "mistaken_objects": Kind(
        "error",
        "objects that are never meant to be as they are",
        "see the message",
        "the copy has what is read of them",
    ),
}
