"""Verb: model -> one file for other programs, which turns raw images into calibrated probabilities."""

import contextlib
import copy
import io
import json
import logging
import warnings
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snellen import __version__
from snellen.errors import RunError, SnellenError, did_you_mean
from snellen.images.imageset import ImageSet
from snellen.models.classifier import Classifier
from snellen.models.gluon import params_bytes, read_params, write_params
from snellen.models.gluon_names import to_gluon
from snellen.prediction.decide import decide, rule_of
from snellen.prediction.opening import Model, check_fit, folders_of, opened, runtime_of
from snellen.prediction.probabilities import activated, mean_logits, probabilities, views_of
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.run import Run
from snellen.scoring.scores import are_right
from snellen.system import files, randomness
from snellen.system.device import choose_runtime
from snellen.system.progress import Progress
from snellen.system.targets import check_file

log = logging.getLogger("snellen")

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "gluon": ".params"}
COMPARED = 128  # images at most
TOLERANCE = 1e-4  # for a probability; summing float32 in a different order changes it by about 1e-6
FACTS = "snellen.json"  # the file in a torch.export archive with the facts that ONNX has in its metadata

EXPORTED = "a model that `snellen export` wrote"

# uint8 (N, H, W, 3) to probabilities, float32 (N, K), and labels, int64 (N,)
Runner = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Exported:
    """A written file, and its differences from snellen on the images of the comparison."""

    path: Path
    difference: float  # largest difference from snellen's float32 probabilities, over all classes and images
    num_images: int
    num_other_labels: int = 0  # images that `predict` labels differently in its default precision
    precision: str = "float32"  # the default precision on this machine

    def __str__(self) -> str:
        if not self.num_images:
            return f"{self.path}: read back, the same bits"
        labels = {0: "no label differs", 1: "1 label differs"}.get(self.num_other_labels)
        text = (
            f"{self.path}: on {self.num_images} images, probabilities differ from float32 by {self.difference:.1e} "
            f"at most; {labels or f'{self.num_other_labels} labels differ'} from `snellen predict`"
        )
        if self.precision == "float32":
            return text
        return f"{text}, which computes in {self.precision} here unless you add --precision float32"


def export(
    model: Model,
    out: str | Path | None = None,
    *,
    to: str = "onnx",
    views: int | None = None,
    images: ImageSet | str | Path | None = None,
    on_progress: Progress | None = None,
) -> Exported:
    """Write a float32 program: uint8 (N, H, W, 3) RGB "images" to "probabilities" and "labels", any N.

    probabilities: float32 (N, K), calibrated. labels: int64 (N,), decided by the model's rule (see decide.py).

    With to="gluon", write only the weights, in MXNet's format; reading them back gives the same bits.

    The program includes normalisation, views and temperature. Classes, rule and preprocessing are in the metadata
    (ONNX) or in the archive's extra file snellen.json (torch).
    out: by default model.onnx, model.pt2 or model.params beside the model. to: "torch" is a torch.export program.
    views: 1, 2 or 6; by default the recipe's. images: for the comparison; by default noise.

    Before the file is written, its bytes are loaded and compared with snellen in float32, and with the labels of
    `predict` in its default precision. Raises RunError if probabilities in float32 differ by more than 1e-4, and
    SnellenError if the needed packages are missing.
    """
    if to not in SUFFIXES:
        raise SnellenError(
            f'"{to}" is not a known format.',
            expected=", ".join(SUFFIXES),
            do=did_you_mean(to, SUFFIXES, "choose one of them"),
        )
    path = Path(out) if out is not None else _beside(model, SUFFIXES[to])
    images = ImageSet.open(images) if isinstance(images, str | Path) else images
    owners = folders_of(model)
    model = copy.deepcopy(opened(model)).cpu().eval()  # the caller's model keeps its device and mode
    if to == "gluon":
        return _gluon(model, path, owners)
    is_ours = _is_our_onnx if to == "onnx" else _is_our_torch
    check_file(path, EXPORTED, is_ours, source=images.source if images else None, owners=owners)
    views = views_of(model, views)
    pixels = _some_pixels(model, images)
    if on_progress:
        on_progress("export", 0, len(pixels))
    facts = _facts(model, views)
    program = _program(model, views)
    data, runner = _onnx(program, facts) if to == "onnx" else _torch(program, facts)
    wanted = probabilities(model, pixels, choose_runtime("float32", "cpu"), views=views)
    # First one image, then the others: the program must accept any number.
    parts = [runner(part) for part in (pixels[:1], pixels[1:]) if len(part)]
    found, labels = (np.concatenate(answers) for answers in zip(*parts, strict=True))
    difference = float(np.abs(found - wanted).max())
    if not difference <= TOLERANCE:
        raise RunError(
            f"the exported program's probabilities differ from snellen's in float32 by {difference:.1e}.",
            where=f"{path}, which was not written",
            expected=f"{TOLERANCE:g} or less, on {len(pixels)} images",
            do=f"export to another format ({' or '.join(SUFFIXES)}), or use other versions of the packages",
        )
    runtime = runtime_of(model, None)
    predicted = decide(probabilities(model, pixels, runtime, views=views), rule_of(model))
    num_other = len(pixels) - int(are_right(labels, predicted).sum())
    with files.replacing(path) as file:
        file.write(data)
    if on_progress:
        on_progress("export", len(pixels), len(pixels))
    exported = Exported(path, difference, len(pixels), num_other, str(runtime.dtype).removeprefix("torch."))
    log.info("%s", exported)
    return exported


