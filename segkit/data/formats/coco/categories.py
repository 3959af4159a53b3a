"""Categories of a COCO JSON whose names repeat, and their match with the configured classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from segkit.data.formats.class_names import first_duplicate
from segkit.data.formats.parsing.categories import Category
from segkit.utils.errors import SegkitError, did_you_mean


def resolve_repeated_names(
    file: Path, categories: list[Category], annotation_counts: Sequence[int]
) -> tuple[list[int], list[str]]:
    """Chooses one category for each name.

    Of the categories of one name, the one that has annotations is kept, or the last one if none has any: Roboflow's
    exports list the project beside the classes, often under the name of a class. If several have annotations, only the
    user knows whether these are one class.

    Args:
        file: for messages.
        categories: all categories.
        annotation_counts: number of annotations of each category.
    Returns:
        Indices of the kept categories, ascending; one sentence for each category that is not kept.
    Raises:
        SegkitError: several categories of one name have annotations, or names differ only in spaces or Unicode form.
    """
    by_name: dict[str, list[int]] = {}
    for index, category in enumerate(categories):
        by_name.setdefault(category.name, []).append(index)
    kept: list[int] = []
    notes: list[str] = []
    for name, indices in by_name.items():
        with_annotations = [index for index in indices if annotation_counts[index]]
        if len(with_annotations) > 1:
            first, second = with_annotations[:2]
            raise SegkitError(
                f"{file}: categories[{first}] (id {categories[first].id}, {annotation_counts[first]} annotations) and "
                f"categories[{second}] (id {categories[second].id}, {annotation_counts[second]} annotations) have the "
                f"same name '{name}'; give them different names, or all these annotations one category_id"
            )
        chosen = (with_annotations or indices)[-1]
        kept.append(chosen)
        for index in indices:
            if index != chosen:
                notes.append(
                    f"categories[{index}] (id {categories[index].id}) has the name '{name}' of categories[{chosen}] (id "
                    f"{categories[chosen].id}) and no annotations: it is ignored"
                )
    _check_alike(file, [categories[index] for index in sorted(kept)])
    return sorted(kept), notes


def _check_alike(file: Path, categories: list[Category]) -> None:
    """Raises a SegkitError for two names that differ only in spaces or Unicode form.

    Its message has the ids of the categories, unlike that of ``check_classes``.
    """
    if pair := first_duplicate([category.name for category in categories]):
        first, second = (categories[i] for i in pair)
        raise SegkitError(
            f"{file}: the categories {first.name!a} (id {first.id}) and {second.name!a} (id {second.id}) differ only in "
            "spaces or in their Unicode form; give them one name and id, or different names"
        )


def match_classes(
    file: Path, ids: dict[str, int], classes: list[str] | None, unused: Collection[str] = ()
) -> tuple[list[str], list[int], set[str]]:
    """Names and ids of the classes, by ascending id or in the order of ``classes``.

    Args:
        file: for messages.
        ids: id of each category of the file, by name.
        classes: the class names of the configuration; None: those of the file.
        unused: categories without annotations; these need not be among ``classes``.
    Returns:
        Names, ids, and the names that the file lacks; those get ids above the file's.
    Raises:
        SegkitError: a category of the file is not among ``classes``.
    """
    if classes is None:
        names = sorted(ids, key=lambda name: ids[name])
        return names, [ids[name] for name in names], set()
    unknown = [name for name in ids if name not in classes and name not in unused]
    if unknown:
        raise SegkitError(
            f"{file}: the category '{unknown[0]}' is not among the classes{did_you_mean(unknown[0], classes)}",
            key="classes",
            value=classes,
            choices=classes,
        )
    lacking = [name for name in classes if name not in ids]
    above = max(ids.values(), default=0) + 1
    ids = ids | {name: above + i for i, name in enumerate(lacking)}
    return list(classes), [ids[name] for name in classes], set(lacking)
