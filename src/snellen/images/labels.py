"""Labels of an ImageSet as arrays: one per image, int64 (N,), or several, bool (N, K)."""

from collections.abc import Sequence

import numpy as np

from snellen.sources.label_lists import as_list, in_list, shown_list

UNLABELLED = -1


def read_labels(cells: Sequence[str], classes: tuple[str, ...], has_several: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels in rows.csv, and whether each image's labels are known, bool (N,).

    Raises KeyError or ValueError for a cell that contains anything but classes.
    """
    has_label = np.array([bool(cell) for cell in cells], dtype=bool)
    index = {name: label for label, name in enumerate(classes)}
    if not has_several:
        index[""] = UNLABELLED
        return np.array([index[cell] for cell in cells], dtype=np.int64), has_label
    labels = np.zeros((len(cells), len(classes)), dtype=bool)
    for row, cell in enumerate(cells):
        for name in in_list(cell) if cell else ():
            labels[row, index[name]] = True
    return labels, has_label


def names_of(label: int | np.ndarray, classes: Sequence[str]) -> list[str]:
    """Return the classes of one label: an index, or bool (K,). UNLABELLED has none."""
    if np.ndim(label):
        return [classes[k] for k in np.flatnonzero(label).tolist()]
    return [] if label == UNLABELLED else [classes[int(label)]]


def label_text(label: int | np.ndarray, classes: Sequence[str]) -> str:
    """Return one label as rows.csv has it: "cat"; '["forest", "river"]'. UNLABELLED is ""."""
    return as_list(names_of(label, classes)) if np.ndim(label) else "".join(names_of(label, classes))


def shown_labels(label: int | np.ndarray, classes: Sequence[str]) -> str:
    """Return one label for display: "cat"; "forest, river" or "none" if an image can have several."""
    return shown_list(names_of(label, classes)) if np.ndim(label) else "".join(names_of(label, classes))


def label_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the number of images of each class, int64 (K,). labels: known ones, int (N,) or bool (N, K)."""
    return labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=num_classes)
