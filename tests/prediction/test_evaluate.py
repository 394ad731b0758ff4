import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made import make_images, many, noise, small_model, some
from snellen.errors import DataError
from snellen.models.model_file import save_model
from snellen.prediction.evaluate import calibration_error, evaluate, score, wilson_interval
from snellen.prediction.predict import predict

# Probabilities of three classes for five images, worked out by hand.
GUESSES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.25, 0.25, 0.5], [0.9, 0.05, 0.05], [0.4, 0.4, 0.2]], dtype=np.float32
)
LABELS = np.array([0, 2, 2, 1, 0])


def test_scores_equal_those_worked_out_by_hand():
    found = score(GUESSES, LABELS)
    assert found["images"] == 5
    assert found["right"] == 3  # the first, the third, and the fifth: the first of equal classes counts
    assert found["accuracy"] == 0.6
    assert found["log_loss"] == pytest.approx(-math.log(0.7 * 0.4 * 0.5 * 0.05 * 0.4) / 5, rel=1e-6)
    # Confidences .7, .5, .5, .9, .4 lie in the bins 10, 7, 7, 13, 6 of 15.
    assert found["calibration_error"] == pytest.approx((0.3 + abs(1 - 2 * 0.5) + 0.9 + 0.6) / 5, abs=1e-6)
    assert (found["low"], found["high"]) == wilson_interval(3, 5)


def test_a_score_is_made_of_plain_numbers():
    found = score(GUESSES, LABELS)
    assert all(type(value) in (int, float) for value in found.values()), found


def test_a_class_given_up_wholly_costs_much_and_not_infinitely():
    found = score(np.array([[1.0, 0.0]], dtype=np.float32), np.array([1]))
    assert found["log_loss"] == pytest.approx(-math.log(1e-12))
    assert found["accuracy"] == 0


@pytest.mark.parametrize(
    ("right", "num", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # z^2 / (n + z^2) with z = 1.959964, and its mirror image.
        (0, 10, 0.0, 3.841459 / 13.841459),
        (10, 10, 10 / 13.841459, 1.0),
        (5, 10, 0.2366, 0.7634),
        (1, 1, 1 / 4.841459, 1.0),
    ],
)
def test_the_interval_has_the_known_values(right, num, low, high):
    assert wilson_interval(right, num) == pytest.approx((low, high), abs=5.1e-5)


@many
@given(data=st.data(), num=st.integers(1, 10**7))
def test_the_interval_is_where_the_score_test_is_at_its_limit(data, num):
    right = data.draw(st.integers(0, num))
    low, high = wilson_interval(right, num)
    share = right / num
    assert 0 <= low <= share <= high <= 1
    for edge in (low, high):
        assert abs(share - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / num), abs=1e-7)
    mirrored = wilson_interval(num - right, num)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def slow_calibration_error(guesses, labels, num_bins):
    total = 0.0
    for n in range(num_bins):
        inside = [
            i
            for i, row in enumerate(guesses)
            if n <= float(row.max()) * num_bins < n + 1 or (n == num_bins - 1 and row.max() == 1)
        ]
        if inside:
            right = sum(int(guesses[i].argmax() == labels[i]) for i in inside) / len(inside)
            confidence = sum(float(guesses[i].max()) for i in inside) / len(inside)
            total += len(inside) * abs(right - confidence)
    return total / len(labels)


@some
@given(num=st.integers(1, 60), classes=st.integers(2, 5), num_bins=st.integers(1, 20), seed=st.integers(0, 999))
def test_calibration_error_equals_the_sum_over_bins_written_out(num, classes, num_bins, seed):
    rng = np.random.default_rng(seed)
    guesses = rng.random((num, classes)) ** 6 + 1e-9
    guesses = (guesses / guesses.sum(axis=1, keepdims=True)).astype(np.float32)
    guesses[rng.random(num) < 0.1] = np.eye(classes, dtype=np.float32)[0]
    labels = rng.integers(0, classes, num)
    found = calibration_error(guesses, labels, num_bins)
    assert found == pytest.approx(slow_calibration_error(guesses, labels, num_bins), abs=1e-9)
    assert 0 <= found <= 1


def test_calibration_error_knows_the_honest_from_the_boastful():
    labels = np.arange(1000) % 2
    certain = np.tile(np.array([[1.0, 0.0]], dtype=np.float32), (1000, 1))
    honest = np.tile(np.array([[0.5, 0.5]], dtype=np.float32), (1000, 1))
    assert calibration_error(certain, labels) == pytest.approx(0.5)
    assert calibration_error(honest, labels) == pytest.approx(0)
    assert calibration_error(np.eye(2, dtype=np.float32)[labels], labels) == 0


