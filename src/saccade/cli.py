"""The command line: arguments in, one verb called, errors out. numpy and torch are imported inside the commands."""

import contextlib
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from saccade import __version__
from saccade.errors import SaccadeError

PATH = click.Path(path_type=Path)


class Commands(click.Group):
    """Lists the commands in the order of the work and turns errors into messages and exit codes."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except SaccadeError as problem:
            click.echo(f"saccade: {problem}", err=True)
            context.exit(1)
        except KeyboardInterrupt:
            click.echo("\nsaccade: stopped. The same command goes on from the last checkpoint.", err=True)
            context.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="saccade")
def main() -> None:
    """From raw image files to a trained model you can trust and a checked submission.csv.

    \b
    Start with:  saccade compete demo --out demo
    """


def options(*decorators: Callable) -> Callable:
    """Several click decorators as one, in reading order."""
    return lambda function: functools.reduce(lambda f, decorate: decorate(f), reversed(decorators), function)


raw_files = options(
    click.option("--labels", type=PATH, help="The labels CSV, where the guess is wrong."),
    click.option("--test", type=PATH, help="The folder of test images, where the guess is wrong."),
    click.option("--sample", type=PATH, help="The sample submission CSV, where the guess is wrong."),
    click.option("--size", type=click.IntRange(4, 1024), metavar="PIXELS", help="Side of the prepared images."),
    click.option("--skip-unreadable", is_flag=True, help="Leave unreadable images out instead of stopping."),
)
the_split = options(
    click.option(
        "--valid-share", type=float, default=0.1, show_default=True, help="Share of each class to validate on."
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Decides which images validate."),
)
the_recipe = options(
    click.option("--recipe", "recipe_name", metavar="NAME", help="A name, a recipe.json, or a study for its best."),
    click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a setting of the recipe."),
)
the_device = click.option("--device", metavar="NAME", help="cpu, cuda, mps, ...; by default the best there is.")
the_views = click.option("--views", type=click.Choice(["1", "2", "6"]), help="Views averaged; by default the recipe's.")


@main.command()
@click.argument("source")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Where everything goes.")
@the_recipe
@the_split
@raw_files
@click.option("--refit/--no-refit", default=True, show_default=True, help="Train again on all labelled images.")
@the_device
def compete(out: Path, recipe_name: str | None, settings: tuple[str, ...], **arguments: Any) -> None:
    """Raw files to a checked submission.csv, in one go.

    \b
    Example:  saccade compete cifar-10.zip --out cifar

    SOURCE is a folder, zip or archive with images and labels, or one of: demo, cifar10-tiny, cifar10.
    Run again, it goes on where it stopped.
    """
    from saccade.compete import compete, describe_accuracy
    from saccade.display import Display

    recipe = chosen_recipe(recipe_name, settings)
    with Display(out / "run", out / "refit") as display:
        entry = compete(out=out, recipe=recipe, on_epoch=display.on_epoch, on_progress=display.on_progress, **arguments)
    click.echo(describe_accuracy(entry.scores))
    click.echo(entry.submission or entry.final.folder)
    hint(f"saccade evaluate {out / 'run'} {out / 'data'}")


@main.command()
@click.argument("source")
@click.option("--out", type=PATH, required=True, metavar="DATA", help="The folder to write.")
@raw_files
@the_split
def prepare(**arguments: Any) -> None:
    """Decode every image once into one array beside rows.csv.

    \b
    Example:  saccade prepare cifar-10.zip --out data
    """
    from saccade.display import Display
    from saccade.prepare import prepare

    with Display() as display:
        images = prepare(on_progress=display.on_progress, **arguments)
    click.echo(images)
    click.echo(images.folder)
    hint(f"saccade train {images.folder} --out run")


@main.command()
@click.argument("source")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="The folder to write.")
@the_split
@click.option("--link", type=click.Choice(["copy", "hard", "symbolic"]), default="copy", show_default=True)
def organize(**arguments: Any) -> None:
    """Write train_valid_test/ class folders, for tools that want them.

    \b
    Example:  saccade organize cifar-10.zip --out folders
    """
    from saccade.display import Display
    from saccade.organize import organize

    with Display() as display:
        click.echo(organize(on_progress=display.on_progress, **arguments))


@main.command()
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="RUN", help="The run's folder.")
@the_recipe
@click.option("--on", type=click.Choice(["train", "train+valid"]), default="train", show_default=True)
@click.option("--init", type=PATH, metavar="MODEL", help="Start from this model's weights.")
@click.option("--tensorboard", is_flag=True, help="Also write for TensorBoard, into RUN/tensorboard.")
@the_device
def train(data: Path, recipe_name: str | None, settings: tuple[str, ...], tensorboard: bool, **arguments: Any) -> None:
    """Train a recipe on prepared images; run again, it goes on where it stopped.

    \b
    Example:  saccade train data --out run --recipe quick --set epochs=12
    """
    from saccade.display import Display
    from saccade.train import train

    recipe = chosen_recipe(recipe_name, settings)
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(Display(arguments["out"]))
        told = [display.on_epoch]
        if tensorboard:
            from saccade.tensorboard import TensorBoard

            told.append(stack.enter_context(TensorBoard(arguments["out"])))

        def tell_all(row: dict[str, Any]) -> None:
            for tell in told:
                tell(row)

        run = train(
            data,
            recipe,
            on_epoch=tell_all,
            on_progress=display.on_progress,
            **arguments,
        )
    click.echo(run)
    click.echo(run.model)
    hint(f"saccade evaluate {run.folder} {data}")


class Duration(click.ParamType):
    """Seconds, written as 90, 90s, 30m, 2h or 1d."""

    name = "time"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
        text = str(value).strip()
        try:
            seconds = float(text.rstrip("smhd")) * units[text[-1]] if text[-1:] in units else float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f'"{value}" is no time: write for example 90s, 30m or 2h.', parameter, context)
        return seconds


@main.command()
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="STUDY", help="The study's folder.")
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Of the whole study; 20 without a budget.")
@click.option("--budget", type=Duration(), metavar="TIME", help="Stop after 90s, 30m or 2h.")
@click.option("--recipe", "recipe_name", metavar="NAME", help="What to start from, and to vary.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUES",
    help="low..high or a,b,c varies a setting, one value fixes it; without any, a region around the recipe varies.",
)
@click.option(
    "--storage",
    metavar="URL",
    envvar="SACCADE_STORAGE",  # a password in a command line is seen by every user of the machine
    show_envvar=True,
    help="A database that several machines share; by default a file.",
)
@the_device
def tune(data: Path, recipe_name: str | None, settings: tuple[str, ...], **arguments: Any) -> None:
    """Search for the recipe that suits the images best; run again, it goes on.

    \b
    Examples:  saccade tune data --out study --budget 30m
               saccade tune data --out study --trials 40 --set peak_lr=5..200 --set flip=off,random

    The same command in another terminal, or with --storage on another machine, adds a worker.
    """
    from saccade.display import Display
    from saccade.tune import tune

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
    click.echo(study)
    click.echo(study.folder / "study.html")
    if study.best:
        hint(f"saccade train {data} --out run --recipe {study.folder}")


@main.command()
@click.argument("run", type=PATH)
@click.argument("data", type=PATH)
@click.option("--split", default="valid", show_default=True, help="train, valid, or test where it has labels.")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
@the_views
@the_device
def evaluate(run: Path, data: Path, as_json: bool, views: str | None, **arguments: Any) -> None:
    """Score a run on a labelled split.

    \b
    Example:  saccade evaluate run data
    """
    from saccade.compete import describe_accuracy
    from saccade.display import Display
    from saccade.evaluate import evaluate

    with Display() as display:
        scores = evaluate(run, data, views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    if as_json:
        click.echo(json.dumps(scores, indent=2))
        return
    click.echo(describe_accuracy(scores))
    click.echo(f"log-loss {scores['log_loss']:.4f} nats, calibration error {100 * scores['calibration_error']:.2f}%")
    width = max(len(name) for name in scores["classes"])
    for name, figures in scores["classes"].items():
        click.echo(f"  {name:{width}}  {100 * figures['accuracy']:6.2f}%  of {figures['images']:,}")


@main.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option("--split", default="test", show_default=True, help="Of prepared images.")
@click.option(
    "--out", type=PATH, metavar="FILE", help="CSV: id, label and one probability per class; JSON for pictures."
)
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, help="Classes shown for each picture.")
@the_views
@the_device
def predict(model: str, images: tuple[Path, ...], split: str, out: Path | None, top: int, **arguments: Any) -> None:
    """Classify a split of prepared images, or any pictures and folders of pictures.

    \b
    Examples:  saccade predict run data --out predictions.csv
               saccade predict cifar10-resnet20 photo.jpg folder/ --top 3

    MODEL is a run, a model.safetensors file or the name of a packaged model.
    """
    from saccade.display import Display
    from saccade.predict import predict

    arguments["views"] = int(arguments["views"]) if arguments["views"] else None
    if len(images) > 1 or not (images[0] / "images.npy").exists():
        classify_pictures(model, images, out, top, **arguments)
        return
    if out is None:
        raise click.UsageError("prepared images need --out CSV")
    with Display() as display:
        guesses = predict(model, images[0], split=split, out=out, on_progress=display.on_progress, **arguments)
    click.echo(guesses)
    click.echo(out)
    hint(f"saccade submission {out} {images[0]} --out submission.csv")


def classify_pictures(
    model: str, paths: tuple[Path, ...], out: Path | None, top: int, views: int | None, device: str | None
) -> None:
    """The part of `predict` for pictures: a line for each on stdout."""
    from saccade import runtime
    from saccade.display import Display
    from saccade.modelfile import load_model
    from saccade.pictures import classify, find_pictures, write_classified

    with Display() as display:
        found = find_pictures(paths)
        classifier = load_model(model)
        place = runtime.choose(device=device)
        pictures = classify(classifier, found, place, views=views, on_progress=display.on_progress)
    for picture in pictures:
        if picture.problem:
            click.echo(f"{picture.name}: cannot be read: {picture.problem}")
            continue
        best = ", ".join(f"{name} {100 * p:.1f}%" for name, p in picture.top(classifier.classes, top))
        warning = "  (unlike anything it was trained on)" if picture.is_strange else ""
        click.echo(f"{picture.name}: {best}{warning}")
    if out is not None:
        click.echo(write_classified(pictures, classifier.classes, out))


@main.command()
@click.argument("predictions", type=PATH)
@click.argument("data", type=PATH)
@click.option("--out", type=PATH, required=True, metavar="CSV")
def submission(predictions: Path, data: Path, out: Path) -> None:
    """Write predictions in the form of the competition's sample and check every line.

    \b
    Example:  saccade submission predictions.csv data --out submission.csv
    """
    from saccade.display import Display
    from saccade.submission import write_submission

    with Display():
        click.echo(write_submission(predictions, data, out))


@main.command()
@click.argument("model")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets other machines in.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes any free one.")
@click.option("--max-bytes", type=click.IntRange(1), default=16 * 2**20, show_default=True, help="Of one picture.")
@click.option("--max-pixels", type=click.IntRange(1), default=50_000_000, show_default=True, help="Of one picture.")
@the_views
@the_device
def serve(views: str | None, **arguments: Any) -> None:
    """A web page and a JSON API that classify pictures.

    \b
    Example:  saccade serve run
    """
    from saccade.display import Display
    from saccade.serve import serve

    with Display():
        serve(views=int(views) if views else None, on_ready=click.echo, **arguments)


@main.command()
@click.argument("model")
@click.option("--to", type=click.Choice(["onnx", "torch", "gluon"]), default="onnx", show_default=True)
@click.option("--out", type=PATH, metavar="FILE", help="By default beside the model.")
@click.option("--data", "images", type=PATH, help="Prepared images to compare on; by default noise.")
@the_views
def export(views: str | None, **arguments: Any) -> None:
    """Write a model for other programs: raw uint8 images in, probabilities out; or MXNet's .params.

    \b
    Example:  saccade export run --to onnx --data data
    """
    from saccade.display import Display
    from saccade.export import export

    with Display() as display:
        exported = export(views=int(views) if views else None, on_progress=display.on_progress, **arguments)
    click.echo(exported.path)


@main.command()
@click.argument("run", type=PATH)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes any that is free.")
@click.option("--open/--no-open", "browser", default=True, show_default=True, help="Open the browser.")
def watch(run: Path, port: int, browser: bool) -> None:
    """Show a run's curves in the browser, live.

    \b
    Example:  saccade watch run
    """
    from saccade.display import Display
    from saccade.watch import watch

    with Display():
        watch(run, port=port, browser=browser)


@main.command()
@click.argument("submission", type=PATH)
@click.option("--competition", required=True, metavar="NAME", help="As in its address: kaggle.com/c/NAME.")
@click.option("--message", required=True, metavar="TEXT", help="What Kaggle shows beside the score.")
@click.option("--data", "images", type=PATH, metavar="DATA", help="Prepared images or a sample CSV to check against.")
@click.option("--run", type=PATH, metavar="RUN", help="Where the score is recorded.")
@click.option("--wait", "wait_seconds", type=float, default=300.0, show_default=True, metavar="SECONDS")
def submit(**arguments: Any) -> None:
    """Check a submission and send it to Kaggle; wait for the score.

    \b
    Example:  saccade submit cifar/submission.csv --competition cifar-10 --message "quick"
    """
    from saccade.display import Display
    from saccade.kaggle import submit

    with Display():
        result = submit(**arguments)
    score = result["public_score"]
    click.echo("the score is not there yet" if score is None else f"public score {score}")


@main.command()
@click.argument("competition")
@click.option("--out", type=PATH, metavar="FOLDER", help="Where the zip goes; here by default.")
def download(**arguments: Any) -> None:
    """Download a Kaggle competition's files.

    \b
    Example:  saccade download cifar-10
    """
    from saccade.display import Display
    from saccade.kaggle import download

    with Display() as display:
        path = download(on_progress=display.on_progress, **arguments)
    click.echo(path)
    hint(f"saccade compete {path} --out {path.stem}")


@main.command("import-gluon")
@click.argument("file", type=PATH)
@click.option("--model", required=True, metavar="NAME", help="Its architecture: the file does not say.")
@click.option("--out", type=PATH, required=True, metavar="MODEL", help="The model.safetensors file to write.")
@click.option("--classes", metavar="A,B,...", help="In the order of training; CIFAR-10's for ten by default.")
@click.option("--size", type=click.IntRange(16, 1024), default=32, show_default=True, metavar="PIXELS")
def import_gluon(classes: str | None, **arguments: Any) -> None:
    """Read an MXNet Gluon .params file, without MXNet.

    \b
    Example:  saccade import-gluon net.params --model cifar_resnet20_v2 --out model.safetensors
    """
    from saccade.import_gluon import import_gluon

    out = import_gluon(classes=classes.split(",") if classes else (), **arguments)
    click.echo(out)
    hint(f"saccade predict {out} photo.jpg")


@main.command()
@click.argument("thing")
def show(thing: str) -> None:
    """Say what prepared images, a run, a model file or a recipe hold.

    \b
    Example:  saccade show quick
    """
    from saccade.presets import PRESETS

    if thing in PRESETS:
        click.echo(f"{thing}\n{PRESETS[thing]}")
        return
    path = Path(thing)
    if (path / "images.npy").exists():
        from saccade.imageset import ImageSet

        click.echo(ImageSet.open(path))
    elif (path / "recipe.json").exists():
        from saccade.run import Run

        run = Run.open(path)
        click.echo(f"{run}\n{run.about['runtime']}\n{run.recipe}")
    elif path.suffix == ".safetensors" and path.exists():
        from saccade.modelfile import load_model

        model = load_model(path)
        click.echo(f"{model.name}, {model.num_parameters:,} parameters\n{json.dumps(model.about, indent=2)}")
    elif path.suffix == ".json" and path.exists():
        from saccade.recipe import Recipe

        click.echo(Recipe.open(path))
    else:
        raise SaccadeError(
            f'there is no "{thing}" to show.',
            expected="prepared images, a run, a model.safetensors file, a recipe.json file or a recipe's name",
            do=f"check the path; the recipes are {', '.join(PRESETS)}",
        )


@main.command("list")
@click.argument("what", type=click.Choice(["recipes", "models"]))
def list_(what: str) -> None:
    """List the recipes or the models.

    \b
    Example:  saccade list recipes
    """
    if what == "recipes":
        from saccade.presets import DEFAULT, PRESETS

        for name, recipe in PRESETS.items():
            default = "  (default)" if name == DEFAULT else ""
            click.echo(f"{name:24}{recipe.model:24}{recipe.epochs:>5} epochs{default}")
    else:
        import torch

        from saccade.models import MODELS, build_network

        for name in MODELS:
            with torch.device("meta"):
                num = sum(p.numel() for p in build_network(name, 10).parameters() if p.requires_grad)
            click.echo(f"{name:28}{num:>12,} parameters")


def chosen_recipe(name: str | None, settings: tuple[str, ...]):
    """The recipe that --recipe and --set mean."""
    from saccade.errors import RecipeError, did_you_mean
    from saccade.presets import DEFAULT, PRESETS
    from saccade.recipe import Recipe

    if name is None or name in PRESETS:
        recipe = PRESETS[name or DEFAULT]
    elif name.endswith(".json"):
        recipe = Recipe.open(name)
    elif (Path(name) / "study.json").exists():
        best = Path(name) / "best.json"
        if not best.exists():
            raise RecipeError(
                "no trial of this study is complete.", where=name, do="run the same `saccade tune` again to go on"
            )
        recipe = Recipe.open(best)
    else:
        raise RecipeError(
            f'there is no recipe "{name}".',
            where=f"--recipe {name}",
            expected=", ".join(PRESETS) + ", a recipe.json file, or a folder that `saccade tune` wrote",
            do=did_you_mean(name, PRESETS, "check the spelling"),
        )
    return recipe.with_settings(settings)


def hint(command: str) -> None:
    """The next command to type."""
    click.echo(f"next: {command}", err=True)