def _is_our_onnx(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"\x12\x07snellen" in file.read(64)  # the producer's name, after the version of the format


def _is_our_torch(path: Path) -> bool:
    return zipfile.is_zipfile(path) and any(name.endswith(f"/{FACTS}") for name in zipfile.ZipFile(path).namelist())


def _gluon(model: Classifier, path: Path, owners: Collection[Path]) -> Exported:
    """Write the weights, and log classes and normalisation, which the format cannot store."""
    params = to_gluon(model.network, model.name)
    data = params_bytes(params)
    # The format cannot store its writer's name either, so only a file with the same bytes counts as ours.
    check_file(path, EXPORTED, lambda path: path.read_bytes() == data, owners=owners)
    write_params(path, params)
    back = read_params(path)
    assert back.keys() == params.keys(), "the file has different arrays from those written"
    assert all(np.array_equal(back[name], params[name]) for name in params), (
        "the file has different values from those written"
    )
    mean, std = (", ".join(f"{value:.4f}" for value in buffer.flatten().tolist()) for buffer in (model.mean, model.std))
    log.info("%s: %d arrays; divide images by 255, then normalise: mean %s, std %s", path, len(params), mean, std)
    log.info("classes: %s", ", ".join(model.classes))
    return Exported(path, 0.0, 0)


class _FromPixels(nn.Module):
    """The exported computation: uint8 (N, H, W, 3) to probabilities and labels."""

    def __init__(self, model: Classifier, views: int):
        super().__init__()
        self.model, self.views = model, views
        self.rule = rule_of(model)
        decide(np.full((1, len(model.classes)), 0.5), self.rule)  # raises RunError for an unknown rule
        limits = self.rule.get("cuts", self.rule.get("thresholds", []))
        self.limits = nn.Buffer(torch.tensor(limits, dtype=torch.float64))
        self.numbers = nn.Buffer(torch.arange(len(model.classes), dtype=torch.float64))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = images.permute(0, 3, 1, 2).float() / 255
        probabilities = activated(self.model, mean_logits(self.model, x, self.views))
        if self.rule["kind"] == "argmax":
            return probabilities, probabilities.argmax(dim=1)
        if self.rule["kind"] == "cut_points":
            expected = (probabilities.double() * self.numbers).sum(dim=1, keepdim=True)
            return probabilities, (expected > self.limits).sum(dim=1)  # as `decide` does
        labels = probabilities.double() >= self.limits
        if self.rule["at_least_one"]:
            best = probabilities.argmax(dim=1, keepdim=True) == self.numbers
            labels = labels | (best & ~labels.any(dim=1, keepdim=True))
        return probabilities, labels


def _program(model: Classifier, views: int) -> torch.export.ExportedProgram:
    example = torch.zeros((2, *model.size, 3), dtype=torch.uint8)
    with _quiet():
        program = torch.export.export(
            _FromPixels(model, views).eval(), (example,), dynamic_shapes={"images": {0: torch.export.Dim("N")}}
        )
    for node in program.graph.nodes:
        # The source lines of each operation contain paths of this machine.
        for key in ("stack_trace", "from_node", "source_fn_stack"):
            node.meta.pop(key, None)
    return program


def _onnx(program: torch.export.ExportedProgram, facts: dict[str, Any]) -> tuple[bytes, Runner]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 (torch.onnx imports it)
    except ImportError as problem:
        raise SnellenError(
            f"export to ONNX needs a package that is not installed: {problem.name}.",
            do="pip install 'snellen[export]', or export with --to torch",
        ) from None
    with _quiet():
        written = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["probabilities", "labels"],
        )
    assert written is not None, "torch.onnx.export(dynamo=True) returns the program"
    proto = written.model_proto
    graph = proto.graph
    # The exporter's notes contain names of Python classes, and symbols that vary between processes.
    graph.ClearField("value_info")
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    proto.producer_name, proto.producer_version = "snellen", __version__
    onnx.helper.set_model_props(
        proto, {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    )
    onnx.checker.check_model(proto, full_check=True)
    data = proto.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda pixels: tuple(session.run(["probabilities", "labels"], {"images": pixels}))


def _torch(program: torch.export.ExportedProgram, facts: dict[str, Any]) -> tuple[bytes, Runner]:
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer, extra_files={FACTS: json.dumps(facts, indent=2, ensure_ascii=False)})
        data = buffer.getvalue()
        module = torch.export.load(io.BytesIO(data)).module()

    @torch.no_grad()
    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, labels = module(torch.from_numpy(pixels))
        return found.numpy(), labels.numpy()

    return data, run


