"""The report: its numbers are those of evaluate, it stands alone, and no name can break it."""

import base64
import io
import shlex
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from made import make_images, noise
from read_page import read_page
from snellen.charts.pages import picture
from snellen.cli.commands import main
from snellen.errors import DataError, RunError
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model, save_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predict import predict
from snellen.reports.report import report
from snellen.runs.presets import PRESETS
from snellen.runs.run import Run
from snellen.training.train import train

QUICKLY = PRESETS["smoke"].with_settings(["epochs=2", "precision=float32", "flip=random", "crop_pad=2"])
NASTY = ("<script>alert(1)</script>", "a&amp;b \"quoted\" 'too'", "</td></table> $x_1$ {{ 7 * 7 }}")


def colourful(folder, names, num=60, side=16, ids=None, mislabelled=()):
    """Images of which each class has its own tint under noise; some of each class validate, some are for testing."""
    pixels = noise(num, side) // 3
    labels = np.arange(num) % len(names)
    draw = np.random.default_rng(5)
    tints = draw.integers(0, 170, (len(names), 3))
    pixels += tints[labels][:, None, None].astype(np.uint8)
    turns = [n // len(names) for n in range(num)]
    splits = ["test" if turn % 6 == 5 else "valid" if turn % 4 == 3 else "train" for turn in turns]
    shown = labels.copy()
    for place in mislabelled:
        shown[place] = (shown[place] + 1) % len(names)
    texts = ["" if split == "test" else names[label] for split, label in zip(splits, shown, strict=True)]
    return make_images(folder, pixels, texts, splits, classes=names, ids=ids)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def images(place) -> ImageSet:
    return colourful(place / "data", ("cherry", "leaf", "sky"), num=120, mislabelled=(9, 22, 47, 58, 95))


@pytest.fixture(scope="module")
def run(images, place) -> Run:
    return train(images, QUICKLY, place / "run")


@pytest.fixture(scope="module")
def page(run, images, place):
    return read_page(report(run, images, out=place / "report.html"))


def test_numbers_are_those_of_evaluate_to_the_last_digit(page, run, images):
    scores = evaluate(run, images)
    for name in ("accuracy", "low", "high", "log_loss", "calibration_error"):
        assert [float(value) for value in page.data[name]] == [scores[name]], name
    accuracies = [figures["accuracy"] for figures in scores["classes"].values()]
    assert [float(value) for value in page.data["class-accuracy"]] == accuracies
    assert f"{100 * scores['accuracy']:.2f}%" in page.text


def test_equal_runs_give_equal_bytes(run, images, place):
    again = report(run.folder, images.folder, out=place / "again.html")
    assert again.read_bytes() == (place / "report.html").read_bytes()


def test_mistakes_show_what_the_model_said_of_that_image(page, run, images):
    guesses = predict(run, images, split="valid")
    valid = images.select("valid")
    wrong = {
        id: (images.classes[label], guesses.label_of(id), f"{100 * probability:.1f}%")
        for id, label, probability in zip(
            valid.ids.tolist(), valid.labels, guesses.probabilities.max(axis=1), strict=True
        )
        if guesses.label_of(id) != images.classes[label]
    }
    assert wrong, "a model without mistakes tests nothing here"
    shown = [caption.split() for caption in page.captions if "taken for" in caption]
    assert len(shown) == min(len(wrong), 24)
    for id, path, _, label, _, _, guess, probability in shown:
        assert path == f"raw/{id}.png"
        assert (label, guess.strip(","), probability) == wrong[id]
    sure = [float(words[-1].strip("%")) for words in shown]
    assert sure == sorted(sure, reverse=True)


def test_pictures_are_the_images_themselves(page, images):
    index = {id: n for n, id in enumerate(images.ids.tolist())}
    checked = 0
    for image in page.all("img"):
        words = image["alt"].split()
        if words[:2] == ["valid", "image"]:
            data = base64.b64decode(image["src"].partition(",")[2])
            shown = np.asarray(Image.open(io.BytesIO(data)))
            assert (shown == images.stored[index[words[2].strip(",")]]).all()
            checked += 1
    assert checked > 20


def test_page_holds_every_part(page, run):
    for part in ("Training", "Learning rate", "Time and memory", "Classes", "Confusions", "Calibration"):
        assert part in page.text
    for part in ("Most confident mistakes", "Most doubtful", "Suspected label errors", "Augmentation", "Repeat it"):
        assert part in page.text
    assert run.about["versions"]["torch"] in page.text
    assert "images/s" in page.text
    labels = [attributes["aria-label"] for attributes in page.all("svg")]
    assert len(labels) == 3
    assert all(labels)


def test_changed_settings_are_marked_and_the_command_makes_the_recipe_again(page, run):
    from snellen.runs.named_recipes import named_recipe

    changed = {row[0] for row in page.rows if len(row) == 4 and row[2].endswith("changed")}
    assert changed == {"epochs", "precision", "flip"} | ({"crop_pad"} if PRESETS["smoke"].crop_pad != 2 else set())
    line = next(line for line in page.source.splitlines() if "snellen train" in line)
    words = shlex.split(line.partition(">")[2])
    settings = tuple(words[i + 1] for i, word in enumerate(words) if word == "--set")
    assert named_recipe(words[words.index("--recipe") + 1], settings) == run.recipe


def test_names_cannot_break_the_page(place):
    ids = [f"<img src=x onerror=alert({n})>" for n in range(40)]
    images = colourful(place / "nasty data", NASTY, num=40, ids=ids)
    run = train(images, QUICKLY.with_settings(["epochs=1"]), place / "<i>run</i>")
    page = read_page(report(run, images, out=place / "nasty.html"))
    assert not page.all("i")
    for name in NASTY:
        assert name in page.text
    assert "49" not in [row[0] for row in page.rows]
    assert any("<img src=x onerror" in caption for caption in page.captions)


def test_two_classes_without_augmentation_are_enough(place):
    images = colourful(place / "two", ("no", "yes"), num=24)
    recipe = QUICKLY.with_settings(["flip=off", "crop_pad=0", "epochs=1"])
    page = read_page(report(train(images, recipe, place / "two run"), images, out=place / "two.html"))
    assert len(page.data["class-accuracy"]) == 2
    assert "trains on unchanged images" in page.text


def test_a_thousand_classes_give_the_worst_pairs_instead_of_a_matrix(place):
    names = [f"class {n:04}" for n in range(1000)]
    splits = ["train"] * 50 + ["valid"] * 400
    images = make_images(place / "many", noise(450), names[:50] + names[600:], splits, classes=names)
    recipe = QUICKLY.with_settings(["epochs=1", "batch_size=50"])
    path = report(train(images, recipe, place / "many run"), images, out=place / "many.html")
    page = read_page(path)
    assert path.stat().st_size < 3e6
    assert "a matrix of 1000 classes would be illegible" in page.text
    assert "matrix" not in [attributes.get("class") for attributes in page.all("table")]
    assert len(page.data["class-accuracy"]) == 400, "none that has images is left out"


def test_other_images_of_the_same_classes_are_said_to_be(run, place):
    other = colourful(place / "other", ("cherry", "leaf", "sky"), num=60)
    page = read_page(report(run, other, out=place / "other.html"))
    assert "not the prepared images that the model was trained on" in page.text


def test_run_on_everything_is_said_to_know_the_images_and_shows_mixed_batches(images, place):
    recipe = QUICKLY.with_settings(["batch_size=50", "cutmix=1", "mix_off_epochs=1", "cutout=4"])
    run = train(images, recipe, place / "on all", on="train+valid")
    page = read_page(report(run, images, out=place / "on all.html"))
    assert "trained on these valid images" in page.text
    firsts = [image for image in page.all("img") if image["alt"].endswith("unchanged")]
    ids = images.ids.tolist()
    assert len(firsts) == 5
    assert all(picture(images.stored[ids.index(one["alt"].split()[1])]) == one["src"] for one in firsts)
    assert [image for image in page.all("img") if image["alt"].startswith("mixed image")]


def test_split_without_labels_is_refused(run, images, place):
    with pytest.raises(DataError, match="test images have no labels"):
        report(run, images, split="test", out=place / "none.html")


def test_images_of_other_classes_are_refused(run, place):
    other = colourful(place / "strange", ("a", "b", "c"), num=24)
    with pytest.raises(DataError, match="classes"):
        report(run, other, out=place / "none.html")


def test_a_run_whose_figures_are_gone_is_refused(run, images, place):
    copy = place / "without figures"
    shutil.copytree(run.folder, copy)
    (copy / "metrics.jsonl").write_text("{}\n{")
    with pytest.raises(RunError, match="damaged") as caught:
        report(copy, images, out=place / "none.html")
    assert "another folder" in str(caught.value)  # of a finished run there is no checkpoint to write them anew from
    (copy / "metrics.jsonl").unlink()
    with pytest.raises(RunError, match="the run has no metrics"):
        report(copy, images, out=place / "none.html")


def spoilt(run, folder):
    """A copy of a run whose model has one weight that is not a number."""
    shutil.copytree(run.folder, folder)
    model = load_model(folder)
    next(model.network.parameters()).data.view(-1)[0] = float("nan")
    save_model(folder / "model.safetensors", model)
    return folder


def test_a_weight_that_is_not_a_number_is_a_message_and_no_page(run, images, place):
    bad = spoilt(run, place / "spoilt")
    for words in (["report", bad, "--data", images.folder], ["compare", run.folder, bad, "--data", images.folder]):
        out = place / f"{words[0]} of nan.html"
        done = CliRunner().invoke(main, [*map(str, words), "--out", str(out)])
        assert done.exit_code == 1
        assert isinstance(done.exception, SystemExit), "no traceback"
        assert "values that are infinite or not a number" in done.stderr
        assert not out.exists()
