"""HTML pages in one file each: styles, figures and pictures inside, no script, nothing from elsewhere."""

import base64
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen import __version__
from snellen.errors import SnellenError
from snellen.system.targets import check_file
from snellen.system.units import minutes, percent, size

# What stands before the mark, by the ending of the file; and by how many bytes from the start both have come.
MARKS = {".html": '"generator" content="', ".json": '{\n  "made_by": "', ".png": "Software\0", ".txt": "made by "}
FAR_ENOUGH = 1024
LONGEST = 128  # pixels: larger pictures are scaled down, so that a page of them stays small


def picture(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data: URI of a PNG, its longer side at most 128 pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST))
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def mark(command: str) -> str:
    """Return the words by which a page, figure or list is known to be written by a command."""
    return f"snellen {command} {__version__}"


def check_page(
    path: Path, command: str, *endings: str, source: Path | None = None, owners: Collection[Path] = ()
) -> None:
    """Raise SnellenError for an ending that none of the command's pages has, and if the command may not write there."""
    if path.suffix not in endings:
        raise SnellenError(
            f'"{path}" has none of the endings that decide what is written.',
            where="--out",
            expected=" or ".join(endings),
        )
    start = MARKS[path.suffix] + f"snellen {command} "

    def is_ours(path: Path) -> bool:
        with open(path, "rb") as file:
            return start.encode() in file.read(FAR_ENOUGH)

    check_file(path, f"what `snellen {command}` writes", is_ours, source=source, owners=owners)


def render(template: str, *, command: str = "", **values: Any) -> str:
    """Return the text of a page. Whatever `values` hold is escaped, except figures marked as such (`markup`).

    command: the command that writes the page; by default the one that the template is called after.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "minutes": minutes, "size": size, "figure": _figure}
    values |= {"version": __version__, "mark": mark(command or Path(template).stem)}
    return environment.get_template(template).render(values)


def _figure(svg: str) -> Any:
    """An SVG that charts.py drew may stand in a page as it is."""
    import markupsafe

    return markupsafe.Markup(svg)
