import csv
import hashlib
import os
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from snellen.errors import DataError
from snellen.sources import demo, drawing


@pytest.fixture(scope="module")
def competition(tmp_path_factory):
    """The demo at its full size, as a folder."""
    folder = tmp_path_factory.mktemp("demo") / "competition"
    demo.write_competition(folder)
    return folder


@pytest.fixture(scope="module")
def train(competition):
    """float32 (3000, 3, 32, 32) and int64 (3000,): as a reader of the files sees them."""
    return tensors(competition / "train", labels_in(competition / "trainLabels.csv"))


@pytest.fixture(scope="module")
def test(competition):
    """float32 (600, 3, 32, 32) and the answers, int64 (600,)."""
    return tensors(competition / "test", demo.answers())


def tensors(folder, labels):
    x = np.stack([np.asarray(Image.open(folder / f"{id}.png")) for id in labels])
    y = [demo.CLASSES.index(label) for label in labels.values()]
    return torch.from_numpy(x).permute(0, 3, 1, 2) / 255, torch.tensor(y)


def labels_in(path):
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "label"]
    assert len({id for id, _ in rows}) == len(rows)
    return dict(rows)


def share_right(logits, y):
    return (logits.argmax(1) == y).float().mean().item()


def test_layout_is_kaggles(competition):
    assert sorted(os.listdir(competition)) == ["sampleSubmission.csv", "test", "train", "trainLabels.csv"]
    for split, table, count in (("train", "trainLabels.csv", 3000), ("test", "sampleSubmission.csv", 600)):
        ids = [str(id) for id in range(1, count + 1)]
        assert sorted(os.listdir(competition / split)) == sorted(f"{id}.png" for id in ids)
        assert list(labels_in(competition / table)) == ids
    with Image.open(competition / "test" / "600.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))


def test_classes_are_balanced_in_no_order_of_ids(competition):
    labels = labels_in(competition / "trainLabels.csv")
    assert Counter(labels.values()) == dict.fromkeys(demo.CLASSES, 300)
    assert Counter(demo.answers().values()) == dict.fromkeys(demo.CLASSES, 60)
    by_last_digit = Counter((id[-1], label) for id, label in labels.items())
    assert max(by_last_digit.values()) < 60, "300 ids end in each digit, so about 30 of them should have each label"


def test_sample_submission_gives_no_answer_away(competition):
    assert set(labels_in(competition / "sampleSubmission.csv").values()) == {demo.CLASSES[0]}


def test_no_two_images_are_the_same(train, test):
    everything = torch.cat([train[0], test[0]]).numpy()
    assert len({image.tobytes() for image in everything}) == 3600


def test_pixels_are_the_same_on_every_machine():
    """The digest was taken once. Where it differs, people with the same recipe would get different results."""
    digest = hashlib.sha256()
    for split in ("train", "test"):
        for id in range(1, 21):
            digest.update(demo.draw(split, id))
    assert digest.hexdigest() == "412ce50343f4dc1fcdc1c034e391b8bc5d97862ac0057250dac75a7dddea6749"


def test_files_hold_the_drawn_pixels(competition):
    for split in ("train", "test"):
        np.testing.assert_array_equal(np.asarray(Image.open(competition / split / "7.png")), demo.draw(split, 7))


def test_smaller_competition_is_the_beginning_of_a_larger_one(competition, tmp_path):
    small = tmp_path / "small"
    demo.write_competition(small, num_train=25, num_test=5)
    for path in [*small.glob("*/*.png")]:
        assert path.read_bytes() == (competition / path.relative_to(small)).read_bytes()
    for name, lines in (("trainLabels.csv", 26), ("sampleSubmission.csv", 6)):
        assert (small / name).read_text().splitlines() == (competition / name).read_text().splitlines()[:lines]
    assert demo.answers(5).items() <= demo.answers().items()


def test_linear_classifier_is_nearly_helpless(train, test):
    """Multinomial logistic regression on standardised pixels; of 0.001 to 10, this much L2 did best."""
    (x, y), (x_test, y_test) = train, test
    mean, std = x.flatten(1).mean(0), x.flatten(1).std(0)
    x, x_test = (x.flatten(1) - mean) / std, (x_test.flatten(1) - mean) / std
    linear = nn.Linear(x.shape[1], 10)
    nn.init.zeros_(linear.weight)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = F.cross_entropy(linear(x), y) + linear.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    assert share_right(linear(x), y) > 0.2, "it did not learn, so its failure would prove nothing"
    assert share_right(linear(x_test), y_test) < 0.25


def test_most_similar_image_is_a_poor_guide(train, test):
    (x, y), (x_test, y_test) = train, test
    nearest = torch.cdist(x_test.flatten(1), x.flatten(1)).argmin(1)
    assert (y[nearest] == y_test).float().mean() < 0.35


def test_small_convolutional_network_learns_it(train, test):
    """A few seconds of training. Were labels, answers or shapes mixed up anywhere, this could not be."""
    (x, y), (x_test, y_test) = train, test
    torch.manual_seed(0)
    model = nn.Sequential(
        *convolution(3, 12), nn.MaxPool2d(2), *convolution(12, 24), nn.MaxPool2d(2), *convolution(24, 48),
        *convolution(48, 48), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, epochs=6, steps_per_epoch=94)
    for _ in range(6):
        for index in torch.randperm(3000).split(32):
            F.cross_entropy(model(x[index]), y[index], label_smoothing=0.1).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    model.eval()
    with torch.no_grad():
        assert share_right(model(x_test), y_test) > 0.88


def convolution(num_in, num_out):
    return nn.Conv2d(num_in, num_out, 3, padding=1, bias=False), nn.BatchNorm2d(num_out), nn.ReLU()


def test_classes_are_the_drawn_shapes():
    assert list(drawing.OUTLINES) == list(demo.CLASSES) == sorted(demo.CLASSES)


@pytest.mark.parametrize("name", demo.CLASSES)
def test_outline_is_a_distance(name):
    """Edges are smoothed over one sample, which needs a distance that grows by 1 per unit near the outline."""
    step = 2e-3
    x = np.arange(-1.5, 1.5, step)
    distance = drawing.OUTLINES[name](*np.meshgrid(x, x))
    slope = np.hypot(*np.gradient(distance, step))[np.abs(distance) < 0.02]
    assert np.mean(np.abs(slope - 1) < 0.01) > 0.95, "apart from corners"
    assert (distance[np.hypot(*np.meshgrid(x, x)) > 1.35] > 0).all(), "the figure may not reach out of its image"


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("circle", np.pi * 0.9**2),
        ("ring", np.pi * (0.95**2 - 0.49**2)),
        ("square", 1.5**2),
        ("triangle", 3 * 3**0.5 * 0.5**2),
        ("cross", 2 * 1.9 * 0.56 - 0.56**2),
        ("bars", 3 * 0.38 * 1.6),
        ("star", 10 * 1.05 * 0.48 * np.sin(np.pi / 5) / 2),
        ("arrow", 0.9**2 + 0.5 * 1.05),
    ],
)
def test_shape_has_the_area_geometry_says(name, area):
    step = 4e-3
    x = np.arange(-1.5, 1.5, step)
    inside = drawing.OUTLINES[name](*np.meshgrid(x, x)) < 0
    assert inside.sum() * step**2 == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("name", demo.CLASSES)
