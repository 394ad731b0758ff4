"""Choose the size of the prepared images, and check that they fit on the disk."""

import logging
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from snellen.errors import DataError
from snellen.images.choices import PHOTOGRAPH
from snellen.system import units

log = logging.getLogger("snellen")
DEFAULT_SIZE = 32  # pixels, as in CIFAR
PHOTOGRAPH_SIZE = 256  # pixels: networks for photographs take 224 or less, and crops need some more


def choose_side(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the side of the prepared images, and log the rule. sizes: (width, height) of the first pictures.

    Photographs, whose median shorter side is at least PHOTOGRAPH pixels, get PHOTOGRAPH_SIZE pixels, or their median
    if it is smaller. Small square pictures of equal size keep it. All others get DEFAULT_SIZE.
    """
    shorter = int(statistics.median_low([min(size) for size in sizes] or [0]))
    if shorter >= PHOTOGRAPH:
        side = min(shorter, PHOTOGRAPH_SIZE)
        rule = f"photographs: the median shorter side of the first {len(sizes)} pictures is {shorter:,} pixels"
    elif len({*sizes}) == 1 and sizes[0][0] == sizes[0][1] >= 4:
        side, rule = shorter, f"as in the first {len(sizes)} pictures"
    else:
        side = DEFAULT_SIZE
        found = "different sizes" if len({*sizes}) > 1 else "{}x{} pixels".format(*min(sizes, default=(0, 0)))
        rule = f"the first {len(sizes)} pictures have {found}"
    log.info("size: %dx%d pixels (%s); see --size", side, side, rule)
    return side


def warn_of_crop(sizes: Sequence[tuple[int, int]]) -> None:
    """Warn if cropping the centre would drop more than half of most pictures. sizes: (width, height)."""
    kept = statistics.median([min(size) / max(size) for size in sizes] or [1])
    if kept < 0.5:
        log.warning(
            "most pictures are far from square: cropping the centre drops about %s of each; "
            "--resize pad keeps all of it",
            units.percent(1 - kept, 0),
        )


def check_space(folder: Path, num_bytes: int) -> None:
    """Log the disk space that the images need, or raise DataError if less is free."""
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise DataError(
            f"the prepared images need {units.size(num_bytes)} of disk space, but only {units.size(free)} are free.",
            where=str(folder),
            expected=f"{units.size(num_bytes)} or more",
            do="free some space, choose an --out on another disk, or prepare smaller images (--size)",
        )
    log.info("disk space: %s needed, %s free", units.size(num_bytes), units.size(free))
