"""Prepare raw files as an ImageSet: decode every picture once into one array, next to its ids and labels."""

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import PIL

import snellen
from snellen.errors import DataError, did_you_mean
from snellen.images.choices import LARGEST, LEAST, SMALLEST, SPLIT_RULES, VALID_SHARE
from snellen.images.images_file import copy_readable, header, measure
from snellen.images.imageset import SAMPLE, ImageSet, read_table, table_digest
from snellen.images.pixels import decode_into
from snellen.images.prepared import about_of, duplicate_ids, readable_rows, rows_text, warn_of_rows
from snellen.images.sample import check_sample
from snellen.images.splits import doubts_about, splits_of
from snellen.images.workers import write_at
from snellen.sources.origin import identity, is_source, results_inside
from snellen.sources.resize import CHOICES, CROP, Resize
from snellen.sources.rows import Row
from snellen.sources.source import Source, open_source
from snellen.sources.task_options import TaskOptions
from snellen.system import files
from snellen.system.contents import Contents, contents_of
from snellen.system.folders import replacing_folder
from snellen.system.progress import Progress
from snellen.system.targets import check_folder, check_place

log = logging.getLogger("snellen")
# Files and folders that can be removed without losing any of the user's.
OURS = {"about.json", "images.npy", "rows.csv", "features", SAMPLE}
# While preparing: one entry for each picture of the source, including unreadable ones, and the progress.
DECODED, NOTE = "decoded.npy", "decoded.json"


