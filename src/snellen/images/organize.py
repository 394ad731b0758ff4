"""Raw files -> train_valid_test/, a folder for each split and class, for tools that want them.

The tree of the d2l chapter: train_valid_test/{train,valid,train_valid}/<class>/<file> and test/unknown/<file>.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import snellen
from snellen.errors import DataError
from snellen.images.splits import doubts_about, splits_of
from snellen.sources.archives import Contents
from snellen.sources.class_folders import UNKNOWN, UNLABELLED
from snellen.sources.decode import UnreadablePicture, is_picture
from snellen.sources.rows import Row, without_suffix
from snellen.sources.source import identity, open_source, results_inside
from snellen.system import files
from snellen.system.contents import ORGANIZED
from snellen.system.folders import replacing_folder
from snellen.system.progress import Progress
from snellen.system.targets import check_place

log = logging.getLogger("snellen")
LINKS = ("copy", "hard", "symbolic")


def organize(
    source: str | Path,
    out: str | Path,
    *,
    valid_share: float = 0.1,
    seed: int = 0,
    split_rule: str = "seeds",
    link: str = "copy",
    on_progress: Progress | None = None,
) -> Path:
    """Write `out`/train_valid_test/ and return its path. The split is that of `prepare` with the same split_rule.

    link: "copy" writes files; "hard" and "symbolic" link to the files of a source folder.
    on_progress: called with ("organize", pictures done, pictures in all).
    Test pictures whose label the source knows come below test/<class>/, others below test/unknown/, or below
    test/unlabelled/ if there is a class called unknown. No picture is
    decoded, so unreadable ones come along (`prepare` splits without them).

    A tree that organize made before is replaced as a whole: splits never mix. Raises DataError, also for a folder of
    that name that organize did not make.
    """
    tree = Path(out) / "train_valid_test"
    if link not in LINKS:
        raise DataError(f'there is no kind of link "{link}".', where="--link", expected=", ".join(LINKS))
    if tree.exists() and not (tree / ORGANIZED).exists() and (not tree.is_dir() or any(tree.iterdir())):
        raise DataError(
            f'"{tree}" was not made by organize, so it is not replaced.', where="--out", do="choose another --out"
        )
    check_place(tree)
    skip = results_inside(source, tree)
    with replacing_folder(tree, old_goes=True) as work:
        scratch = work / ".scratch"
        scratch.mkdir()
        opened = open_source(source, scratch=scratch, skip=skip, on_progress=on_progress)
        splits = splits_of(opened.rows, valid_share, seed, rule=split_rule)
        for doubt in doubts_about(opened.rows, splits):
            log.warning("%s", doubt)
        targets = _targets(opened.rows, splits)
        for folder in {target.rpartition("/")[0] for several in targets for target in several}:
            (work / folder).mkdir(parents=True)
        for done, (index, picture) in enumerate(opened.read(), start=1):
            if link != "copy" and (not isinstance(picture, Path) or scratch in picture.parents):
                raise DataError(
                    f"{opened.rows[index].path} is not a file in a folder: it cannot be linked to.",
                    where="--link",
                    do="use --link copy, or unpack the source first",
                )
            for target in targets[index]:
                _place(picture, work / target, link, opened.rows[index])
            if on_progress and (done % 250 == 0 or done == len(opened.rows)):
                on_progress("organize", done, len(opened.rows))
        shutil.rmtree(scratch)
        about = {
            "source": identity(source, skip=skip),
            "options": {"valid_share": valid_share, "seed": seed, "split_rule": split_rule, "link": link},
            "snellen": snellen.__version__,
        }
        files.write_json(work / ORGANIZED, about)
    log.info("%s: %d pictures", tree, len(opened.rows))
    return tree


def _targets(rows: Sequence[Row], splits: Sequence[str]) -> list[list[str]]:
    """For each row the names of its files in the tree. Raises DataError for what cannot be a file name there."""
    for label in {row.label for row in rows if row.label is not None}:
        if not label or label.startswith(".") or "/" in label or "\\" in label:
            raise DataError(
                f"the class {label!r} cannot be the name of a folder.",
                expected="names without slashes that do not begin with a dot",
                do="rename the class in the labels, or use `snellen prepare`, which needs no folders",
            )
    owner: dict[str, Row] = {}
    targets = []
    without_label = UNLABELLED if any(row.label == UNKNOWN for row in rows) else UNKNOWN
    for row, split in zip(rows, splits, strict=True):
        folders = [split] if split == "test" else [split, "train_valid"]
        names = [
            f"{folder}/{without_label if row.label is None else row.label}/{_file_name(row)}" for folder in folders
        ]
        for name in names:
            if name in owner:
                raise DataError(
                    f'"{owner[name].path}" and "{row.path}" would both be "{name}".', do="rename one of them"
                )
            owner[name] = row
        targets.append(names)
    return targets


def _file_name(row: Row) -> str:
    stem = without_suffix(row.id).removeprefix(f"{row.label}/").replace("/", "_").replace("\\", "_")
    suffix = row.path[row.path.rfind(".") :] if is_picture(row.path) else ".png"
    return ("_" + stem if stem.startswith(".") else stem or "_") + suffix


def _place(picture: Contents | np.ndarray, target: Path, link: str, row: Row) -> None:
    if isinstance(picture, UnreadablePicture):
        raise DataError(
            f"{row.path} cannot be read: {picture}.", do="replace the archive, or take the picture out of it"
        )
    if os.path.lexists(target):
        raise DataError(
            f'"{row.path}" has the name of another file here: the disk does not tell upper from lower case, or two '
            "spellings of a letter.",
            where=str(target),
            do="rename one of them, or choose an --out on a disk that does",
        )
    if isinstance(picture, np.ndarray):
        Image.fromarray(picture).save(target, "PNG")
    elif isinstance(picture, bytes):
        target.write_bytes(picture)
    elif link == "symbolic":
        target.symlink_to(picture.resolve())
    elif link == "hard":
        os.link(os.path.realpath(picture), target)
    else:
        shutil.copyfile(picture, target)
