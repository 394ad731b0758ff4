"""The command line: arguments in, one verb called, errors out. numpy and torch are imported inside the commands."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from snellen import __version__
from snellen.cli import completion, streams
from snellen.cli.options import (
    PATH,
    Duration,
    chosen_recipe,
    raw_files,
    the_budget,
    the_device,
    the_folds,
    the_metric,
    the_precision,
    the_recipe,
    the_share,
    the_source,
    the_split,
    the_split_rule,
    the_views,
)
from snellen.cli.output import echo
from snellen.errors import SnellenError, shown
from snellen.images.choices import LARGEST, LINKS, SMALLEST, TRAIN_ON
from snellen.system import files, group
from snellen.system.contents import Contents, contents_of
from snellen.system.memory import memory_errors
from snellen.system.units import percent

IS_FIRST = group.prints()


class Commands(click.Group):
    """Lists the commands in the order of the work and turns errors into messages and exit codes."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *arguments: Any, **settings: Any) -> Any:
        streams.make_writable()
        return super().main(*arguments, **settings)

    def invoke(self, context: click.Context) -> Any:
        try:
            stdout = contextlib.redirect_stdout(sys.stdout if IS_FIRST else None)
            with stdout, files.disk_errors(Path()), memory_errors():
                return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except SnellenError as problem:
            if not left_for_launcher(problem):
                echo(f"snellen: {problem}", err=True)
            context.exit(1)
        except KeyboardInterrupt as stop:
            if not left_for_launcher(stop):
                echo("\nsnellen: stopped. The same command goes on where it stopped.", err=True)
            context.exit(130)
        except Exception as problem:
            if not left_for_launcher(problem):
                raise
            context.exit(1)