class PrepareOptions(TypedDict, total=False):
    """The options of `prepare`, for functions that pass them on."""

    labels: str | Path | None
    test: str | Path | None
    sample: str | Path | None
    label: str | None
    id: str | None
    kind: str | None
    form: str | None
    positive: str | None
    class_names: str | Path | None
    label_separator: str | None
    group_by: str | None
    size: int | None
    resize: str
    valid_share: float
    seed: int
    split_rule: str
    skip_unreadable: bool
    group_duplicates: bool
    workers: int | None


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
    label_separator: str | None = None,
    group_by: str | None = None,
    size: int | None = None,
    resize: str = CROP.how,
    valid_share: float = VALID_SHARE,
    seed: int = 0,
    split_rule: str = SPLIT_RULES[0],
    skip_unreadable: bool = False,
    group_duplicates: bool = False,
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> ImageSet:
    """Decode the pictures of `source` into the folder `out`, split the labelled ones, and open the result.

    source: a folder, an archive, or one of the words demo, demo-multi, cifar10-tiny, cifar10. Its layout is detected.
    labels, test, sample: override what is detected: the labels CSV, the folder of test pictures, the sample submission.
    size: pixels of both sides; by default chosen from the sizes of the first 64 pictures, see `choose_side`.
    resize: "crop", "pad" or "stretch", for pictures that are not square; see resize.py.
    label, id: the column of labels, or several separated by commas, each a class; and the column of ids.
    kind, form, metric, positive: parts of the Task to set; see task.py and sources/answers.py.
    class_names: a JSON or CSV file with a display name for each class.
    label_separator: the text between several labels of an image in one cell.
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
    given: dict[str, Any] = {"labels": labels, "test": test, "sample": sample, "skip": results_inside(source, out)}
    _check(source, out, size, resize)
    origin = identity(source, **given)
    names = str(class_names) if class_names else None
    asked = TaskOptions(label, id, kind, form, metric, positive, names, group_by, label_separator)
    asked.check()
    options = {"size": size, "valid_share": valid_share, "seed": seed, "split_rule": split_rule}
    options |= {name: value for name, value in asdict(asked).items() if value is not None}
    options |= {} if resize == CROP.how else {"resize": resize}
    options |= {"skip_unreadable": skip_unreadable, "group_duplicates": group_duplicates}
    if _is_done(out, origin, options):
        log.info("%s already contains these images", out)
        return ImageSet.open(out)
    # Pictures from a stopped prepare are reused for the same files, size and version.
    versions = [snellen.__version__, PIL.__version__]
    good_for = {"source": origin, "size": size, "resize": resize, "versions": versions, "file": DECODED}
    with replacing_folder(out, kept_for=json.dumps(good_for, sort_keys=True)) as work:
        scratch = work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)  # from a stopped prepare
        scratch.mkdir()
        opened = open_source(source, options=asked, scratch=scratch, on_progress=on_progress, **given)
        several = opened.task.has_several
        # Reports wrong labels before decoding starts.
        splits_of(opened.rows, valid_share, seed, rule=split_rule, has_several=several)
        pixels = _decoded(work, opened, size, Resize(resize), skip_unreadable, workers, on_progress)
        rows = pixels.rows
        duplicates = duplicate_ids(pixels.path, rows, on_progress) if group_duplicates else []
        only_train = {id for group in duplicates for id in group}
        splits = splits_of(rows, valid_share, seed, only_train, rule=split_rule, has_several=several)
        for doubt in doubts_about(rows, splits, several):
            log.warning("%s", doubt)
        warn_of_rows(opened, rows)
        rows_csv = rows_text(rows, splits)
        with open(pixels.path, "rb") as file:
            digest, mean, std = measure(file, pixels.side, [split == "train" for split in splits], rows_csv)
        _write(work / "rows.csv", rows_csv)
        if opened.sample is not None:
            _write(work / SAMPLE, opened.sample)
        shutil.rmtree(scratch)
        pixels.finish()
        more: dict[str, Any] = {"mean": mean, "std": std, "resized": pixels.num_resized}
        more |= {} if resize == CROP.how else {"resize": Resize(resize).to_dict()}
        more |= {"source": origin, "options": options, **({"duplicates": duplicates} if group_duplicates else {})}
        more |= {"fingerprint": digest, "rows_sha256": table_digest(read_table(rows_csv))}
        about = about_of(opened, rows, splits, pixels.side, pixels.unreadable, more)
        files.write_json(work / "about.json", about)
        if opened.sample is not None:
            check_sample(ImageSet.open(work))
    return ImageSet.open(out)


@dataclass(frozen=True)
class _Decoded:
    """The pixels of the readable pictures, in one file of the unfinished folder."""

    path: Path
    rows: list[Row]
    side: int
    num_resized: int
    unreadable: dict[int, str]  # reasons, by index into the rows of the source

    def finish(self) -> None:
        """Give the file its final name, and delete what decoding needed."""
        work = self.path.parent
        (work / NOTE).unlink()  # before the files it describes
        if self.unreadable:
            (work / DECODED).unlink()
        else:
            os.replace(self.path, work / "images.npy")


def _decoded(
    work: Path,
    source: Source,
    size: int | None,
    resize: Resize,
    skip_unreadable: bool,
    workers: int | None,
    on_progress: Progress | None,
) -> _Decoded:
    """Decode all pictures. Raises DataError for unreadable ones, unless they are to be skipped."""
    path = work / DECODED
    path.touch()
    with open(path, "r+b", buffering=0) as file:
        side, unreadable, num_resized = decode_into(
            file, source, size, resize, done=work / NOTE, workers=workers, on_progress=on_progress
        )
        if size is None:
            _warn_of_size(side)
        rows = readable_rows(source.rows, unreadable, skip_unreadable)
        if not unreadable:
            write_at(file, 0, header(len(rows), side))
            os.fsync(file.fileno())
    if unreadable:  # not in place: a stop between two moves would not match the progress file
        copy_readable(path, work / "images.npy", len(source.rows), unreadable, side)
        path = work / "images.npy"
    return _Decoded(path, rows, side, num_resized, unreadable)


def _write(path: Path, data: bytes) -> None:
    with files.replacing(path) as file:
        file.write(data)


def _check(source: str | Path, out: Path, size: int | None, resize: str) -> None:
    """Raise DataError for an invalid size or way to resize, or if `out` is the source or cannot be written."""
    if size is not None and not LEAST <= size <= LARGEST:
        raise DataError(
            f"image size {size} is out of range.", where="--size", expected=f"{LEAST} to {LARGEST:,} pixels"
        )
    if resize not in CHOICES:
        raise DataError(
            f'unknown way to resize pictures: "{resize}".',
            where="--resize",
            expected="; ".join(f"{name}: {text}" for name, text in CHOICES.items()),
            do=did_you_mean(resize, CHOICES, "choose one of these"),
        )
    if is_source(source, out):
        raise DataError(f'"{out}" is the source, which is never overwritten.', where="--out", do="choose another --out")
    check_place(out)
    if size is not None:
        _warn_of_size(size)


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
