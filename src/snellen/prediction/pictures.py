"""Model + pictures of any size and format -> classes, and whether a picture is unlike the training images."""

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.errors import DataError
from snellen.images.labels import names_of
from snellen.models.classifier import Classifier
from snellen.prediction import calibrate
from snellen.prediction.decide import decide, rule_of
from snellen.prediction.predictions import PREFIX
from snellen.prediction.probabilities import familiarity, features, probabilities
from snellen.sources.decode import UnreadablePicture, decode, is_picture
from snellen.sources.label_lists import as_list
from snellen.sources.rows import natural_key
from snellen.system import files
from snellen.system.contents import contents_of
from snellen.system.device import Runtime
from snellen.system.progress import Progress
from snellen.system.targets import check_file

COLUMNS = ("name", "label", "probability", "strangeness", "problem")
CHUNK = 1024  # pictures decoded at a time, to bound memory


@dataclass(frozen=True, eq=False)
class Classified:
    """The prediction for one picture. If it could not be read, `problem` is the reason and all else is empty."""

    name: str
    problem: str = ""
    probabilities: np.ndarray | None = None  # float32 (K,), calibrated
    decided: int | np.ndarray | None = (
        None  # the label decided on, see decide.py, or bool (K,); None: the most probable
    )
    strangeness: float = math.nan  # out-of-distribution score; above 1 the picture is unlike the training images

    @property
    def has_several(self) -> bool:
        """Whether the picture can have several labels, or none."""
        return isinstance(self.decided, np.ndarray)

    @property
    def is_strange(self) -> bool:
        """Whether the picture is less familiar than almost all validation images (see calibrate.py)."""
        return self.strangeness > 1

    def labels(self, classes: Sequence[str]) -> list[str]:
        """Return the classes decided on: one, or any number if images can have several labels."""
        assert self.probabilities is not None, "an unreadable picture has no classes"
        return names_of(int(self.probabilities.argmax()) if self.decided is None else self.decided, classes)

    def top(self, classes: Sequence[str], most: int) -> list[tuple[str, float]]:
        """Return the classes decided on, followed by the most probable others, with their probabilities."""
        assert self.probabilities is not None, "an unreadable picture has no classes"
        order = np.argsort(-self.probabilities, kind="stable")
        decided = {*self.labels(classes)}
        best = sorted(order.tolist(), key=lambda label: classes[label] not in decided)[:most]
        return [(classes[label], float(self.probabilities[label])) for label in best]


def classify(
    model: Classifier,
    pictures: Sequence[tuple[str, bytes | Path]],
    runtime: Runtime,
    *,
    views: int | None = None,
    on_progress: Progress | None = None,
) -> list[Classified]:
    """Classify named pictures, resized like the images that the model was trained on.

    A picture that cannot be read becomes an entry with a `problem`.
    """
    found: list[Classified] = []
    for start in range(0, len(pictures), CHUNK):
        chunk = pictures[start : start + CHUNK]
        pixels: list[np.ndarray | str] = []
        for _, picture in chunk:
            try:
                pixels.append(decode(picture, model.size[0], model.resize)[0])
            except (UnreadablePicture, OSError) as problem:
                pixels.append(str(problem))
        readable = [image for image in pixels if not isinstance(image, str)]
        if readable:
            pixels_of = np.stack(readable)
            guesses = probabilities(model, pixels_of, runtime, views=views)
            seen = features(model, pixels_of, runtime)
            scores = calibrate.strangeness(familiarity(model, seen), *model.familiar.tolist())
            decided = decide(guesses, rule_of(model))
            rows = iter(zip(guesses, decided if decided.ndim == 2 else decided.tolist(), scores, strict=True))
        for (name, _), image in zip(chunk, pixels, strict=True):
            if isinstance(image, str):
                found.append(Classified(name, problem=image))
            else:
                guess, label, score = next(rows)
                found.append(Classified(name, probabilities=guess, decided=label, strangeness=float(score)))
        if on_progress:
            on_progress("classify", len(found), len(pictures))
    return found


def find_pictures(paths: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """Return the picture files in `paths`, and in any folders there, once each, in natural order, with their names.

    Raises DataError if a path does not exist or a folder has no pictures.
    """
    found: list[tuple[str, Path]] = []
    for path in map(Path, paths):
        inside: list[Path] = []
        if path.is_dir():
            inside = [p for p in path.rglob("*") if p.is_file() and is_picture(p.name) and not p.name.startswith(".")]
            found += sorted(((str(p), p) for p in inside), key=lambda pair: natural_key(pair[0]))
        elif path.is_file():
            found.append((str(path), path))
            inside = [path]
        contents = contents_of(path)
        if not inside or contents.is_ours:
            what = f"holds {contents}, not pictures" if contents.is_ours else "contains no pictures"
            raise DataError(
                f'"{path}" {what if path.exists() else "does not exist"}.',
                expected="prepared images, picture files, or folders of them (.png, .jpg, ...)",
                do="check the path",
            )
    once: dict[str, tuple[str, Path]] = {}
    for name, path in found:
        once.setdefault(os.path.abspath(path), (name, path))
    return list(once.values())


def check_list(out: str | Path) -> None:
    """Raise DataError if `write_classified` may not write to this file."""
    is_json = Path(out).suffix.lower() == ".json"
    is_ours = _is_list if is_json else ",".join([*COLUMNS, PREFIX]).encode()
    check_file(out, "a list of classified pictures", is_ours)


def _is_list(path: Path) -> bool:
    """Return whether a JSON file is from `write_classified`: entries have the columns, and classes if readable."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return bool(entries) and all({*entry} - {"classes"} == {*COLUMNS} for entry in entries)
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def write_classified(found: Sequence[Classified], classes: Sequence[str], out: str | Path) -> Path:
    """Write the results of `classify` as CSV, or as JSON if `out` ends in .json."""
    check_list(out)
    out = Path(out)
    entries = []
    for picture in found:
        entry: dict = {
            "name": picture.name,
            "label": "",
            "probability": "",
            "strangeness": "",
            "problem": picture.problem,
        }
        if picture.probabilities is not None:
            [(entry["label"], entry["probability"])] = picture.top(classes, 1)
            if picture.has_several:
                entry["label"] = as_list(picture.labels(classes))
            if not math.isnan(picture.strangeness):
                entry["strangeness"] = round(picture.strangeness, 4)
            entry["classes"] = dict(zip(classes, picture.probabilities.tolist(), strict=True))
        entries.append(entry)
    if out.suffix.lower() == ".json":
        files.write_json(out, entries)
        return out
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *(PREFIX + name for name in classes)])
    for entry in entries:
        numbers = [f"{p:.9g}" for p in entry.pop("classes", {}).values()] or [""] * len(classes)
        probability = entry["probability"] if entry["probability"] == "" else f"{entry['probability']:.9g}"
        writer.writerow([*(entry | {"probability": probability}).values(), *numbers])
    files.write_text(out, text.getvalue())
    return out
