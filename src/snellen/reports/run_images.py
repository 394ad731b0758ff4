"""Open the images for a report or a comparison."""

from pathlib import Path

from snellen.errors import DataError
from snellen.images.folds import as_trained
from snellen.images.imageset import ImageSet
from snellen.runs.run import Run


def images_of(run: Run, images: ImageSet | str | Path | None, command: str) -> ImageSet:
    """Open the images, by default those of the run, with the splits used in its training.

    command: the command line to suggest in the message. Raises DataError for missing or damaged images.
    """
    if images is None:
        try:
            images = ImageSet.open(run.about.get("data", ""))
        except DataError as problem:
            raise DataError(
                problem.what,
                where=f"the training images of the run, according to {run.folder / 'about.json'}",
                expected=problem.expected,
                do=f"if they have moved, name their folder: {command} --data DATA",
            ) from None
    return as_trained(images if isinstance(images, ImageSet) else ImageSet.open(images), run.about)
