"""The guides as notebooks: the same text and blocks, and they run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import conf  # noqa: E402
import executed  # noqa: E402
import notebooks  # noqa: E402


def test_the_executed_pages_are_the_notebooks():
    assert notebooks.PAGES == conf.EXECUTED


@pytest.mark.parametrize("page", notebooks.PAGES)
def test_every_block_of_a_page_is_a_cell_in_its_order(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    book = notebooks.notebook(text)
    notebooks.nbformat.validate(book)
    run = [block for block in executed.blocks(text) if not block.skipped and block.language in ("python", "", "sh")]
    code = [cell.source for cell in book.cells if cell.cell_type == "code" and "IPython" not in cell.source]
    assert len(code) == len(run) > 5
    for source, block in zip(code, run, strict=True):
        if block.language == "python":
            compile(source, page, "exec")
            assert source == block.code.strip()
        else:
            assert source.splitlines()[1:] == list(executed.command_lines(block.code))
    said = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    for heading in (line for line in executed.BLOCK.sub("", text).splitlines() if line.startswith("#")):
        assert heading in said
    assert all(block.code.strip() in said for block in executed.blocks(text) if block.skipped)


def write(page, out):
    """Run a page as a notebook, in a process of its own: these packages warn of one another's future."""
    code = f"import sys; sys.path.insert(0, {str(DOCS)!r}); import notebooks; from pathlib import Path\n"
    code += f"notebooks.DOCS = Path({str(page.parent)!r}); notebooks.main(Path({str(out)!r}), {page.stem!r})"
    program = out.parent / "snellen"  # the package may not be installed where its tests run
    program.write_text(f"#!{sys.executable}\nfrom snellen.cli.commands import main\n\nmain(prog_name='snellen')\n")
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{os.environ['PATH']}{os.pathsep}{out.parent}"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)


def test_a_notebook_holds_what_its_cells_printed(tmp_path):
    (tmp_path / "small.md").write_text(
        "# Small\n\n[here](other.md) and [there](https://example.org)\n\n"
        "```python\nfrom snellen.sources.demo import write_competition\n\n"
        'write_competition("shapes", num_train=40, num_test=10)\nprint(6 * 7)\n```\n\n'
        "```sh\nsnellen show smoke\nls shapes\n```\n\n<!-- not run: never -->\n```sh\nsnellen nothing\n```\n"
    )
    done = write(tmp_path / "small.md", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    book = json.loads((tmp_path / "out/small.ipynb").read_text())
    kinds = [cell["cell_type"] for cell in book["cells"]]
    assert kinds == ["markdown", "code", "code", "markdown"]
    assert "".join(book["cells"][0]["source"]).endswith("here and [there](https://example.org)")
    assert "".join(book["cells"][1]["outputs"][0]["text"]) == "42\n"
    printed = "".join(book["cells"][2]["outputs"][0]["text"])
    assert "whitened_cnn" in printed
    assert "trainLabels.csv" in printed
    assert str(tmp_path) not in json.dumps(book)
    first = (tmp_path / "out/small.ipynb").read_bytes()
    assert write(tmp_path / "small.md", tmp_path / "out").returncode == 0
    assert (tmp_path / "out/small.ipynb").read_bytes() == first


@pytest.mark.parametrize("block", ["```python\n1 / 0\n```", "```sh\nsnellen show nothing\ntrue\n```"])
def test_a_failing_cell_is_an_error(tmp_path, block):
    (tmp_path / "bad.md").write_text(f"{block}\n")
    done = write(tmp_path / "bad.md", tmp_path / "out")
    assert done.returncode != 0
    assert not (tmp_path / "out/bad.ipynb").exists()
