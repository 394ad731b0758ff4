"""Would the tests notice? Changes one thing at a time in a module and runs the module's own tests on the change.

    python benchmarks/mutate.py images.splits [--seconds 100] [--out mutants.json]

Changed are comparisons, and/or/not, whole numbers and booleans, plus and minus, times and divided; statements that act
(calls, raises, `+=`) are taken out. What only words a message or a log is left alone. A change that no test fails for
has survived, and is printed: it is a gap in the tests, or changes nothing that can be seen. Stopped by --seconds, the
same line goes on with what FILE does not hold yet. Works where processes can be forked.
"""

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "snellen"
# For the tests of one change, so that one that loops or waits for ever is noticed too; the machine may be busy.
MOST_SECONDS, MOST_BUSY_SECONDS = 600, 60
SLOW = "not killed and not several and not memory and not fills and not process"
# Module -> what pytest runs for it: little that takes long, nothing that has the unchanged module in a new process.
TESTS = {
    "images.splits": ["tests/images/test_splits.py"],
    "competition.submission": ["tests/competition/test_submission.py"],
    "prediction.predictions": ["tests/prediction/test_predictions.py"],
    "prediction.evaluate": ["tests/prediction/test_evaluate.py"],
    "training.checkpoint": ["tests/training/test_train.py", "-k", "resumed or damaged or repeat_what"],
    "training.record": ["tests/training/test_train.py", "-k", "not killed and not dropout and not muon"],
    "training.loop": ["tests/training/test_train.py", "-k", "not killed and not dropout and not muon"],
    "training.loss": ["tests/training/test_loss.py"],
    "training.init": ["tests/training/test_init.py"],
    "system.group": ["tests/system/test_group.py"],
    "runs.run": ["tests/training/test_train.py", "-k", "not killed and not dropout and not muon"],
    "images.prepare": ["tests/images/test_prepare.py", "-k", f"{SLOW} and not goes_on and not other_files"],
    "images.pixels": ["tests/images/test_prepare.py", "-k", f"{SLOW} and not SIGKILL-2 and not SIGINT"],
    "training.loader": ["tests/training/test_loader.py", "-k", "not larger_than_the_memory"],
    "images.folds": ["tests/images/test_folds.py", "-k", "not killed"],
    "prediction.calibrate": ["tests/prediction/test_calibrate.py"],
}
SWAPS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SWAPS |= {ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And}
SWAPS |= {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}


def is_words(node: ast.AST) -> bool:
    """Whether a part of the program only words a message: an error, a log line, a docstring."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return name.endswith("Error") or name.startswith("log.")
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def sites(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that may be changed, always in the same order."""
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or name in ("annotation", "returns", "decorator_list") or is_words(child):
                continue
            yield child
            yield from sites(child)


def change(node: ast.AST) -> str:
    """Change a node in place and say how; '' where there is nothing to change."""
    before = ast.unparse(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        node.ops[0] = SWAPS[type(node.ops[0])]()
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)  # not not x
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        node.value = not node.value
    else:
        return ""
    return f"{before}  ->  {ast.unparse(node)}"


def removable(node: ast.AST) -> bool:
    is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return is_call or isinstance(node, ast.Raise | ast.AugAssign)


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed source), one for each change."""
    tree = ast.parse(source)
    for site in list(sites(tree)):
        line, kind, fields = getattr(site, "lineno", 0), site.__class__, site.__dict__
        site.__dict__ = copy.deepcopy(fields)
        if removable(site):
            what = f"without {ast.unparse(site).splitlines()[0]}"
            site.__class__, site.__dict__ = ast.Pass, {}
        else:
            what = change(site)
        text = ast.unparse(tree) if what else ""
        site.__class__, site.__dict__ = kind, fields
        with contextlib.suppress(SyntaxError):
            compile(text, "<changed>", "exec")
            if what:
                yield f"line {line}: {what}", text


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text instead of its file."""

    def __init__(self, name: str, text: str):
        self.name, self.text = name, text

    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module):
        exec(compile(self.text, f"<changed {self.name}>", "exec"), module.__dict__)


def is_noticed(module: str, text: str) -> bool:
    """Whether the module's tests fail, end badly or do not end on the changed text; in a process of its own."""
    child = os.fork()  # torch is loaded already, which takes longer than most tests
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        signal.alarm(MOST_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_BUSY_SECONDS, MOST_BUSY_SECONDS))
        sys.meta_path.insert(0, Instead(f"snellen.{module}", text))
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TESTS[module]])))
    return os.waitpid(child, 0)[1] != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", choices=TESTS)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--out", type=Path, default=Path("mutants.json"), metavar="FILE")
    arguments = parser.parse_args()
    started = time.monotonic()
    os.chdir(ROOT)
    torch.set_num_threads(1)
    source = (PACKAGE / f"{arguments.module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert not is_noticed(arguments.module, source), "the tests fail on the module as it is"
    done = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    known = done.setdefault(arguments.module, {})
    all_of_them = list(mutants(source))
    for number, (what, text) in enumerate(all_of_them):
        key = f"{number}, {what}"
        if key not in known and time.monotonic() - started < arguments.seconds:
            known[key] = "noticed" if is_noticed(arguments.module, text) else "survived"
            arguments.out.write_text(json.dumps(done, indent=1))
    print(*(key for key, verdict in known.items() if verdict == "survived"), sep="\n")
    counts = Counter(known.values())
    print(f"{arguments.module}: {len(known)} of {len(all_of_them)} changes tried, {counts['noticed']} noticed")


if __name__ == "__main__":
    main()
