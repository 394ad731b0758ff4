"""Self-contained pages: styles, figures and pictures are embedded, and there is no script."""

import base64
import io
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snellen import __version__
from snellen.errors import SnellenError
from snellen.system import files
from snellen.system.targets import check_file
from snellen.system.units import minutes, percent, size

# The text before the mark, by file extension. The mark ends within the first FAR_ENOUGH bytes.
MARKS = {".html": '"generator" content="', ".json": '{\n  "made_by": "', ".png": "Software\0", ".txt": "made by "}
FAR_ENOUGH = 1024
SMALL = 128  # pixels: pictures up to this side are shown enlarged and exact
LONGEST, QUALITY = 320, 85  # pixels and JPEG quality of larger ones, to keep pages small


def picture(pixels: np.ndarray) -> str:
    """Return an image, uint8 (H, W, 3), as a data: URI: an exact PNG if it is small, otherwise a JPEG."""
    image, data = Image.fromarray(pixels), io.BytesIO()
    if is_small := max(image.size) <= SMALL:
        image.save(data, "PNG", optimize=True)
    else:
        image.thumbnail((LONGEST, LONGEST))
        image.save(data, "JPEG", quality=QUALITY, optimize=True)
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return f"data:image/{'png' if is_small else 'jpeg'};base64,{text}"


def shades(table: np.ndarray) -> np.ndarray:
    """Return the intensity of the colour of each cell of a confusion table (K, K), from 0 to 0.85."""
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    # Mistakes are much rarer than hits: the square root makes a few per cent visible.
    return np.where(np.eye(len(table), dtype=bool), shares * 0.6, np.sqrt(shares) * 0.85).round(2)


def mark(command: str) -> str:
    """Return the mark that identifies the command that wrote a page, figure or list."""
    return f"snellen {command} {__version__}"


def check_page(
    path: Path, command: str, *endings: str, source: Path | None = None, owners: Collection[Path] = ()
) -> None:
    """Raise SnellenError if the file extension is not in `endings` or the command may not write to this path."""
    if path.suffix not in endings:
        raise SnellenError(
            f'"{path}" has an unknown extension, and the extension determines what is written.',
            where="--out",
            expected=" or ".join(endings),
        )
    start = MARKS[path.suffix] + f"snellen {command} "

    def is_ours(path: Path) -> bool:
        with open(path, "rb") as file:
            return start.encode() in file.read(FAR_ENOUGH)

    check_file(path, f"what `snellen {command}` writes", is_ours, source=source, owners=owners)


def write(path: Path, command: str, makers: Mapping[str, Callable[[], Any]]) -> Path:
    """Write the result of the maker for the path's extension, with the command's mark.

    makers: for each extension, a function that returns the text of a page (.html) or list (.txt), values (.json) or
    bytes (.png). Pages and figures must already contain the mark. Raises what `check_page` raises.
    """
    check_page(path, command, *makers)
    made = makers[path.suffix]()
    if path.suffix == ".json":
        files.write_json(path, {"made_by": mark(command), **made})
    elif path.suffix == ".png":
        with files.replacing(path) as file:
            file.write(made)
    else:
        files.write_text(path, f"made by {mark(command)}\n{made}\n" if path.suffix == ".txt" else made)
    return path


def render(template: str, *, command: str = "", **values: Any) -> str:
    """Return the text of a page. All values are escaped, except figures that the template marks with `| figure`.

    command: the command that writes the page (default: the name of the template).
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
    """Return an SVG from figures.py, marked so that the page includes it unescaped."""
    import markupsafe

    return markupsafe.Markup(svg)
