"""The executed guides as Jupyter notebooks, made from the same pages: no second text.

    python docs/notebooks.py OUT [PAGE ...]

writes OUT/chapter.ipynb and so on, each run from top to bottom in a folder of its own. A block that is not run stays as
text. Running them takes the packages of `pip install 'snellen[docs]'`.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

try:
    import nbformat
    from executed import BLOCK, COMMANDS, SHOWS, command_lines
    from nbclient import NotebookClient
except ImportError as missing:
    sys.exit(f"{missing.name} is not installed; do: pip install -c constraints.txt -e '.[docs]'")

DOCS = Path(__file__).parent
PAGES = ("chapter", "gluoncv", "your-own-data", "metrics")
LOCAL_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\)")


def cells(text: str) -> list[nbformat.NotebookNode]:
    """The page in Markdown as cells: its text, and a code cell for each block that is run and each picture shown."""
    found: list[nbformat.NotebookNode] = []
    position = 0

    def say(words: str) -> None:
        words = LOCAL_LINK.sub(r"\1", words).strip()  # a notebook lies by itself
        if words:
            found.append(nbformat.v4.new_markdown_cell(words))

    for match in sorted([*BLOCK.finditer(text), *SHOWS.finditer(text)], key=re.Match.start):
        code = ""
        if match.re is SHOWS:
            code = f'from IPython.display import Image\n\nImage("{match["file"]}")'
        elif match["language"] == "python" and not match["skipped"]:
            code = match["code"].strip()
        elif match["language"] in COMMANDS and not match["skipped"]:
            code = "%%bash -e\n" + "\n".join(command_lines(match["code"]))
        if code:
            say(text[position : match.start()])
            found.append(nbformat.v4.new_code_cell(code))
            position = match.end()
    say(text[position:])
    for number, cell in enumerate(found):
        cell["id"] = f"cell-{number}"  # nbformat draws one: the same page should give the same notebook
    return found


def notebook(text: str) -> nbformat.NotebookNode:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells(text), metadata={"kernelspec": kernel})


def run(book: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run the cells in a new folder, as Jupyter would. Raises nbclient's CellExecutionError for one that fails."""
    with tempfile.TemporaryDirectory() as folder:
        beside = str(Path(sys.executable).parent)  # the `snellen` of this environment, whether it is activated or not
        environment = os.environ | {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}"}
        client = NotebookClient(
            book,
            timeout=300,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            coalesce_streams=True,  # else a cell's text comes in as many pieces as the moment has it
        )
        client.execute(env=environment)
    for cell in book.cells:
        cell["metadata"].pop("execution", None)  # clock times
    return book


def main(out: Path, *pages: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for page in pages or PAGES:
        book = run(notebook((DOCS / f"{page}.md").read_text(encoding="utf-8")))
        nbformat.write(book, out / f"{page}.ipynb")
        print(out / f"{page}.ipynb")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
