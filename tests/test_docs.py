"""README and docs: every command line parses, every Python block compiles, and the guides' blocks are run for real."""

import ast
import contextlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click
import pytest

import snellen
from snellen.cli.commands import main
from snellen.runs.named_recipes import named_recipe
from snellen.sources.demo import write_competition
from snellen.training.search_space import parse_space

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *DOCS.glob("*.md")])

sys.path.insert(0, str(DOCS))
import executed  # noqa: E402
import reference  # noqa: E402


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def command_lines(page):
    for block in executed.blocks(read(page)):
        if block.language in executed.COMMANDS:
            yield from executed.command_lines(block.code)


def commands_in_sentences(page):
    for line in re.findall(r"`(snellen \w[^`]*)`", executed.BLOCK.sub("", read(page))):
        yield " ".join(line.split())


def parse(line):
    """Parse a `snellen ...` line with the real command, its recipe and settings included, without running it."""
    words = shlex.split(line)[1:]
    if words[0].startswith("-") or words[0].isupper():  # `snellen --help`, `snellen COMMAND --help`
        assert words[-1] == "--help", line
        return
    command = main.get_command(click.Context(main), words[0])
    assert command is not None, f"{line}: there is no such command"
    context = command.make_context(words[0], words[1:])
    if words[0] == "tune":  # there a setting may be a range
        parse_space(context.params["settings"], named_recipe(context.params["recipe_name"] or "fast"))
    elif "settings" in context.params and (context.params["recipe_name"] or "").rpartition(".")[2] != "json":
        named_recipe(context.params["recipe_name"], context.params["settings"])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_line_parses(page):
    for line in command_lines(page):
        words = shlex.split(line)
        if words[0] == "snellen":
            parse(line)
        elif words[0] == "python":
            assert words[1:3] == ["-m", "http.server"] or (ROOT / words[1]).is_file(), line
        elif words[0] == "torchrun":
            assert "-m snellen " in line
            parse(line[line.index("snellen ") :])
        elif "_SNELLEN_COMPLETE=" in line:
            assert re.search(r"=(bash|zsh|fish)_source snellen\b", line)
        else:  # the setup, which continuous integration runs as it stands, or plain tools
            assert ".venv" in line or words[0] in ("ls", "head", "ssh") or words[:2] == ["pip", "install"], line
    for line in commands_in_sentences(page):  # there, what everybody knows may be left out
        with contextlib.suppress(click.MissingParameter):
            parse(line)


def test_a_line_that_does_not_parse_is_found():
    for line in ("snellen trian data --out run", "snellen train data --out run --epochs 3", "snellen prepare shapes"):
        with pytest.raises((AssertionError, click.UsageError)):
            parse(line)
    with pytest.raises(snellen.SnellenError):
        parse("snellen train data --out run --set epoch=3")


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_compiles_and_names_what_exists(page):
    for block in executed.blocks(read(page)):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "snellen":
                assert hasattr(snellen, node.attr), f"{page}: snellen.{node.attr}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", executed.BLOCK.sub("", read(page))):
        if not urlsplit(target).scheme and not target.startswith("#"):
            assert ((ROOT / page).parent / target.partition("#")[0]).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", ["your-own-data", "metrics", "gluoncv", "chapter", "recipes"])
def test_the_blocks_of_a_guide_run(page, tmp_path):
    shown = []
    text = executed.execute(read(f"docs/{page}.md"), tmp_path, lambda path: shown.append(path) or "picture")
    assert all(path.stat().st_size for path in shown)
    if page == "gluoncv":  # stopped and gone on is the same model, byte for byte
        assert "\n```text\nTrue\n```" in text
    if page == "chapter":
        with open(tmp_path / "submission.csv") as file, open(tmp_path / "shapes/sampleSubmission.csv") as sample:
            assert [line.partition(",")[0] for line in file] == [line.partition(",")[0] for line in sample]
        assert json.loads((tmp_path / "all/evaluation.json").read_text())["split"] == "valid"


def test_the_first_submission_runs(tmp_path):
    write_competition(tmp_path / "small", num_train=60, num_test=8)
    whole, longer = "snellen compete demo --out demo", "snellen train demo/data --out longer --set epochs=8"
    text = read("docs/first-submission.md")
    assert whole in text
    assert longer in text
    shorter = {whole: "snellen compete small --out demo --recipe smoke --size 16", longer: f"{longer} --set epochs=1"}
    page = executed.execute(text, tmp_path, shorter=shorter)
    assert "id,label\n" in page


