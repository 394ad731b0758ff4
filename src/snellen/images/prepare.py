"""Prepare raw files as an ImageSet: decode every picture once into one array, next to its ids and labels."""

import csv
import hashlib
import io
import json
import logging
import math
import os
import platform
import shutil
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL

import snellen
from snellen.errors import DataError, first_few
from snellen.images.choices import LARGEST, LEAST, SMALLEST, SPLIT_RULES, SPLITS, VALID_SHARE
from snellen.images.duplicates import groups as duplicate_groups
from snellen.images.imageset import COLUMNS, SAMPLE, ImageSet, read_table, table_digest
from snellen.images.pixels import decode_into
from snellen.images.sample import check_sample
from snellen.images.splits import doubts_about, groups_of, splits_of
from snellen.images.workers import HEADER_BYTES, write_at
from snellen.sources.answers import TaskOptions
from snellen.sources.rows import Row
from snellen.sources.source import identity, is_source, open_source, results_inside
from snellen.sources.tables import FORMULA
from snellen.system import files
from snellen.system.contents import Contents, contents_of
from snellen.system.folders import replacing_folder
from snellen.system.progress import Progress
from snellen.system.targets import check_folder, check_place

log = logging.getLogger("snellen")
OURS = {"about.json", "images.npy", "rows.csv", SAMPLE}  # files that can be removed without losing any of the user's
DECODED = "decoded.npy"  # while preparing: one entry for each picture of the source, including unreadable ones