def test_calibration_error_has_fifteen_bins_and_certainty_belongs_to_the_last():
    # The first is wrong by -0.05, the second by 1: in one bin, as [14/15, 1] is, they cancel but for 0.95.
    guesses = np.array([[0.95, 0.05], [1.0, 0.0]], dtype=np.float32)
    assert calibration_error(guesses, np.array([0, 1])) == pytest.approx(0.95 / 2)
    # 0.66 and 0.67 lie on two sides of 10/15, and in one bin of 14 or 16.
    guesses = np.array([[0.66, 0.34], [0.67, 0.33]], dtype=np.float32)
    assert calibration_error(guesses, np.array([0, 1])) == pytest.approx((0.34 + 0.67) / 2)


@pytest.fixture
def images(tmp_path):
    names = ["cat", "dog", "owl", "cat", "cat", "dog", "", ""]
    splits = ["train", "valid", "valid", "valid", "valid", "valid", "test", "test"]
    return make_images(tmp_path / "data", noise(8), names, splits, ids=list("abcdefgh"))


def test_evaluate_scores_what_predict_says(images, tmp_path):
    torch.manual_seed(0)
    model = small_model().eval()
    path = save_model(tmp_path / "m.safetensors", model, recipe={"views": 2, "precision": "float32"})
    found = evaluate(path, images)
    guessed = predict(path, images, split="valid")
    valid = images.select("valid")
    right = [guessed.label_of(id) == valid.classes[label] for id, label in zip(valid.ids, valid.labels, strict=True)]
    assert found["split"] == "valid"
    assert found["images"] == 5
    assert found["right"] == sum(right)
    expected = score(guessed.probabilities, valid.labels)
    assert {name: found[name] for name in expected} == expected
    assert {name: entry["images"] for name, entry in found["classes"].items()} == {"cat": 2, "dog": 2, "owl": 1}
    assert found["classes"]["owl"]["accuracy"] == float(right[1])
    assert sum(entry["images"] * entry["accuracy"] for entry in found["classes"].values()) == sum(right)


def test_the_accuracy_of_a_class_is_its_share_of_right_images(tmp_path):
    path = save_model(tmp_path / "m.safetensors", small_model())
    unknown = make_images(tmp_path / "unknown", noise(9), [""] * 9, ["test"] * 9, classes=("cat", "dog", "owl"))
    guesses = predict(path, unknown)
    names = [guesses.label_of(id) for id in unknown.ids]  # all right, but for one image of the class guessed most
    most = max(set(names), key=names.count)
    other = next(name for name in ("cat", "dog") if name != most)
    names[names.index(most)] = other
    known = make_images(tmp_path / "known", noise(9), names, ["valid"] * 9, classes=("cat", "dog", "owl"))
    found = evaluate(path, known)["classes"]
    assert found[most] == {"images": names.count(most), "accuracy": 1.0}
    assert found[other]["accuracy"] == pytest.approx(1 - 1 / names.count(other))
    assert names.count(most) > 1


def test_a_class_without_images_has_no_score_of_its_own(images, tmp_path):
    path = save_model(tmp_path / "m.safetensors", small_model())
    assert evaluate(path, images, split="train")["classes"].keys() == {"cat"}


def test_images_without_labels_cannot_be_scored(images):
    with pytest.raises(DataError, match="the test images have no labels"):
        evaluate(small_model(), images, split="test")


def test_a_model_of_other_classes_or_sizes_is_refused(images):
    with pytest.raises(DataError, match="classes"):
        evaluate(small_model(classes=("cat", "owl", "dog")), images)
    with pytest.raises(DataError, match="16x16 pixels"):
        evaluate(small_model(size=(32, 32)), images)


def test_a_model_that_has_seen_the_images_is_scored_with_a_warning(images, tmp_path, caplog):
    def model(name, **about):
        return save_model(tmp_path / name, small_model(), recipe={"views": 1}, **about)

    honest = model("honest.safetensors", fingerprint=images.fingerprint, on="train")
    assert evaluate(honest, images)["seen"] == "no"
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    assert evaluate(honest, images, split="train")["seen"] == "yes"
    assert "was trained on these train images" in caplog.text
    assert evaluate(model("all.safetensors", fingerprint=images.fingerprint, on="train+valid"), images)["seen"] == "yes"
    assert "was trained on these valid images" in caplog.text
    assert evaluate(model("other.safetensors", fingerprint="other", on="train"), images)["seen"] == "perhaps"
    assert evaluate(model("unknown.safetensors"), images)["seen"] == "perhaps"
    assert "not the images that the model was made with" in caplog.text
