"""Commands that use models."""

from pathlib import Path
from typing import Any

import click

from snellen.cli import completion
from snellen.cli.options import (
    PATH,
    the_device,
    the_part,
    the_precision,
    the_views,
)
from snellen.cli.output import echo, hint
from snellen.errors import shown
from snellen.images.choices import LARGEST, SMALLEST
from snellen.serving.limits import HOST, MAX_BYTES, MAX_MEMORY, PORT
from snellen.system.contents import Contents, contents_of
from snellen.system.units import percent


@click.command()
@click.argument(
    "things", nargs=-1, required=True, metavar="MODEL... IMAGES...", shell_complete=completion.words(files=True)
)
@the_part("test", "Split of prepared images to classify.")
@click.option(
    "--out",
    type=PATH,
    metavar="FILE",
    help="File to write: CSV with id, label and class probabilities; for pictures, JSON.",
)
@click.option(
    "--features", type=PATH, metavar="FILE", help="Also write the inputs of the last layer (embeddings), as FILE.npy."
)
@click.option(
    "--top",
    metavar="N",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Number of classes to show for each picture.",
)
@click.option(
    "--sample", type=PATH, metavar="CSV", help="Write a submission for this sample, from a folder or archive."
)
@the_views
@the_precision
@the_device
def predict(
    things: tuple[str, ...],
    split: str,
    out: Path | None,
    features: Path | None,
    top: int,
    sample: Path | None,
    **arguments: Any,
) -> None:
    """Classify prepared images, or any pictures and folders.

    \b
    Examples:
      snellen predict run data --out predictions.csv
      snellen predict run1 run2 data --out predictions.csv
      snellen predict cifar10-resnet20 photo.jpg folder/ --top 3
      snellen predict run test.zip --sample sample.csv --out submission.csv

    MODEL is a run, a folder written by `train --folds`, a model.safetensors file or the name of a packaged model. The
    probabilities of several models are averaged.
    """
    from snellen.cli.display import Display
    from snellen.prediction.opening import is_model
    from snellen.prediction.predict import predict

    # The first argument counts as a model and the last one as images; the verb reports what is wrong with either.
    num_models = 1
    while num_models < len(things) - 1 and is_model(things[num_models]):
        num_models += 1
    models, images = list(things[:num_models]), [Path(path) for path in things[num_models:]]
    if not images or is_model(things[-1]):
        raise click.UsageError(
            "missing argument after the model: name prepared images, pictures or folders to classify"
        )
    arguments["views"] = int(arguments["views"]) if arguments["views"] else None
    if features is not None:
        if sample or len(things) != 2 or contents_of(images[0]) is not Contents.IMAGES:
            raise click.UsageError("--features takes one model and prepared images (see `snellen prepare`)")
        from snellen.prediction.embed import embed

        with Display():
            names = ("device", "precision")
            embed(models[0], images[0], features, split=split, **{name: arguments[name] for name in names})
        echo(features)
        if out is None:
            return
    if sample is not None:
        if out is None or len(images) > 1:
            raise click.UsageError("--sample needs one folder or archive of pictures, and --out submission.csv")
        from snellen.competition.submit_pictures import submit_pictures

        with Display() as display:
            echo(submit_pictures(models, images[0], sample, out, on_progress=display.on_progress, **arguments))
        return
    if len(images) > 1 or contents_of(images[0]) is not Contents.IMAGES:
        classify_pictures(models, images, out, top, **arguments)
        return
    if out is None:
        raise click.UsageError("missing option --out: name the file to write, such as --out predictions.csv")
    with Display() as display:
        guesses = predict(models, images[0], split=split, out=out, on_progress=display.on_progress, **arguments)
    echo(guesses)
    echo(out)
    hint(f"snellen submission {out} {images[0]} --out submission.csv")