def left_for_launcher(problem: BaseException) -> bool:
    """Whether this is one of the processes of --devices and its launcher will tell the error, once for all."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    from snellen.system import launch

    return launch.left_for_launcher(problem)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="snellen")
def main() -> None:
    """From raw image files to a trained model you can trust and a checked submission.csv.

    \b
    Start with:  snellen compete demo --out demo
    """


@main.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Where everything goes.")
@the_recipe
@the_split
@raw_files
@the_budget
@click.option("--refit/--no-refit", default=True, show_default=True, help="Train again on all labelled images.")
@the_folds
@the_device
def compete(out: Path, recipe_name: str | None, settings: tuple[str, ...], **arguments: Any) -> None:
    """Raw files to a checked submission.csv, in one go.

    \b
    Example:  snellen compete cifar-10.zip --out cifar

    SOURCE is a folder, zip or archive with images and labels, or one of: demo, cifar10-tiny, cifar10.
    Run again, it goes on where it stopped.
    """
    from snellen.cli.display import Display
    from snellen.competition.compete import compete
    from snellen.prediction.evaluate import describe_accuracy, describe_metric

    recipe = chosen_recipe(recipe_name, settings, arguments["budget"])
    folds = arguments["folds"]
    runs = fold_folders(out / "folds", folds) if folds else [out / "run", out / "refit"]
    with Display(*runs) as display:
        entry = compete(out=out, recipe=recipe, on_epoch=display.on_epoch, on_progress=display.on_progress, **arguments)
    if line := describe_metric(entry.scores):
        echo(line)
    echo(describe_accuracy(entry.scores))
    echo(entry.submission or entry.final.folder)
    hint(f"snellen show {out / 'folds'}" if folds else f"snellen evaluate {out / 'run'} {out / 'data'}")


@main.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--out", type=PATH, required=True, metavar="DATA", help="The folder to write.")
@raw_files
@the_split
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Decode with N threads or processes (default: one per CPU)."
)
def prepare(**arguments: Any) -> None:
    """Decode every image once into one array beside rows.csv.

    \b
    Example:  snellen prepare cifar-10.zip --out data
    """
    from snellen.cli.display import Display
    from snellen.images.prepare import prepare

    with Display() as display:
        images = prepare(on_progress=display.on_progress, **arguments)
    echo(images)
    echo(images.folder)
    hint(f"snellen train {images.folder} --out run")


@main.command()
@click.argument("source", shell_complete=completion.sources)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The folder to write.")
@the_source
@the_share
@the_split_rule("seeds")
@click.option("--link", type=click.Choice(LINKS), default="copy", show_default=True)
def organize(**arguments: Any) -> None:
    """Write class folders, train_valid_test/, for other tools.

    \b
    Example:  snellen organize cifar-10.zip --out folders
    """
    from snellen.cli.display import Display
    from snellen.images.organize import organize

    with Display() as display:
        echo(organize(on_progress=display.on_progress, **arguments))


@main.command()
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="RUN", help="The run's folder.")
@the_recipe
@the_budget
@click.option("--on", type=click.Choice([*TRAIN_ON]), default="train", show_default=True)
@the_folds
@the_metric
@click.option("--init", type=PATH, metavar="MODEL", help="Start from this model's weights.")
@click.option("--calibrated-by", type=PATH, metavar="MODEL", help="Take its temperature, where nothing validates.")
@click.option("--tensorboard", is_flag=True, help="Also write for TensorBoard, into RUN/tensorboard.")
@the_device
@click.option("--devices", metavar="all|N", help="Share each batch between all GPUs, or N processes. By default one.")
def train(
    data: Path,
    recipe_name: str | None,
    settings: tuple[str, ...],
    tensorboard: bool,
    devices: str | None,
    **arguments: Any,
) -> None:
    """Train a recipe on prepared images; go on where it stopped.

    \b
    Example:  snellen train data --out run --recipe fast --set epochs=12
    """
    from snellen.cli.display import Display
    from snellen.runs.cross_validation import CrossValidation
    from snellen.training.cross_validate import cross_validate
    from snellen.training.train import train

    recipe = chosen_recipe(recipe_name, settings, arguments["budget"])
    out, folds = arguments["out"], arguments.pop("folds")
    if folds:
        for_one_run = {"--tensorboard": tensorboard}
        for_one_run |= {"--on": arguments.pop("on") != "train", "--calibrated-by": arguments.pop("calibrated_by")}
        if given := [option for option, is_given in for_one_run.items() if is_given]:
            raise click.UsageError(f"{' and '.join(given)} cannot be combined with --folds")
    if devices is not None and group.member() is None:
        from snellen.system.launch import count_devices, launch

        if (num := count_devices(devices, arguments["device"])) > 1:
            launch(num, sys.argv[1:])
            return
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(*fold_folders(out, folds) if folds else [out]))
        told = [display.on_epoch]
        if tensorboard and IS_FIRST:
            from snellen.reports.tensorboard import TensorBoard

            told.append(stack.enter_context(TensorBoard(out)))

        def tell_all(row: dict[str, Any]) -> None:
            for tell in told:
                tell(row)

        arguments |= {"on_epoch": tell_all, "on_progress": display.on_progress}
        result = cross_validate(data, recipe, folds=folds, **arguments) if folds else train(data, recipe, **arguments)
    echo(result)
    if isinstance(result, CrossValidation):
        echo(result.predictions)
        hint(f"snellen predict {result.folder} {data} --out predictions.csv")
    else:
        echo(result.model)
        hint(f"snellen evaluate {result.folder} {data}")


@main.command()
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="STUDY", help="The study's folder.")
@click.option(
    "--trials", type=click.IntRange(1), metavar="N", help="Trials in the whole study (default: 20 without a budget)."
)
@click.option("--budget", type=Duration(), metavar="TIME", help="Stop after 90s, 30m or 2h.")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME",
    shell_complete=completion.recipes,
    help="The recipe to vary.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUES",
    shell_complete=completion.settings,
    help="low..high or a,b,c varies a setting, one value fixes it (default: a region around the recipe).",
)
@click.option(
    "--storage",
    metavar="URL",
    envvar="SNELLEN_STORAGE",  # every user of the machine can see the password in a command line
    show_envvar=True,
    help="Database shared by several machines (default: a file in STUDY).",
)
@the_device
def tune(data: Path, recipe_name: str | None, settings: tuple[str, ...], **arguments: Any) -> None:
    """Search for the recipe that suits the images best.

    \b
    Examples:  snellen tune data --out study --budget 30m
               snellen tune data --out study --trials 40 --set peak_lr=5..200 --set flip=off,random

    The same command resumes a stopped study. Typed in another terminal, or with --storage on another machine, it adds
    a worker.
    """
    from snellen.cli.display import Display
    from snellen.training.tune import tune

    recipe = chosen_recipe(recipe_name, ())
    with Display() as display:
        study = tune(
            data,
            recipe=recipe,
            space=settings,
            on_epoch=display.on_epoch,
            on_progress=display.on_progress,
            **arguments,
        )
    echo(study)
    echo(study.folder / "study.html")
    if study.best:
        hint(f"snellen train {data} --out run --recipe {study.folder}")


@main.command()
@click.argument("run", type=PATH)
@click.argument("data", type=PATH)
@click.option(
    "--split",
    default="valid",
    show_default=True,
    shell_complete=completion.splits,
    help="train, valid, or test where it has labels.",
)
@the_metric
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@the_views
@the_precision
@the_device
def evaluate(run: Path, data: Path, as_json: bool, views: str | None, **arguments: Any) -> None:
    """Score a run on a labelled split.

    \b
    Example:  snellen evaluate run data
    """
    from snellen.cli.display import Display
    from snellen.prediction.evaluate import describe_accuracy, describe_metric, evaluate

    with Display() as display:
        scores = evaluate(run, data, views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    if as_json:
        echo(json.dumps(scores, indent=2))
        return
    if line := describe_metric(scores):
        echo(line)
    echo(describe_accuracy(scores))
    echo(f"log-loss {scores['log_loss']:.4f} nats, calibration error {percent(scores['calibration_error'])}")
    width = max(len(shown(name)) for name in scores["classes"])
    for name, figures in scores["classes"].items():
        echo(f"  {shown(name):{width}}  {percent(figures['accuracy']):>7}  of {figures['images']:,}")


@main.command()
@click.argument(
    "things", nargs=-1, required=True, metavar="MODEL... IMAGES...", shell_complete=completion.words(files=True)
)
@click.option(
    "--split", default="test", show_default=True, shell_complete=completion.splits, help="Of prepared images."
)
@click.option(
    "--out", type=PATH, metavar="FILE", help="CSV: id, label and one probability per class; JSON for pictures."
)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes shown for each picture.")
@click.option(
    "--sample", type=PATH, metavar="CSV", help="Write a submission for this sample, from a folder or archive."
)
@the_views
@the_precision
@the_device
def predict(
    things: tuple[str, ...], split: str, out: Path | None, top: int, sample: Path | None, **arguments: Any
) -> None:
    """Classify prepared images, or any pictures and folders.

    \b
    Examples:  snellen predict run data --out predictions.csv
               snellen predict run1 run2 data --out predictions.csv
               snellen predict cifar10-resnet20 photo.jpg folder/ --top 3
               snellen predict run test.zip --sample sample_submission.csv --out submission.csv

    MODEL is a run, what `train --folds` wrote, a model.safetensors file or the name of a packaged model. The
    probabilities of several are averaged.
    """
    from snellen.cli.display import Display
    from snellen.prediction.opening import is_model
    from snellen.prediction.predict import predict

    # The first is a model whatever it is, the last one is not: what is wrong with either is said by the verb.
    num_models = 1
    while num_models < len(things) - 1 and is_model(things[num_models]):
        num_models += 1
    models, images = list(things[:num_models]), [Path(path) for path in things[num_models:]]
    if not images or is_model(things[-1]):
        raise click.UsageError("after the model name what to classify: prepared images, pictures or folders")
    arguments["views"] = int(arguments["views"]) if arguments["views"] else None
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
        raise click.UsageError("say where the predictions go: --out predictions.csv")
    with Display() as display:
        guesses = predict(models, images[0], split=split, out=out, on_progress=display.on_progress, **arguments)
    echo(guesses)
    echo(out)
    hint(f"snellen submission {out} {images[0]} --out submission.csv")


def classify_pictures(models: list[str], paths: list[Path], out: Path | None, top: int, **arguments: Any) -> None:
    """Print a line for each picture: the part of `predict` for pictures. Exit with 1 if none could be read."""
    from snellen.cli.display import Display
    from snellen.prediction.ensemble import classify_by_all
    from snellen.prediction.opening import members
    from snellen.prediction.pictures import check_list, find_pictures, write_classified

    with Display() as display:
        if out is not None:
            check_list(out)
        found = find_pictures(paths)
        named = members(models)
        classes = named[0][1].classes
        pictures = classify_by_all(named, found, on_progress=display.on_progress, **arguments)
    for picture in pictures:
        if picture.problem:
            echo(f"{shown(picture.name)}: cannot be read: {picture.problem}")
            continue
        best = ", ".join(f"{shown(name)} {percent(p, 1)}" for name, p in picture.top(classes, top))
        warning = "  (unlike anything it was trained on)" if picture.is_strange else ""
        echo(f"{shown(picture.name)}: {best}{warning}")
    if out is not None:
        echo(write_classified(pictures, classes, out))
    if all(picture.problem for picture in pictures):
        click.get_current_context().exit(1)


@main.command()
@click.argument("predictions", type=PATH)
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="CSV")
def submission(predictions: Path, data: Path, out: Path) -> None:
    """Write predictions as the sample has them; check each line.

    \b
    Example:  snellen submission predictions.csv data --out submission.csv
    """
    from snellen.cli.display import Display
    from snellen.competition.submission import check_submission, write_submission
    from snellen.images.imageset import ImageSet

    with Display():
        images = ImageSet.open(data)
        path = write_submission(predictions, images, out)
        echo(f"{check_submission(path, images):,} lines, every one checked")
    echo(path)


@main.command()
@click.argument("model", shell_complete=completion.words(files=True))
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Answer under this name too; for a reverse proxy on this machine.",
)
@click.option("--max-bytes", type=click.IntRange(1), default=16 * 2**20, show_default=True, help="Size of one picture.")
@click.option(
    "--max-memory",
    type=click.IntRange(1),
    default=256 * 2**20,
    show_default=True,
    help="Bytes that decoding one picture may take.",
)
@the_views
@the_device
def serve(views: str | None, **arguments: Any) -> None:
    """Serve a web page and a JSON API that classify pictures.

    \b
    Example:  snellen serve run
    """
    from snellen.cli.display import Display
    from snellen.serving.serve import serve

    with Display():
        serve(views=int(views) if views else None, on_ready=echo, **arguments)


@main.command()
@click.argument("model", shell_complete=completion.words(files=True))
@click.option("--to", type=click.Choice(["onnx", "torch", "gluon"]), default="onnx", show_default=True)
@click.option("--out", type=PATH, metavar="FILE", help="By default beside the model.")
@click.option("--data", "images", type=PATH, help="Prepared images to compare on; by default noise.")
@the_views
def export(views: str | None, **arguments: Any) -> None:
    """Write a model for other programs: raw images in.

    \b
    Example:  snellen export run --to onnx --data data

    ONNX and torch programs take raw uint8 images and give probabilities; gluon is MXNet's .params, the network alone.
    """
    from snellen.cli.display import Display
    from snellen.serving.export import export

    with Display() as display:
        exported = export(views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    echo(exported.path)


@main.command()
@click.argument("run", type=PATH)
@click.option("--data", "images", type=PATH, metavar="DATA", help="Prepared images (default: those of the run).")
@click.option("--out", type=PATH, default="report.html", show_default=True, metavar="FILE", help="The page to write.")
@click.option("--split", default="valid", show_default=True, shell_complete=completion.splits, help="A labelled split.")
@click.option("--live", is_flag=True, help="Rewrite the page after each epoch; it reloads itself.")
@the_views
@the_device
def report(views: str | None, **arguments: Any) -> None:
    """Write a page about a run: curves, scores, mistakes, recipe.

    \b
    Example:  snellen report run --data data --out report.html

    The page of an unfinished run has its curves, settings and progress. To watch a run while it trains, add --live and
    open the page in a browser.
    """
    from snellen.cli.display import Display
    from snellen.reports.report import report

    with Display() as display:
        path = report(views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    echo(path)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("--data", "images", type=PATH, metavar="DATA", help="By default where the first run had them.")
@click.option("--out", type=PATH, metavar="FILE", help="Also a page (.html), a figure (.png) or the figures (.json).")
@click.option("--split", default="valid", show_default=True, shell_complete=completion.splits, help="A labelled split.")
@the_device
def compare(**arguments: Any) -> None:
    """Compare runs: which differences are beyond noise.

    \b
    Example:  snellen compare runs/a runs/b --out compare.html

    On the same images, beside what each run cost.
    """
    from snellen.cli.display import Display
    from snellen.reports.compare import compare

    with Display() as display:
        echo(compare(on_progress=display.on_progress, **arguments))


@main.command()
@click.argument("data", type=PATH)
@click.option("--run", type=PATH, metavar="RUN", help="A run, or out-of-fold predictions: asked for label errors.")
@click.option("--out", type=PATH, metavar="FILE", help="Also a page (.html), everything (.json) or the summary (.txt).")
@the_device
def check(data: Path, **arguments: Any) -> None:
    """Find duplicates, leaks, doubtful labels, odd images.

    \b
    Example:  snellen check data --out check.html

    Leaks are duplicates across splits; doubtful labels are those that contradict each other and, with --run, those that
    the model does not believe.
    """
    from snellen.cli.display import Display
    from snellen.reports.check import check

    with Display() as display:
        echo(check(data, on_progress=display.on_progress, **arguments))


@main.command()
@click.argument("submission", type=PATH)
@click.option("--competition", required=True, metavar="NAME", help="As in its address: kaggle.com/c/NAME.")
@click.option("--message", required=True, metavar="TEXT", help="What Kaggle shows beside the score.")
@click.option("--data", "images", type=PATH, metavar="DATA", help="Prepared images or a sample CSV to check against.")
@click.option("--run", type=PATH, metavar="RUN", help="Where the score is recorded.")
@click.option("--wait", "wait_seconds", type=float, default=300.0, show_default=True, metavar="SECONDS")
def submit(**arguments: Any) -> None:
    """Check a submission, send it to Kaggle, wait for its score.

    \b
    Example:  snellen submit cifar/submission.csv --competition cifar-10 --message "first try"
    """
    from snellen.cli.display import Display
    from snellen.competition.kaggle import submit

    with Display():
        result = submit(**arguments)
    score = result["public_score"]
    echo("the score is not there yet" if score is None else f"public score {score}")


@main.command()
@click.argument("competition")
@click.option("--out", type=PATH, metavar="FOLDER", help="The folder to write (default: the competition's name).")
def download(**arguments: Any) -> None:
    """Download a Kaggle competition's files.

    \b
    Example:  snellen download cifar-10
    """
    from snellen.cli.display import Display
    from snellen.competition.kaggle import download

    with Display():
        folder = download(**arguments)
    echo(folder)
    hint(f"snellen compete {folder} --out entry")


@main.command("import-gluon")
@click.argument("file", type=PATH)
@click.option("--model", required=True, metavar="NAME", help="Its architecture: the file does not say.")
@click.option("--out", type=PATH, required=True, metavar="MODEL", help="The model.safetensors file to write.")
@click.option("--classes", metavar="A,B,...", help="In the order of training; CIFAR-10's for ten by default.")
@click.option("--size", type=click.IntRange(SMALLEST, LARGEST), default=32, show_default=True, metavar="PIXELS")
def import_gluon(classes: str | None, **arguments: Any) -> None:
    """Read an MXNet Gluon .params file, without MXNet.

    \b
    Example:  snellen import-gluon net.params --model cifar_resnet20_v2 --out model.safetensors
    """
    from snellen.models.import_gluon import import_gluon

    out = import_gluon(classes=classes.split(",") if classes else (), **arguments)
    echo(out)
    hint(f"snellen predict {out} photo.jpg")


@main.command()
@click.argument("thing", shell_complete=completion.recipes)
def show(thing: str) -> None:
    """Say what images, runs, folds, studies, models, recipes hold.

    \b
    Example:  snellen show fast
    """
    from snellen.cli.show import show

    echo(show(thing))


@main.command("list")
@click.argument("what", type=click.Choice(["recipes", "models"]))
def list_(what: str) -> None:
    """List the recipes or the models.

    \b
    Example:  snellen list recipes
    """
    from snellen.cli.show import list_models, list_recipes

    echo(list_recipes() if what == "recipes" else list_models())


def fold_folders(out: Path, folds: int) -> list[Path]:
    """Where the runs of the folds will be."""
    from snellen.runs.cross_validation import fold_folder

    return [fold_folder(out, number) for number in range(1, folds + 1)]


def hint(command: str) -> None:
    """The next command to type."""
    if IS_FIRST:
        echo(f"next: {command}", err=True)