def _facts(model: Classifier, views: int) -> dict[str, Any]:
    """Return what users of the file need to know, and the origin of the model."""
    height, width = model.size
    facts = {
        "classes": list(model.classes),
        "size": [height, width],
        "preprocessing": f"rotate the picture according to its EXIF orientation, {model.resize} to get "
        f"{width}x{height} pixels (bicubic, antialiased), RGB, uint8; the model normalises it",
        "model": model.name,
        "rule": dict(rule_of(model)),
        "views": views,
        "temperature": model.temperature.tolist(),
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
        "snellen": __version__,
    }
    if model.task.has_several:
        facts |= {"labels": "each class whose probability reaches its threshold", "shift": model.shift.tolist()}
    return facts | {key: model.about[key] for key in ("recipe", "fingerprint", "scores") if key in model.about}


def _some_pixels(model: Classifier, images: ImageSet | None) -> np.ndarray:
    """Return images spread evenly over the set, or noise: uint8 (n, H, W, 3)."""
    if images is None:
        log.info("compared on noise; add --data to compare on prepared images")
        return randomness.random(0).integers(0, 256, (COMPARED, *model.size, 3), dtype=np.uint8)
    check_fit(model, images)
    chosen = np.linspace(0, len(images) - 1, min(COMPARED, len(images))).astype(np.int64)
    return images.take(chosen).pixels()


def _beside(model: Model, suffix: str) -> Path:
    if isinstance(model, Classifier):
        return Path(model.name + suffix)
    path = model.folder if isinstance(model, Run | CrossValidation) else Path(model)
    return path / f"model{suffix}" if path.is_dir() else path.with_suffix(suffix)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of torch's exporters about themselves (deprecated calls, missing torchvision).

    Users only need to know whether the results agree, and that is measured.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
