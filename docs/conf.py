"""How the pages are built: sphinx-build -W docs docs/_build"""

import inspect
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import executed  # noqa: E402
import reference  # noqa: E402

import snellen  # noqa: E402

project = "snellen"
release = version = snellen.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "_executed"]
myst_heading_anchors = 3
suppress_warnings = ["misc.highlighting_failure"]
default_role = "literal"  # docstrings write `name` for code
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "snellen"
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["style.css"]

# Pages whose blocks are run, top to bottom, when the pages are built.
EXECUTED = ("chapter", "gluoncv", "your-own-data", "metrics")
GENERATED = {"commands": reference.commands, "recipes": reference.recipes}


def write_page(app, name, source):
    """Complete the text of a page before it is read."""
    if name in GENERATED:
        source[0] += "\n" + GENERATED[name]()
    elif name in EXECUTED and app.config.execute_pages:
        pictures = DOCS / "_executed"
        pictures.mkdir(exist_ok=True)

        def show(picture):
            kept = pictures / f"{name}-{picture.name}"
            kept.write_bytes(picture.read_bytes())
            return f"![{picture.stem}](_executed/{kept.name})"

        with tempfile.TemporaryDirectory() as folder:
            source[0] = executed.execute(source[0], Path(folder), show)


def write_docstring(app, what, name, thing, options, lines):
    try:
        parameters = list(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        parameters = []
    lines[:] = reference.as_rst(lines, parameters)


def setup(app):
    app.add_config_value("execute_pages", True, "env", [bool])
    app.connect("source-read", write_page)
    app.connect("autodoc-process-docstring", write_docstring)
    return {"parallel_read_safe": False}