def prepare(
    source: str | Path,
    out: str | Path,
    *,
    labels: str | Path | None = None,
    test: str | Path | None = None,
    sample: str | Path | None = None,
    label: str | None = None,
    id: str | None = None,
    kind: str | None = None,
    form: str | None = None,
    metric: str | None = None,
    positive: str | None = None,
    class_names: str | Path | None = None,
    group_by: str | None = None,
    size: int | None = None,
    valid_share: float = VALID_SHARE,
    seed: int = 0,
    split_rule: str = SPLIT_RULES[0],
    skip_unreadable: bool = False,
    group_duplicates: bool = False,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> ImageSet:
    """Decode the pictures of `source` into the folder `out`, split the labelled ones, and open the result.

    source: a folder, an archive, or one of the words demo, cifar10-tiny, cifar10. Its layout is detected.
    labels, test, sample: override what is detected: the labels CSV, the folder of test pictures, the sample submission.
    size: pixels of both sides. The default is the size of the first 64 pictures if they are square, of equal size and
    at most 96 pixels wide, otherwise 32. Pictures of other sizes are resized as in `decode`.
    label, id: the column of labels, or several separated by commas, each a class; and the column of ids.
    kind, form, metric, positive: parts of the Task to set; see task.py and sources/answers.py.
    class_names: a JSON or CSV file with a display name for each class.
    group_by: a column whose values stay on one side of the split, such as patients.
    valid_share, seed, split_rule: see `choose_valid`. A source with a valid folder keeps its split.
    skip_unreadable: leave out pictures that cannot be decoded and list them in about.json. If there are any, the images
    temporarily take twice the disk space.
    group_duplicates: keep duplicates on one side of the split: labelled pictures with a duplicate are used for
    training. Folds keep them together.
    workers: number of threads (for photographs) or processes (for small pictures); by default one per CPU. A script
    that passes a number needs `if __name__ == "__main__":` around the call: each process imports the script.
    on_progress: called with ("decode", images done, total images), and during a download.

    `out` is written atomically. If it already contains the same images, it is opened. A stopped call resumes
    if the sizes and times of the files are unchanged. Raises DataError.
    """
    out = Path(out)
    if size is not None and not LEAST <= size <= LARGEST:
        raise DataError(
            f"image size {size} is out of range.", where="--size", expected=f"{LEAST} to {LARGEST:,} pixels"
        )
    given: dict[str, Any] = {"labels": labels, "test": test, "sample": sample, "skip": results_inside(source, out)}
    if is_source(source, out):
        raise DataError(f'"{out}" is the source: it is not overwritten.', where="--out", do="choose another --out")
    check_place(out)
    if size is not None:
        _warn_of_size(size)
    origin = identity(source, **given)
    asked = TaskOptions(label, id, kind, form, metric, positive, str(class_names) if class_names else None, group_by)
    asked.check()
    options = {"size": size, "valid_share": valid_share, "seed": seed, "split_rule": split_rule}
    options |= {name: value for name, value in asdict(asked).items() if value is not None}
    options |= {"skip_unreadable": skip_unreadable, "group_duplicates": group_duplicates}
    if _is_done(out, origin, options):
        log.info("%s already contains these images", out)
        return ImageSet.open(out)
    # Pictures from a stopped prepare are reused for the same files, size and version.
    good_for = {"source": origin, "size": size, "versions": [snellen.__version__, PIL.__version__], "file": DECODED}
    with replacing_folder(out, kept_for=json.dumps(good_for, sort_keys=True)) as work:
        scratch = work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # from a stopped prepare
        scratch.mkdir()
        opened = open_source(source, options=asked, scratch=scratch, on_progress=on_progress, **given)
        splits_of(opened.rows, valid_share, seed, rule=split_rule)  # reports wrong labels before decoding starts
        decoded, note, images = work / DECODED, work / "decoded.json", work / "images.npy"
        decoded.touch()
        with open(decoded, "r+b", buffering=0) as file:
            side, unreadable, num_resized = decode_into(
                file, opened, size, done=note, workers=workers, on_progress=on_progress
            )
            if size is None:
                _warn_of_size(side)
            rows = _readable_rows(opened.rows, unreadable, skip_unreadable)
            if not unreadable:
                write_at(file, 0, _header(len(rows), side))
                os.fsync(file.fileno())
        if unreadable:  # not in place: a stop between two moves would not match the progress file
            _copy_readable(decoded, images, len(opened.rows), unreadable, side)
        pixels = images if unreadable else decoded
        duplicates = _duplicates(pixels, rows, on_progress) if group_duplicates else []
        splits = splits_of(rows, valid_share, seed, {id for group in duplicates for id in group}, rule=split_rule)
        for doubt in doubts_about(rows, splits):
            log.warning("%s", doubt)
        rows_csv = _rows_csv(rows, splits)
        with open(pixels, "rb") as file:
            digest, mean, std = _measure(file, side, [split == "train" for split in splits], rows_csv)
        with files.replacing(work / "rows.csv") as csv_file:
            csv_file.write(rows_csv)
        if opened.sample is not None:
            with files.replacing(work / SAMPLE) as sample_file:
                sample_file.write(opened.sample)
        shutil.rmtree(scratch)
        note.unlink()  # before the files it describes
        if unreadable:
            decoded.unlink()
        else:
            os.replace(decoded, images)
        counts, class_counts = Counter(splits), Counter(row.label for row in rows if row.split != "test")
        if absent := [name for name in opened.classes if not class_counts[name]]:
            log.warning("%d classes have no image, first %s", len(absent), first_few(absent))
        if formulas := [name for name in (*opened.classes, *(row.id for row in rows)) if FORMULA.match(name)]:
            # Kept unchanged: a submission must have the ids of its competition.
            log.warning(
                "%d ids or classes look like formulas, first %s: spreadsheets evaluate them; import results as text",
                len(formulas),
                first_few(formulas),
            )
        about = {
            "format": 1,
            "classes": list(opened.classes),
            "task": opened.task.to_dict(),
            "size": [side, side],
            "counts": {split: counts[split] for split in SPLITS},
            "class_counts": {name: class_counts[name] for name in opened.classes},
            "mean": mean,
            "std": std,
            "skipped": [_skipped(opened.rows[index], reason) for index, reason in sorted(unreadable.items())],
            "resized": num_resized,
            "sample": None if opened.sample is None else SAMPLE,
            "kind": opened.kind,
            "source": origin,
            "options": options,
            **({"duplicates": duplicates} if group_duplicates else {}),
            **({"groups": groups} if (groups := groups_of(rows)) else {}),
            "fingerprint": digest,
            "rows_sha256": table_digest(read_table(rows_csv)),
            "versions": {
                "snellen": snellen.__version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pillow": PIL.__version__,
            },
        }
        files.write_json(work / "about.json", about)
        if opened.sample is not None:
            check_sample(ImageSet.open(work))
    return ImageSet.open(out)


def _is_done(out: Path, origin: dict[str, Any], options: dict[str, Any]) -> bool:
    """Return whether `out` contains exactly these images. Raises DataError if it contains anything else."""
    if contents_of(out) is not Contents.IMAGES:
        check_folder(out, Contents.IMAGES, "snellen prepare", error=DataError)
        return False
    elsewhere = "choose another --out"
    if not {path.name for path in out.iterdir()} - OURS:
        elsewhere += ", or remove the folder"
    about = files.read_json(out / "about.json", error=DataError, do=elsewhere)
    old = about if isinstance(about, dict) else {}
    if old.get("source") == origin and old.get("options") == options:
        return True
    before: dict[str, Any] = old["options"] if isinstance(old.get("options"), dict) else {}
    changes = [
        f"{name}: {before.get(name)} there, {options.get(name)} now"
        for name in dict.fromkeys([*options, *before])
        if before.get(name) != options.get(name)
    ]
    raise DataError(
        f'"{out}" contains images that were prepared '
        + (
            f"with other options ({', '.join(changes)})."
            if changes
            else "from other files, or the files have changed since."
        ),
        where=str(out / "about.json"),
        expected=f"{origin['source']} as it is now, with the same options",
        do=elsewhere,
    )


def _warn_of_size(size: int) -> None:
    if size < SMALLEST:
        log.warning("images have %dx%d pixels, but every network needs %d or more; see --size", size, size, SMALLEST)


def _readable_rows(rows: Sequence[Row], unreadable: dict[int, str], skip_unreadable: bool) -> list[Row]:
    if unreadable:
        named = [f"{rows[index].path} ({reason})" for index, reason in sorted(unreadable.items())]
        if not skip_unreadable:
            raise DataError(
                f"{len(unreadable)} of {len(rows)} pictures cannot be read, first {first_few(named)}.",
                expected="complete pictures of a common format",
                do="replace these files, or pass --skip-unreadable to leave them out",
            )
        log.warning("%d unreadable pictures are left out, first %s", len(unreadable), first_few(named))
    return [row for index, row in enumerate(rows) if index not in unreadable]


def _skipped(row: Row, reason: str) -> dict[str, str]:
    return {"id": row.id, "split": "test" if row.split == "test" else "train", "path": row.path, "reason": reason}


def _copy_readable(decoded: Path, out: Path, num_rows: int, unreadable: Collection[int], side: int) -> None:
    """Write images.npy without the entries of unreadable pictures."""
    stride = side * side * 3
    with open(decoded, "rb") as file, open(out, "wb") as copy:
        copy.write(_header(num_rows - len(unreadable), side))
        file.seek(HEADER_BYTES)
        for index in range(num_rows):
            image = file.read(stride)
            if index not in unreadable:
                copy.write(image)
        copy.flush()
        os.fsync(copy.fileno())


def _header(num_images: int, side: int) -> bytes:
    """Return the header of images.npy."""
    header = io.BytesIO()
    shape = (num_images, side, side, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    assert header.tell() == HEADER_BYTES, "numpy pads the header of these arrays to 128 bytes"
    return header.getvalue()


def _duplicates(path: Path, rows: Sequence[Row], on_progress: Progress | None) -> list[list[str]]:
    """Return groups of ids of labelled pictures that are duplicates of each other."""
    num_labelled = sum(row.split != "test" for row in rows)  # they come first
    first = duplicate_groups(np.load(path, mmap_mode="r")[:num_labelled], on_progress=on_progress)
    members: dict[int, list[str]] = {}
    for index, group in enumerate(first.tolist()):
        members.setdefault(group, []).append(rows[index].id)
    found = [ids for ids in members.values() if len(ids) > 1]
    if any(row.split is None for row in rows):
        num = sum(map(len, found))
        log.info("%d of %d labelled pictures have a duplicate; they are used for training", num, num_labelled)
    else:
        log.warning("the source has its own split: --group-duplicates keeps duplicates together only in folds")
    return found


def _rows_csv(rows: Sequence[Row], splits: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((row.id, split, row.label or "", row.path) for row, split in zip(rows, splits, strict=True))
    return text.getvalue().encode("utf-8")


def _measure(
    file: BinaryIO, side: int, is_train: Sequence[bool], rows_csv: bytes
) -> tuple[str, list[float], list[float]]:
    """Return the fingerprint, and mean and std of each channel over the train split (0 to 1), in one pass.

    The std is over all pixels, not the mean over images. Sums are whole numbers and therefore exact: float64 for one
    part, Python integers for the total.
    """
    digest = hashlib.sha256(rows_csv)
    sums, squares, num_pixels = [0, 0, 0], [0, 0, 0], 0
    stride = side * side * 3
    at_once = max(1, 2**20 // stride)
    mask = np.array(is_train, dtype=bool)
    file.seek(HEADER_BYTES)
    for start in range(0, len(is_train), at_once):
        data = file.read(stride * min(at_once, len(is_train) - start))
        digest.update(data)
        images = np.frombuffer(data, dtype=np.uint8).reshape(-1, side * side, 3)[mask[start : start + at_once]]
        pixels = images.reshape(-1, 3).astype(np.float64)
        num_pixels += len(pixels)
        for channel in range(3):
            sums[channel] += int(pixels[:, channel].sum())
            squares[channel] += int(pixels[:, channel] @ pixels[:, channel])
    total = max(num_pixels, 1)
    mean = [s / (255 * total) for s in sums]
    std = [math.sqrt(total * q - s * s) / (255 * total) for s, q in zip(sums, squares, strict=True)]
    return digest.hexdigest(), mean, std
