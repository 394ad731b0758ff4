"""Errors for labelled images that are too few to be divided."""

from snellen.errors import DataError


def none_to_validate(num_images: int, wanted: str) -> DataError:
    """Return the error for images of which none can be used for validation. wanted: "a class" or "labels"."""
    return DataError(
        f"none of the {num_images} labelled images can be used for validation.",
        expected=f"{wanted} with at least two images, in at least two groups, without duplicates",
        do="add images, or leave out --group-by or --group-duplicates",
    )


def check_num_folds(num_folds: int, num_images: int, num_hands: int, *, have_groups: bool) -> None:
    """Raise DataError unless there are at least two folds and no more than hands: groups, and images without one."""
    if not 2 <= num_folds <= num_hands:
        raise DataError(
            f"{num_images} labelled images cannot be divided into {num_folds} folds.",
            where="--folds",
            expected=f"a number from 2 to {num_hands}, such as 5{', as groups stay together' if have_groups else ''}",
            do="choose another number of folds",
        )