def test_mirrored_shape_is_the_same_shape(name):
    """So a recipe may flip the images."""
    x, y = np.meshgrid(np.linspace(-1, 1, 51), np.linspace(-1, 1, 51))
    shape, outline = drawing.OUTLINES[name](x, y), drawing.OUTLINES[name]
    assert np.allclose(outline(-x, y), shape) or np.allclose(outline(x, -y), shape)


def test_directions_favour_no_side():
    dice = drawing.Dice(1, 2, 3)
    directions = np.array([dice.direction() for _ in range(4000)])
    np.testing.assert_allclose(np.hypot(*directions.T), 1)
    assert np.abs(directions.mean(0)).max() < 0.05


def test_figure_is_as_often_darker_as_lighter_and_always_apart_from_its_ground():
    brightness = []
    for number in range(500):
        ground, figure = drawing.two_colours(drawing.Dice(1, 2, number), gap=0.2)
        brightness.append((figure - ground) @ drawing.LUMA)
    np.testing.assert_allclose(np.abs(brightness), 0.2)
    assert 200 < np.sum(np.array(brightness) > 0) < 300


def test_progress_counts_every_image(tmp_path, caplog):
    caplog.set_level("INFO", "snellen")
    told = []
    demo.write_competition(tmp_path / "demo", num_train=3, num_test=2, on_progress=lambda *row: told.append(row))
    assert told == [("draw", done, 5) for done in range(1, 6)]
    assert caplog.messages == ["drawing 5 pictures"]


def test_empty_folder_is_filled_and_is_as_readable_as_any_other(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "demo").mkdir()
    demo.write_competition(tmp_path / "demo", num_train=1, num_test=1)
    assert len(os.listdir(tmp_path / "demo")) == 4
    assert (tmp_path / "demo").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["demo", "other"]


def test_folder_with_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError) as refused:
        demo.write_competition(tmp_path)
    assert str(refused.value).splitlines() == [
        "the demo competition would be mixed with other files.",
        f"  in: {tmp_path}",
        "  expected: a new or empty folder",
        "  do: choose another folder, or empty this one",
    ]
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written: (File exists|Not a directory)\.") as refused:
        demo.write_competition(tmp_path / "file" / "demo")
    assert refused.value.where == str(tmp_path / "file" / "demo")


def test_stopped_drawing_leaves_nothing(tmp_path):
    def stop(stage, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.write_competition(tmp_path / "demo", num_train=3, num_test=2, on_progress=stop)
    assert os.listdir(tmp_path) == []
