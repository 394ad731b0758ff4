"""HTML pages in one file each: styles, figures and pictures inside, no script, nothing from elsewhere."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen import __version__
from snellen.errors import SnellenError
from snellen.system import files
from snellen.system.units import minutes, percent, size

STARTS = {".html": b"<!DOCTYPE html>", ".json": b"{", ".png": b"\x89PNG", ".txt": b""}  # of files by their ending
LONGEST = 128  # pixels: larger pictures are scaled down, so that a page of them stays small


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
