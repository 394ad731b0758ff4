"""Predictions: one row of probabilities for each image id."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from snellen.errors import DataError, first_few
from snellen.system import files

PREFIX = "p_"  # a class may be called "id" or "label"; its probability column is then "p_id"


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions by image id."""

    ids: np.ndarray  # str (N,), unique
    probabilities: np.ndarray  # float32 (N, classes); each row sums to 1
    classes: tuple[str, ...]
    decided: np.ndarray | None = None  # int64 (N,): the labels decided on (see decide.py); None: the most probable ones

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labels(self) -> np.ndarray:
        """The label decided on for each image, int64 (N,)."""
        return self.probabilities.argmax(axis=1) if self.decided is None else self.decided

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids.tolist())}

    def label_of(self, id: str) -> str:
        """Return the name of the label decided on. Raises KeyError for an id that was not predicted."""
        return self.classes[self.labels[self._row_of[id]]]

    def save(self, path: str | Path) -> Path:
        """Write a CSV: id, label decided on, one probability per class (9 digits, to restore float32 exactly)."""
        path = Path(path)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "label", *(PREFIX + name for name in self.classes)])
        with files.replacing(path) as file:
            for start in range(0, len(self), 10_000):  # in parts, so that 300,000 rows are never in memory as text
                part = slice(start, start + 10_000)
                names = (self.classes[label] for label in self.labels[part])
                numbers = ([f"{p:.9g}" for p in row] for row in self.probabilities[part].tolist())
                writer.writerows([id, name, *row] for id, name, row in zip(self.ids[part], names, numbers, strict=True))
                file.write(text.getvalue().encode("utf-8"))
                text.seek(0)
                text.truncate()
        return path

    @classmethod
    def open(cls, path: str | Path) -> "Predictions":
        """Read a file written by `save`. Raises DataError, with the line, if it is damaged."""
        path = Path(path)
        again = "write it again: snellen predict RUN DATA --out predictions.csv"
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file)
                header = next(reader, [])
                if (
                    header[:2] != ["id", "label"]
                    or len(header) < 4
                    or len(set(header)) < len(header)
                    or not all(n.startswith(PREFIX) for n in header[2:])
                ):
                    raise DataError(
                        f'this is not a predictions file; its first line is "{",".join(header)[:60]}".',
                        where=f"{path}, line 1",
                        expected=f"id,label,{PREFIX}<class>,{PREFIX}<class>,...",
                        do=again,
                    )
                classes = tuple(name.removeprefix(PREFIX) for name in header[2:])
                label_of = {name: label for label, name in enumerate(classes)}
                ids, numbers, labels = [], [], []
                for row in reader:
                    try:
                        probabilities = np.array(row[2:], dtype=np.float32)
                        usable = len(row) == len(header) and abs(float(probabilities.sum()) - 1) < 1e-3
                        usable = usable and probabilities.min() >= 0
                        usable = usable and row[1] in label_of
                    except ValueError:
                        usable = False
                    if not usable:
                        raise DataError(
                            f'the line for id "{row[0] if row else ""}" is damaged.',
                            where=f"{path}, line {reader.line_num}",
                            expected=f"an id, a class, and {len(classes)} probabilities that sum to 1",
                            do=again,
                        )
                    ids.append(row[0])
                    numbers.append(probabilities)
                    labels.append(label_of[row[1]])
        except OSError as problem:
            raise DataError(f"the predictions cannot be read: {problem.strerror}.", where=str(path), do=again) from None
        except (UnicodeDecodeError, csv.Error) as problem:
            raise DataError(f"this is not a predictions file: {problem}.", where=str(path), do=again) from None
        if not ids:
            raise DataError("the predictions file has no rows.", where=str(path), do=again)
        if len(set(ids)) < len(ids):
            repeated = [id for id, count in Counter(ids).items() if count > 1]
            raise DataError(
                f"{len(repeated)} ids are repeated, first {first_few(repeated)}.",
                where=str(path),
                expected="each id once",
                do=again,
            )
        return cls(np.array(ids, dtype=str), np.stack(numbers), classes, np.array(labels, dtype=np.int64))

    def __str__(self) -> str:
        return f"{len(self):,} predictions over {len(self.classes)} classes"

    def __repr__(self) -> str:
        return f"<Predictions: {self}>"
