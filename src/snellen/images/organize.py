"""Raw files -> train_valid_test/, a folder for each split and class, for tools that need class folders.

The tree of the d2l chapter: train_valid_test/{train,valid,train_valid}/<class>/<file> and test/unknown/<file>.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import snellen
from snellen.errors import DataError
from snellen.images.choices import LINKS, VALID_SHARE
from snellen.images.splits import doubts_about, splits_of
from snellen.sources.archives import Contents as Picture
from snellen.sources.class_folders import UNKNOWN, UNLABELLED
from snellen.sources.decode import UnreadablePicture, is_picture
from snellen.sources.names import is_junk
from snellen.sources.origin import identity, results_inside
from snellen.sources.rows import Row, without_suffix
from snellen.sources.source import open_source
from snellen.sources.task_options import TaskOptions
from snellen.system import files
from snellen.system.contents import ORGANIZED, Contents, contents_of
from snellen.system.folders import replacing_folder
from snellen.system.progress import Progress
from snellen.system.targets import check_folder, check_place

log = logging.getLogger("snellen")


def organize(
    source: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    label: str | None = None,
    id: str | None = None,
    valid_share: float = VALID_SHARE,
    seed: int = 0,
    split_rule: str = "seeds",
    link: str = "copy",
    on_progress: Progress | None = None,
) -> Path:
    """Write `out`/train_valid_test/ and return its path. The split is the same as in `prepare` with this split_rule.

    labels, test, sample, label, id: as in `prepare`.
    link: "copy" writes files; "hard" and "symbolic" link to the files of a source folder.
    on_progress: called with ("organize", pictures done, total pictures).
    Labelled test pictures go to test/<class>/, others to test/unknown/, or to test/unlabelled/ if a class is called
    unknown. Pictures are not decoded, so unreadable ones are copied too (`prepare` leaves them out of the split).

    A tree from an earlier run is replaced as a whole, so that splits never mix. Raises DataError, also if the folder
    contains anything else.
    """
    tree = Path(out) / "train_valid_test"
    if link not in LINKS:
        raise DataError(f'unknown kind of link "{link}".', where="--link", expected=", ".join(LINKS))
    _check_target(tree)
    named: dict[str, Any] = {"labels": labels, "test": test, "sample": sample, "skip": results_inside(source, tree)}
    options = TaskOptions(label=label, id=id)
    with replacing_folder(tree, old_goes=True) as work:
        scratch = work / ".scratch"
        scratch.mkdir()
        opened = open_source(source, options=options, scratch=scratch, on_progress=on_progress, **named)
        if opened.task.has_several:
            raise DataError(
                "the images have several labels each, so they cannot be put into class folders.",
                where=str(source),
                expected="one label per image",
                do="use `snellen prepare`, which writes the labels to rows.csv",
            )
        splits = splits_of(opened.rows, valid_share, seed, rule=split_rule)
        for doubt in doubts_about(opened.rows, splits):
            log.warning("%s", doubt)
        targets = _targets(opened.rows, splits)
        for folder in {target.rpartition("/")[0] for several in targets for target in several}:
            (work / folder).mkdir(parents=True)
        for done, (index, picture) in enumerate(opened.read(), start=1):
            if link != "copy" and (not isinstance(picture, Path) or scratch in picture.parents):
                raise _cannot_link(opened.rows[index])
            for target in targets[index]:
                _place(picture, work / target, link, opened.rows[index])
            if on_progress and (done % 250 == 0 or done == len(opened.rows)):
                on_progress("organize", done, len(opened.rows))
        shutil.rmtree(scratch)
        about = {
            "source": identity(source, **named),
            "options": {"valid_share": valid_share, "seed": seed, "split_rule": split_rule, "link": link},
            "files": sum(map(len, targets)),
            "snellen": snellen.__version__,
        }
        files.write_json(work / ORGANIZED, about)
    log.info("%s: %s pictures", tree, f"{len(opened.rows):,}")
    return tree


def _cannot_link(row: Row) -> DataError:
    return DataError(
        f"{row.path} is not a file in a folder, so it cannot be linked to.",
        where="--link",
        do="use --link copy, or unpack the source first",
    )


def _check_target(tree: Path) -> None:
    """Raise DataError if the tree contains other files than those from organize, as their number shows."""
    if contents_of(tree) is not Contents.ORGANIZED:
        check_folder(tree, Contents.ORGANIZED, "snellen organize", error=DataError)
        return
    check_place(tree)
    about = files.read_json(tree / ORGANIZED, error=DataError, do="choose another --out")
    written = about.get("files") if isinstance(about, dict) else None
    found = sum(not is_junk(name) for _, _, names in os.walk(tree) for name in names)
    if found != written:
        raise DataError(
            f"{tree} contains {found:,} files, but organize wrote {written}.",
            where="--out",
            expected="a folder with nothing else in it, because the whole folder is replaced",
            do="move your own files out of it, or choose another --out",
        )


def _targets(rows: Sequence[Row], splits: Sequence[str]) -> list[list[str]]:
    """Return the file names of each row in the tree. Raises DataError for labels that cannot be folder names."""
    for label in {row.label for row in rows if row.label is not None}:
        if not label or label.startswith(".") or "/" in label or "\\" in label:
            raise DataError(
                f"the class {label!r} cannot be the name of a folder.",
                expected="names without slashes that do not start with a dot",
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


def _place(picture: Picture | np.ndarray, target: Path, link: str, row: Row) -> None:
    if isinstance(picture, UnreadablePicture):
        raise DataError(
            f"{row.path} cannot be read: {picture}.", do="replace the archive, or take the picture out of it"
        )
    if os.path.lexists(target):
        raise DataError(
            f'"{row.path}" has the same name as another file, because this disk ignores case or accent encoding.',
            where=str(target),
            do="rename one of them, or choose an --out on another disk",
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