def classify_pictures(models: list[str], paths: list[Path], out: Path | None, top: int, **arguments: Any) -> None:
    """Classify pictures for `predict` and print a line for each. Exit with 1 if no picture can be read."""
    from snellen.cli.display import Display
    from snellen.prediction.ensemble import classify_by_all, rule_for_pictures
    from snellen.prediction.opening import members
    from snellen.prediction.pictures import check_list, find_pictures, write_classified
    from snellen.sources.label_lists import shown_list

    with Display() as display:
        if out is not None:
            check_list(out)
        found = find_pictures(paths)
        named = members(models)
        model = named[0][1]
        rule = rule_for_pictures(models, named)
        pictures = classify_by_all(named, found, rule, on_progress=display.on_progress, **arguments)
    for picture in pictures:
        if picture.problem:
            echo(f"{shown(picture.name)}: cannot be read: {picture.problem}")
            continue
        best = ", ".join(f"{shown(name)} {percent(p, 1)}" for name, p in picture.top(model.task.names, top))
        if picture.has_several:
            best = f"{shown(shown_list(picture.labels(model.task.names)))} ({best})"
        warning = "  (unlike anything it was trained on)" if picture.is_strange else ""
        echo(f"{shown(picture.name)}: {best}{warning}")
    if out is not None:
        echo(write_classified(pictures, model.classes, out))
    if all(picture.problem for picture in pictures):
        click.get_current_context().exit(1)


@click.command()
@click.argument("model", shell_complete=completion.words(files=True))
@click.option(
    "--host",
    metavar="ADDRESS",
    default=HOST,
    show_default=True,
    help="Address to listen on; 0.0.0.0 also accepts other machines.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Also accept requests for this host name; for a reverse proxy on this machine.",
)
@click.option(
    "--max-bytes",
    metavar="BYTES",
    type=click.IntRange(1),
    default=MAX_BYTES,
    show_default=True,
    help="Largest picture file accepted.",
)
@click.option(
    "--max-memory",
    metavar="BYTES",
    type=click.IntRange(1),
    default=MAX_MEMORY,
    show_default=True,
    help="Most memory for decoding one picture, in bytes.",
)
@the_views
@the_device
def serve(views: str | None, **arguments: Any) -> None:
    """Serve a web page and a JSON API that classify pictures.

    \b
    Example:
      snellen serve run
    """
    from snellen.cli.display import Display
    from snellen.serving.serve import serve

    with Display():
        serve(views=int(views) if views else None, on_ready=echo, **arguments)


@click.command()
@click.argument("model", shell_complete=completion.words(files=True))
@click.option(
    "--to", type=click.Choice(["onnx", "torch", "gluon"]), default="onnx", show_default=True, help="Format to write."
)
@click.option("--out", type=PATH, metavar="FILE", help="File to write (default: beside the model).")
@click.option("--data", "images", type=PATH, help="Prepared images for the comparison (default: noise).")
@the_views
def export(views: str | None, **arguments: Any) -> None:
    """Write a model for other programs.

    \b
    Example:
      snellen export run --to onnx --data data

    ONNX and torch programs turn raw uint8 images into probabilities. A gluon file (MXNet .params) has only the weights.
    """
    from snellen.cli.display import Display
    from snellen.serving.export import export

    with Display() as display:
        exported = export(views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    echo(exported.path)


@click.command("import-gluon")
@click.argument("file", type=PATH)
@click.option("--model", required=True, metavar="NAME", help="Architecture, which the file does not record.")
@click.option("--out", type=PATH, required=True, metavar="MODEL", help="The model.safetensors file to write.")
@click.option(
    "--classes", metavar="A,B,...", help="Class names in training order (default if there are ten: CIFAR-10's)."
)
@click.option(
    "--size",
    type=click.IntRange(SMALLEST, LARGEST),
    default=32,
    show_default=True,
    metavar="PIXELS",
    help="Side of the images.",
)
def import_gluon(classes: str | None, **arguments: Any) -> None:
    """Read an MXNet Gluon .params file, without MXNet.

    \b
    Example:
      snellen import-gluon a.params --model cifar_resnet20_v2 --out a.safetensors
    """
    from snellen.models.import_gluon import import_gluon

    out = import_gluon(classes=classes.split(",") if classes else (), **arguments)
    echo(out)
    hint(f"snellen predict {out} photo.jpg")