def test_the_python_block_of_the_readme_runs(tmp_path):
    write_competition(tmp_path / "shapes", num_train=60, num_test=8)
    shutil.make_archive(str(tmp_path / "cifar-10"), "zip", tmp_path / "shapes")
    python = [block.code for block in executed.blocks(read("README.md")) if block.language == "python"]
    executed.execute("".join(f"```python\n{code}```\n" for code in python), tmp_path)
    assert (tmp_path / "submission.csv").exists()


def examples(command):
    """The command lines that a command's --help gives."""
    return [
        line.strip() for line in re.findall(r"snellen .*", command.help.partition("Example")[2].partition("\n\n")[0])
    ]


STAY_OPEN_OR_NEED_THE_NETWORK = ("tune", "serve", "submit", "download")


def test_where_to_change_names_files_that_exist_and_every_room():
    text = read("docs/where-to-change.md")
    paths = [path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", text) if path != "src/snellen/"]
    outside = ("tests/", "benchmarks/", "docs/")
    missing = [
        path
        for path in paths
        if not (ROOT if path.startswith(outside) else ROOT / "src/snellen").joinpath(path).exists()
    ]
    assert missing == []
    rooms = {path.parent.name for path in (ROOT / "src/snellen").glob("*/__init__.py")}
    assert rooms <= {path.split("/")[0] for path in paths}
    assert len(paths) > 60


def test_every_help_begins_with_an_example_that_parses():
    for name, command in main.commands.items():
        before = command.help.partition("Example")[0]
        assert before.count("\n\n") == 1, f"{name}: one sentence, then the example"
        assert examples(command), name
        for line in examples(command):
            assert line.split()[1] == name
            parse(line)


def test_the_examples_of_help_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_competition("shapes", num_train=60, num_test=8)
    shutil.make_archive("cifar-10", "zip", "shapes")
    shutil.copytree("shapes/test", "folder")
    shutil.make_archive("test", "zip", "shapes/test")
    shutil.copy("shapes/sampleSubmission.csv", "sample.csv")
    shutil.copy("shapes/test/1.png", "photo.jpg")
    executed.run("snellen export cifar10-resnet20 --to gluon --out a.params")
    for name, command in main.commands.items():
        if name in STAY_OPEN_OR_NEED_THE_NETWORK:
            continue
        for line in examples(command):
            if "onnx" in line and not all(
                importlib.util.find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript")
            ):
                continue
            executed.run(line)
        if name == "train":  # what later examples are about
            for other in ("run1", "run2", "runs/a", "runs/b"):
                shutil.copytree("run", other)
    for file in ("cifar/submission.csv", "submission.csv", "report.html", "compare.html", "check.html"):
        assert Path(file).stat().st_size, file


def test_a_failing_block_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="exit code 1"):
        executed.execute("```sh\nsnellen show nothing\n```\n", tmp_path)
    with pytest.raises(ZeroDivisionError):
        executed.execute("```python\n1 / 0\n```\n", tmp_path)


def test_output_stands_below_its_block_and_skipped_blocks_stay(tmp_path):
    page = "```python\nprint(6 * 7)\n```\n\n<!-- not run: never -->\n```sh\nsnellen nothing\n```\nend\n"
    executed_page = executed.execute(page, tmp_path)
    assert executed_page.startswith("```python\nprint(6 * 7)\n```\n\n```text\n42\n```\n")
    assert executed_page.endswith("snellen nothing\n```\nend\n")


def test_the_reference_has_every_command_option_and_setting():
    commands, recipes = reference.commands(), reference.recipes()
    for name, command in main.commands.items():
        assert f"## {name}\n" in commands
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[-1] in commands
    for name in (*snellen.PRESETS, *snellen.Recipe.__dataclass_fields__):
        assert f"| `{name}`" in recipes


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages, without what executing them prints: the tests above run their blocks."""
    for package in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("site")
    # In a process of its own: these packages warn of one another's future.
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-E", "-D", "execute_pages=0", str(DOCS), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


def test_the_pages_build_without_a_warning_and_ask_no_other_host(site):
    pages = list(site.glob("*.html"))
    assert {path.stem for path in DOCS.glob("*.md")} <= {path.stem for path in pages}
    for page in pages:
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="([^"]+)"', page.read_text("utf-8"))
        assert loaded
        assert not [address for address in loaded if urlsplit(address).netloc], page.name
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:@import|url\()\s*['\"]?https?:", sheet.read_text("utf-8")), sheet.name


def test_every_public_name_is_in_the_python_reference(site):
    page = (site / "python.html").read_text("utf-8")
    for name in snellen.__all__:
        if name != "__version__":
            assert f'id="snellen.{name}"' in page, name
