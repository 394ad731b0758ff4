"""Find the array of labels that belongs to an array of images."""

import numpy as np

from snellen.errors import DataError, first_few
from snellen.sources.label_lists import as_list
from snellen.sources.roles import role_of
from snellen.sources.stored_arrays import Stored, exactly

MAX_LABEL_BYTES = 256 * 10**6
IMAGE_SIDE = 4096  # pixels; the largest side accepted


def is_images(array: Stored) -> bool:
    """Return whether an array has the shape of images."""
    return len(array.shape) in (3, 4) and min(array.shape) > 0 and max(array.shape[1:]) <= IMAGE_SIDE


def role_of_array(array: Stored) -> str:
    """Return the role in the name of an array or its file: train, valid, test, or ""."""
    name = array.name if role_of(array.name) or not array.member else f"{array.file.stem}_{array.name}"
    role = role_of(name)
    return {"all": "train", "unlabelled": "test"}.get(role, role)


def labels_of(role: str, images: Stored, stored: list[Stored]) -> tuple[Stored, np.ndarray] | None:
    """Return the labels of an array of images, (N, K): the array of the same role with the same number of rows."""
    fitting = [
        a for a in stored if not is_images(a) and a.shape and a.shape[0] == images.shape[0] and role_of_array(a) == role
    ]
    fitting = [a for a in fitting if a.file == images.file or not a.member]
    if len(fitting) > 1:
        named = [a for a in fitting if {"label", "labels", "y", "target", "targets"} & {*a.name.lower().split("_")}]
        fitting = named if len(named) == 1 else fitting
    if not fitting:
        return None
    if len(fitting) > 1:
        raise DataError(
            f"several arrays could be the labels of {images.name}: {first_few(a.name for a in fitting)}.",
            where=str(images.file),
            expected="one array of labels for each array of images",
            do="keep only one of them in the source",
        )
    [array] = fitting
    size = int(np.prod(array.shape)) * array.dtype.itemsize
    if size > MAX_LABEL_BYTES or (array.is_fortran and len(array.shape) > 1):
        raise DataError(
            f"the array of labels {array.name} is too large, or stored column by column.",
            where=str(array.file),
            expected="at most 256 MB, row by row (C order)",
            do="save it as whole numbers: numpy.ascontiguousarray(labels, dtype=numpy.int32)",
        )
    with array.opened() as file:
        values = np.frombuffer(exactly(file, size, array), dtype=array.dtype).reshape(array.shape)
    return array, values.reshape(len(values), -1)


def hold_several(values: np.ndarray, array: Stored) -> bool:
    """Return whether labels (N, K) allow any number per image, as in [0, 1, 1]. Raises DataError for other values.

    A single column holds one label per image.
    """
    if values.shape[1] == 1:
        return False
    if not np.isin(values, (0, 1)).all():
        raise DataError(
            f"the labels {array.name} have the shape {array.shape} and values other than 0 and 1.",
            where=str(array.file),
            expected="one label per image, or 0 and 1 for each class",
            do="save the labels as 0 and 1",
        )
    return not (values.sum(axis=1) == 1).all()


def label_names(values: np.ndarray, array: Stored, has_several: bool) -> list[str]:
    """Return the label of each row of labels (N, 1) or (N, K), or the list of several. Raises DataError for fractions.

    Columns have their number from 0 as their name.
    """
    if values.shape[1] > 1:
        if has_several:
            return [as_list(str(label) for label in np.flatnonzero(row)) for row in values]
        return [str(label) for label in values.argmax(axis=1).tolist()]
    column = values[:, 0]
    if column.dtype.kind in "US":
        return [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in column.tolist()]
    if column.dtype.kind == "f" and (column == np.floor(column)).all():
        column = column.astype(np.int64)
    if column.dtype.kind not in "iub":
        raise DataError(
            f"the labels {array.name} are {column.dtype} with fractions: this is regression.",
            where=str(array.file),
            expected="whole numbers or names",
            do="snellen only classifies; save the classes as whole numbers",
        )
    return [str(int(label)) for label in column.tolist()]
