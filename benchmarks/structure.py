"""Count what the structure of a package can be judged by.

    python benchmarks/structure.py [SRC/PACKAGE] [TESTS]

Prints the number of folders, files and lines, the longest functions and files, imports inside functions between files
of the package, files that form an import cycle, and imported names of other packages that begin with an underscore.
Functions count from `def` to their last line, docstring included.
"""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lines_of(files: list[Path]) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def module_of(path: Path, package: Path) -> str:
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST, known: set[str]) -> list[tuple[str, int]]:
    """(module of the package, line) for each import of one, wherever it stands."""
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in below if name in known] or [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [(name, node.lineno) for name in names if name in known]
    return found


def private_names(tree: ast.AST, package: str) -> list[str]:
    """Names with a leading underscore that come from other packages: imported, or taken from what is imported."""
    found, foreign = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            foreign |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] != package:
            foreign |= {alias.asname or alias.name for alias in node.names}
            found += [name for name in (*node.module.split("."), *(a.name for a in node.names)) if is_private(name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            if isinstance(root, ast.Name) and root.id in foreign - {package}:
                found.append(ast.unparse(node))
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def main() -> None:
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "src" / "snellen"
    tests = Path(sys.argv[2]) if len(sys.argv) > 2 else package.parents[1] / "tests"
    source, tested = sorted(package.rglob("*.py")), sorted(tests.rglob("*.py"))
    trees = {module_of(path, package): (path, ast.parse(path.read_text(encoding="utf-8"))) for path in source}
    flat = sum(path.parent == package for path in source)
    print(f"source: {len(source)} files ({flat} of them in the top folder), {lines_of(source):,} lines")
    print(f"tests: {len(tested)} files, {lines_of(tested):,} lines")
    functions = sorted(
        (
            (node.end_lineno - node.lineno + 1, f"{module}.{node.name}")
            for module, (_, tree) in trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
        reverse=True,
    )
    print("longest functions:", ", ".join(f"{name} {length}" for length, name in functions[:5]))
    print("functions of more than 60 lines:", sum(length > 60 for length, _ in functions))
    long = sorted(((lines_of([path]), module) for module, (path, _) in trees.items()), reverse=True)
    print("longest files:", ", ".join(f"{name} {length}" for length, name in long[:5]))
    graph = {}
    inside = 0
    for module, (_, tree) in trees.items():
        found = imports_of(tree, set(trees))
        top = {node.lineno for node in ast.iter_child_nodes(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
        inside += sum(line not in top for _, line in found)
        graph[module] = {name for name, _ in found if name != module and name != package.name}
    graph.pop(package.name, None)  # names the public functions for type checkers
    print("imports between files:", sum(map(len, graph.values())), "of which inside functions or blocks:", inside)
    try:
        TopologicalSorter(graph).prepare()
        print("import cycles: none")
    except CycleError as problem:
        print("import cycle:", " -> ".join(problem.args[1]))
    private = [
        f"{module} ({name})" for module, (_, tree) in trees.items() for name in private_names(tree, package.name)
    ]
    print("private names of other packages:", ", ".join(private) or "none")


if __name__ == "__main__":
    main()
