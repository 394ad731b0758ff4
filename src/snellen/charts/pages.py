"""HTML pages in one file each: styles, figures and pictures inside, no script, nothing from elsewhere."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen import __version__
from snellen.errors import SnellenError
from snellen.images.imageset import UNLABELLED, ImageSet
from snellen.system import files

STARTS = {".html": b"<!DOCTYPE html>", ".json": b"{", ".png": b"\x89PNG", ".txt": b""}  # of files by their ending
LONGEST = 128  # pixels: larger pictures are scaled down, so that a page of them stays small


@dataclass(frozen=True)
class Card:
    """A picture with what is to be said of it."""

    picture: str  # a data: URI
    id: str
    split: str
    path: str
    label: str  # "" where none is known
    guess: str = ""  # what a model or a rule says of it


def cards(images: ImageSet, index: Sequence[int] | np.ndarray, guesses: Sequence[str] = ()) -> list[Card]:
    """One card for each of these positions, with its guess where there are any."""
    chosen = images.take(np.asarray(index, dtype=np.int64))
    labels = ["" if label == UNLABELLED else images.classes[label] for label in chosen.labels]
    return [
        Card(picture(pixels), id, split, path, label, guess)
        for pixels, id, split, path, label, guess in zip(
            chosen.pixels(),
            chosen.ids.tolist(),
            chosen.splits.tolist(),
            chosen.paths.tolist(),
            labels,
            guesses or [""] * len(chosen),
            strict=True,
        )
    ]


def picture(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data: URI of a PNG, its longer side at most 128 pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST))
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def check_page(path: Path, *endings: str) -> None:
    """Raise SnellenError where a page cannot go: an ending that says nothing, a folder, a file of another kind."""
    if path.suffix not in endings:
        raise SnellenError(
            f'"{path}" has no ending that says what to write.',
            where="--out",
            expected=f"{', '.join(endings[:-1])} or {endings[-1]}",
        )
    files.check_target(path, STARTS[path.suffix], "such a page or list")


def render(template: str, **values: Any) -> str:
    """The text of a page. Whatever `values` hold is escaped, except figures marked as such (`markup`)."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "minutes": minutes, "size": size, "figure": _figure}
    return environment.get_template(template).render(values | {"version": __version__})


def _figure(svg: str) -> Any:
    """An SVG that charts.py drew may stand in a page as it is."""
    import markupsafe

    return markupsafe.Markup(svg)


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}%"


def minutes(seconds: float) -> str:
    """For people: 8.1 s, 2 min 5 s, 1 h 40 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def size(num_bytes: float) -> str:
    """For people: 812 kB, 7.9 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000 or unit == "GB":
            break
        num_bytes /= 1000
    return f"{num_bytes:,.0f} {unit}" if unit in ("bytes", "kB") else f"{num_bytes:,.1f} {unit}"
