"""Class folders, optionally below train/, valid/ and test/: ids, labels and splits from the paths."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from snellen.errors import DataError, did_you_mean, first_few
from snellen.sources.roles import ASIDE, GENERIC, MASKS, Below, folder_roles, words_of
from snellen.sources.rows import Row, common_folder, ids_of, natural_key

log = logging.getLogger("snellen")
UNKNOWN = "unknown"  # test/unknown/: the folder of pictures without a label in the "seeds" layout
UNLABELLED = "unlabelled"  # the same, if there is a class called unknown


@dataclass(frozen=True)
class ClassFolders:
    """The pictures that lie in class folders."""

    labels: dict[str, str]  # path -> class
    names: dict[str, str]  # path -> name below the folder of the role: class/file
    loose: list[str]  # pictures outside every class folder
    notes: tuple[str, ...]  # warnings for the user


def find_class_folders(names: Mapping[str, str], known: Collection[str] = ()) -> ClassFolders | None:
    """Return the class of each picture by its folder, or None if the folders are not classes.

    names: path -> path below the folder of the role. known: classes that a sample submission names.
    The class is the first folder, or the second if the first ones are parts (images_1/cat, images_2/cat) or if a single
    folder contains all class folders and its siblings are not classes. Raises DataError if both could be the classes.
    """
    top = common_folder(names.values())
    if top and top.rstrip("/").rpartition("/")[2] in known:
        top = top.rstrip("/").rpartition("/")[0]
    rest = {path: name.removeprefix(top) for path, name in names.items()}
    inner: dict[str, set[str]] = {}
    for name in rest.values():
        first, *more = name.split("/")
        if more:
            inner.setdefault(first, set()).update(more[:1] if len(more) > 1 else [])
    if not inner:
        return None
    if len(inner) == 1 and not {*inner} & {*known} and len(next(iter(inner.values()))) < 2:
        return None  # one folder beside loose pictures
    holders = _holders(inner, known)
    notes: list[str] = []
    if holders:
        loose = [path for path, name in rest.items() if name.partition("/")[0] not in holders or name.count("/") < 2]
        kept = {path: name.partition("/")[2] for path, name in rest.items() if path not in set(loose)}
    else:
        loose = [path for path, name in rest.items() if "/" not in name]
        kept = {path: name for path, name in rest.items() if "/" in name}
        deep = [f"{first}/{name}" for first, below in inner.items() if len(below) > 1 for name in sorted(below)]
        if deep:
            notes.append(
                f"class folders contain folders, first {first_few(deep)}: their pictures belong to the class above"
            )
        is_storage = all(words_of(name) and words_of(name) <= GENERIC | ASIDE for name in inner)
        is_numbered = len({re.sub(r"\d+", "", name) for name in inner}) == 1 and len(inner) > 1
        if is_numbered and all(words_of(name) & GENERIC for name in inner):
            is_storage = True
        if is_storage and not {*inner} & {*known}:
            return None  # images/ and masks/, HAM_images_part_1/ and HAM_images_part_2/
    labels = {path: name.partition("/")[0] for path, name in kept.items()}
    if odd := [name for name in sorted({*labels.values()}) if name.lower() in ("train", "training", "valid", "val")]:
        notes.append(f"the folder {first_few(odd)} is treated as a class; if it is not a class, rename it")
    return ClassFolders(labels, kept, loose, tuple(notes))


def _holders(inner: Mapping[str, set[str]], known: Collection[str]) -> set[str]:
    """Return the folders that contain class folders but are not classes; empty if the first folders are the classes."""
    deep = {name for name, below in inner.items() if below}
    if known and not {*inner} & {*known}:
        return {name for name in deep if inner[name] & {*known}}
    if {*inner} & {*known} or not deep:
        return set()
    several = {name for name in deep if len(inner[name]) > 1}
    if len(inner) == 1:
        return several
    flat = [name for name in inner if name not in deep]
    if len(inner) > 1 and len(several) == len(inner):
        shared = set.intersection(*inner.values())
        if len(shared) > 1:
            if all(words_of(name) and words_of(name) <= GENERIC | ASIDE | MASKS for name in inner):
                pictures = {name for name in inner if not words_of(name) & (ASIDE | MASKS)}
                return pictures or set(inner)
            if len({re.sub(r"\d+", "", name) for name in inner}) == 1 and all(words_of(n) & GENERIC for n in inner):
                return set(inner)
            raise DataError(
                f"the classes could be the folders {first_few(sorted(inner))}, or {first_few(sorted(shared))}.",
                expected="one level of folders that are the classes",
                do="move the pictures so that each class is one folder, or pass a table of labels: --labels CSV",
            )
    if len(several) == 1 and flat:
        [holder] = several
        if words_of(holder) & GENERIC or all(words_of(name) & (ASIDE | GENERIC) for name in flat):
            return several
    return set()


def class_rows(
    paths: Sequence[str],
    *,
    roles: Mapping[str, Below] | None = None,
    known: Collection[str] = (),
    more: Mapping[str, str] | None = None,
) -> list[Row] | None:
    """Return one row for each picture, labelled ones first, in natural order; None if the folders are not classes.

    paths: <class>/... or <role>/<class>/..., where a role is train, valid, val, test and the like. If there is a
    valid folder its split is kept, otherwise it is undecided. Test pictures below a folder named like a class
    keep that label. train_valid/ repeats train and valid, and is read only without a train folder.
    Ids are paths below the role, without the file extension if they are still unique.
    roles: as `folder_roles` finds them. more: labels of valid and test pictures from elsewhere, by path.

    Raises DataError if the folders contradict one another.
    """
    roles, more = roles or folder_roles(paths), more or {}
    groups: dict[str, dict[str, str]] = {role: {} for role in ("train", "valid", "test", "all", "unlabelled", "")}
    for path in paths:
        groups[roles[path].role][path] = roles[path].path
    train, valid = groups["train"] or groups["all"] or groups[""], groups["valid"]
    loose = list(groups[""]) if groups["train"] or groups["all"] else []
    if groups["train"] and groups["all"]:
        log.info("train_valid/ repeats train and valid: it is ignored")
    found = find_class_folders(train, known)
    if found is None:
        return None
    labels, names = dict(found.labels), dict(found.names)
    loose = found.loose + loose
    classes = {*labels.values()}
    for path, name in valid.items():
        label = more.get(path) or _class_in(name, classes)
        if label is None and "/" in name:
            label = name.partition("/")[0]
        if label is None:
            loose.append(path)
        else:
            labels[path], names[path] = label, name
    for note in found.notes:
        log.warning("%s", note)
    if loose:
        log.warning("%d pictures outside every class folder are left out, first %s", len(loose), first_few(loose))
    if odd := sorted({label for path, label in labels.items() if path in valid} - classes):
        raise DataError(
            f"{len(odd)} classes in the valid folder have no pictures in the train folder, first {first_few(odd)}.",
            expected=f"the classes of train: {first_few(sorted(classes), 10)}",
            do=did_you_mean(odd[0], classes, "rename the folder, or remove it"),
        )
    ids = ids_of([names[path] for path in labels], list(labels))  # train/cat/1 and valid/cat/1 differ by role
    if valid:
        log.info("the source has a valid folder: its split is kept, --valid-share has no effect")
    rows = [
        Row(id, label, ("valid" if path in valid else "train") if valid else None, path)
        for id, (path, label) in zip(ids, labels.items(), strict=True)
    ]
    return sorted(rows, key=_order) + sorted(_test_rows(paths_of_test(groups), classes, more), key=_order)


def paths_of_test(groups: Mapping[str, dict[str, str]]) -> dict[str, str]:
    """Return the test pictures: those in test folders, otherwise those in folders called pred or unlabelled."""
    if groups["test"] and groups["unlabelled"]:
        log.warning(
            "%d pictures without labels are left out, first %s; classify them afterwards with `snellen predict`, or "
            "pass their folder as the test pictures: --test FOLDER",
            len(groups["unlabelled"]),
            first_few(groups["unlabelled"]),
        )
    return groups["test"] or groups["unlabelled"]


def _test_rows(names: Mapping[str, str], classes: set[str], more: Mapping[str, str]) -> list[Row]:
    names = dict(names)
    label = {path: found for path, name in names.items() if (found := more.get(path) or _class_in(name, classes))}
    if label and {*label.values()} == {UNKNOWN} and not more:
        log.warning(
            'the test folder contains only "%s": its pictures are treated as unlabelled, not as that class', UNKNOWN
        )
        label = {}
    unlabelled = [path for path in names if path not in label]
    odd = sorted({names[path].partition("/")[0] for path in unlabelled if "/" in names[path]} - {UNKNOWN, UNLABELLED})
    if label and odd and not more:
        raise DataError(
            f'the test folder has the class folder "{odd[0]}", which is missing from the train folder.',
            expected=f"the classes of train ({first_few(sorted(classes), 10)}), or {UNKNOWN}/",
            do=did_you_mean(odd[0], classes, "rename the folder, or remove it"),
        )
    inner = common_folder([names[path] for path in unlabelled])
    names |= {path: names[path].removeprefix(inner) for path in unlabelled}
    ids = ids_of(list(names.values()), list(names))
    return [Row(id, label.get(path), "test", path) for id, path in zip(ids, names, strict=True)]


def _class_in(name: str, classes: Collection[str]) -> str | None:
    """Return the first folder of a path that is a class."""
    return next((part for part in name.split("/")[:-1] if part in classes), None)


def _order(row: Row) -> list[tuple[str, int, str]]:
    return natural_key(row.id)
