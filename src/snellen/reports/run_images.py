"""The images that a report or a comparison is about."""

from pathlib import Path

from snellen.errors import DataError
from snellen.images.folds import as_trained
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run


def images_of(run: Run, images: ImageSet | str | Path | None, command: str) -> ImageSet:
    """Open the images, by default those of the run, with the splits that it was trained with.

    command: the command line that names other images, for the message. Raises DataError for missing or damaged images.
    """
    if images is None:
        try:
            images = ImageSet.open(run.about.get("data", ""))
        except DataError as problem:
            raise DataError(
                problem.what,
                where=f"the images that the run was trained on, by {run.folder / 'about.json'}",
                expected=problem.expected,
                do=f"if they have moved, name their folder: {command} --data DATA",
            ) from None
    return as_trained(images if isinstance(images, ImageSet) else ImageSet.open(images), run.about)
