"""The house has floors: imports point down or sideways, never up."""

import ast
from pathlib import Path

import snellen

LAYERS = [
    "errors files progress runtime",
    "imageset named_recipes predictions presets recipe run",
    """archives augment averaging batchnorm braille calibrate charts checkpoint cifar_files class_folders competition
       confusion decode decoders decoding demo distributed downloads duplicates folders folds gluon gluon_names
       kaggle_client label_errors launch ledger loader member_names modelfile models oddities optim pages repeat rows
       search_space seven_zip source_files sources splits tables""",
    """budget check compare cross_validate ensemble evaluate export import_gluon kaggle organize pictures predict
       prepare report serve submission train watch web""",
    "compete tune",
    "cli completion display notebook options show tensorboard",
    "__main__",
]


def snellen_imports():
    """(module, module it imports), both without "snellen."; a package counts as one module."""
    root = Path(snellen.__file__).parent
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root).with_suffix("").parts[0]
        if module == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module == "snellen":
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snellen."):
                names = [node.module.split(".")[1]]
            elif isinstance(node, ast.Import):
                names = [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("snellen.")]
            yield from ((module, name) for name in names if name not in (module, "__version__"))


def test_every_module_has_a_floor():
    modules = {module for module, _ in snellen_imports()}
    assert modules <= set(" ".join(LAYERS).split())


def test_imports_point_downwards():
    level = {name: i for i, names in enumerate(LAYERS) for name in names.split()}
    pairs = set(snellen_imports())
    assert len(pairs) > 30
    for module, imported in pairs:
        assert level[imported] <= level[module], f"{module} imports {imported}, which is above it"


def test_only_the_command_line_prints():
    root = Path(snellen.__file__).parent
    for path in root.rglob("*.py"):
        if path.stem in ("cli", "display"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"), (
                path
            )
