"""Predictions: one row of probabilities for each image id."""

import csv
import io
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from snellen.errors import DataError, first_few
from snellen.images.labels import label_text, names_of
from snellen.sources.label_lists import as_list, in_list
from snellen.system import files

PREFIX = "p_"  # a class may be called "id" or "label"; its probability column is then "p_id"


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's predictions by image id."""

    ids: np.ndarray  # str (N,), unique
    probabilities: np.ndarray  # float32 (N, K); each row sums to 1, unless images can have several labels
    classes: tuple[str, ...]
    # The labels decided on (see decide.py): int64 (N,), or bool (N, K) if images can have several; None: the most
    # probable ones.
    decided: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labels(self) -> np.ndarray:
        """The label decided on for each image, int64 (N,), or labels, bool (N, K)."""
        return self.probabilities.argmax(axis=1) if self.decided is None else self.decided

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids.tolist())}

    @property
    def has_several(self) -> bool:
        """Whether images can have several labels, or none."""
        return self.labels.ndim == 2

    def label_of(self, id: str) -> str:
        """Return the name of the label decided on, or the JSON list of several; see `labels_of`."""
        return label_text(self.labels[self._row_of[id]], self.classes)

    def labels_of(self, id: str) -> list[str]:
        """Return the names of the labels decided on. Raises KeyError for an id that was not predicted."""
        return names_of(self.labels[self._row_of[id]], self.classes)

    def save(self, path: str | Path) -> Path:
        """Write a CSV: id, label decided on, one probability per class (9 digits, to restore float32 exactly).

        Several labels are a JSON list in a column called labels.
        """
        path = Path(path)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "labels" if self.has_several else "label", *(PREFIX + name for name in self.classes)])
        with files.replacing(path) as file:
            for start in range(0, len(self), 10_000):  # in parts, so that 300,000 rows are never in memory as text
                part = slice(start, start + 10_000)
                names = (label_text(label, self.classes) for label in self.labels[part])
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
                    header[:2] not in (["id", "label"], ["id", "labels"])
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
                has_several, label_of = header[1] == "labels", {name: label for label, name in enumerate(classes)}
                ids, numbers, labels = [], [], []
                for row in reader:
                    try:
                        probabilities = np.array(row[2:], dtype=np.float32)
                        usable = len(row) == len(header) and probabilities.min() >= 0 and probabilities.max() < 1.001
                        usable = usable and (has_several or abs(float(probabilities.sum()) - 1) < 1e-3)
                        chosen = [label_of[name] for name in (in_list(row[1]) if has_several else row[1:2])]
                    except (ValueError, KeyError):
                        usable = False
                    if not usable:
                        numbers_wanted = f"{len(classes)} probabilities"
                        wanted = f"an id, a class, and {numbers_wanted} that sum to 1"
                        if has_several:
                            wanted = f"an id, a list of classes such as {as_list(classes[:2])}, and {numbers_wanted}"
                        raise DataError(
                            f'the line for id "{row[0] if row else ""}" is damaged.',
                            where=f"{path}, line {reader.line_num}",
                            expected=wanted,
                            do=again,
                        )
                    ids.append(row[0])
                    numbers.append(probabilities)
                    labels.append(np.isin(np.arange(len(classes)), chosen) if has_several else chosen[0])
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
        return cls(np.array(ids, dtype=str), np.stack(numbers), classes, np.array(labels))

    def __str__(self) -> str:
        return f"{len(self):,} predictions over {len(self.classes)} classes"

    def __repr__(self) -> str:
        return f"<Predictions: {self}>"
