"""One folder for each class, perhaps below train/, valid/ and test/: ids, labels and splits from the paths."""

import logging
from collections.abc import Sequence

from snellen.errors import DataError, did_you_mean, first_few
from snellen.sources.rows import ROLES, Row, common_folder, ids_of, natural_key

log = logging.getLogger("snellen")
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
UNKNOWN = "unknown"  # test/unknown/ in the seeds' tree: a class for the pictures without a label


def class_rows(paths: Sequence[str]) -> list[Row] | None:
    """One row for each picture, labelled ones first, in natural order. None where the folders name no classes.

    paths: <class>/... or <role>/<class>/..., where a role is train, valid, val, test and the like. Where there is a
    valid folder its split is kept, otherwise it is left open. Test pictures below a folder that is named like a class
    keep that label. train_valid/ repeats train and valid, and is read only where there is no train.
    Ids are paths below the role, without the file's ending where that is enough to tell them apart.

    Raises DataError where the folders contradict one another.
    """
    folder = common_folder(paths)
    groups: dict[str, list[str]] = {role: [] for role in (*ROLES, "")}
    for path in paths:
        top, slash, _ = path.removeprefix(folder).partition("/")
        groups[ROLE_OF.get(top.lower(), "") if slash else ""].append(path)
    others = groups.pop("")
    repeated = groups.pop("all")
    train = {path: _below_role(path, folder) for path in groups["train"] or repeated}
    valid = {path: _below_role(path, folder) for path in groups["valid"]}
    if not train and not valid:
        train, others = {path: path.removeprefix(folder) for path in others}, []
    elif groups["train"] and repeated:
        log.info("train_valid/ repeats train and valid: it is not read")
    labelled = {path: name for path, name in (train | valid).items() if "/" in name}
    if not any(path in labelled for path in train):
        return None
    if loose := [path for path in (*train, *valid) if path not in labelled] + others:
        log.warning("%d pictures in no class folder are left out, first %s", len(loose), first_few(loose))
    classes = {name.partition("/")[0] for path, name in labelled.items() if path in train}
    if odd := sorted({name.partition("/")[0] for name in labelled.values()} - classes):
        raise DataError(
            f"{len(odd)} classes of the valid folder have no pictures in the train folder, first {first_few(odd)}.",
            expected=f"the classes of train: {first_few(sorted(classes), 10)}",
            do=did_you_mean(odd[0], classes, "rename the folder, or remove it"),
        )
    ids = ids_of(list(labelled.values()), list(labelled))  # train/cat/1 and valid/cat/1 need their role to differ
    if valid:
        log.info("the source has a valid folder: its split is kept, whatever the share for validation")
    rows = [
        Row(id, name.partition("/")[0], ("valid" if path in valid else "train") if valid else None, path)
        for id, (path, name) in zip(ids, labelled.items(), strict=True)
    ]
    return sorted(rows, key=_order) + sorted(_test_rows(groups["test"], folder, classes), key=_order)


def _test_rows(paths: Sequence[str], folder: str, classes: set[str]) -> list[Row]:
    names = {path: _below_role(path, folder) for path in paths}
    label = {path: top for path, name in names.items() if (top := name.partition("/")[0]) in classes and "/" in name}
    unlabelled = [path for path in paths if path not in label]
    odd = sorted({names[path].partition("/")[0] for path in unlabelled if "/" in names[path]} - {UNKNOWN})
    if label and odd:
        raise DataError(
            f'the test folder has the class folder "{odd[0]}", the train folder has not.',
            expected=f"the classes of train ({first_few(sorted(classes), 10)}), or {UNKNOWN}/",
            do=did_you_mean(odd[0], classes, "rename the folder, or remove it"),
        )
    inner = common_folder(unlabelled)
    names |= {path: path.removeprefix(inner) for path in unlabelled}
    ids = ids_of(list(names.values()), paths)
    return [Row(id, label.get(path), "test", path) for id, path in zip(ids, names, strict=True)]


def _below_role(path: str, folder: str) -> str:
    return path.removeprefix(folder).partition("/")[2]


def _order(row: Row) -> list[tuple[str, int, str]]:
    return natural_key(row.id)
