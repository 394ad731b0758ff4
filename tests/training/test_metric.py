"""A training by a metric: which epoch is best, the decision rule in the model file, and warnings of nothing learned."""

import json

import numpy as np
import pytest
from PIL import Image

from made import make_images, noise, warnings_in
from snellen.errors import DataError, RunError, SnellenError
from snellen.models.model_file import load_model
from snellen.prediction.decide import decide
from snellen.prediction.ensemble import classify_by_all, rule_for_pictures
from snellen.prediction.evaluate import evaluate
from snellen.prediction.opening import members
from snellen.prediction.predict import predict
from snellen.prediction.predictions import Predictions
from snellen.runs.cross_validation import CrossValidation
from snellen.runs.presets import PRESETS
from snellen.runs.run import best_row
from snellen.scoring.metrics import METRICS, Metric
from snellen.training.cross_validate import cross_validate
from snellen.training.train import train

SMOKE = PRESETS["smoke"].with_settings(["epochs=3", "precision=float32"])


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Four grades, told by a brightness that is blurred by noise: neighbours are easily mistaken."""
    draw = np.random.default_rng(0)
    grades = draw.integers(0, 4, 240)
    brightness = 60 + 40 * grades + draw.normal(0, 30, 240)
    pixels = np.clip(brightness[:, None, None, None] + draw.normal(0, 10, (240, 16, 16, 3)), 0, 255).astype(np.uint8)
    splits = ["train"] * 120 + ["valid"] * 80 + ["test"] * 40
    names = [str(grade) if n < 200 else "" for n, grade in enumerate(grades)]
    return make_images(tmp_path_factory.mktemp("graded") / "data", pixels, names, splits)


def test_a_run_by_qwk_decides_by_cut_points_everywhere(graded, tmp_path):
    run = train(graded, SMOKE, tmp_path / "run", metric="qwk")
    model = load_model(run.model)
    rule = model.about["rule"]
    assert rule["metric"] == "qwk"
    assert len(rule["cuts"]) == 3
    assert all(-1 <= row["valid_qwk"] <= 1 for row in run.metrics)
    assert model.about["scores"]["valid_qwk"] == run.metrics[-1]["valid_qwk"]
    assert model.task.metric == "qwk"
    guesses = predict(run, graded, out=tmp_path / "p.csv")
    assert (guesses.labels == decide(guesses.probabilities, rule)).all()
    lines = (tmp_path / "p.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == [graded.classes[label] for label in guesses.labels]
    scores = evaluate(run, graded, metric="qwk")
    assert scores["metric"] == "qwk"
    assert scores["value_low"] < scores["value"] < scores["value_high"]
    refit = train(graded, SMOKE, tmp_path / "refit", on="train+valid", metric="qwk", calibrated_by=run)
    assert load_model(refit.model).about["rule"] == rule
    averaged = predict([run, refit], graded)
    assert averaged.decided is not None
    with pytest.raises(RunError, match="another metric: it was qwk, is now accuracy"):
        train(graded, SMOKE, tmp_path / "run")


@pytest.fixture(scope="module")
def folds(graded, tmp_path_factory):
    return cross_validate(graded, SMOKE, tmp_path_factory.mktemp("qwk") / "folds", 2, metric="qwk")


def test_folds_by_qwk_fit_a_rule_on_their_out_of_fold_predictions(graded, folds):
    rule = json.loads((folds.folder / "folds.json").read_text())["rule"]
    assert rule["kind"] == "cut_points"
    assert folds.scores["metric"] == folds.metric.name == "qwk"
    assert f"qwk {folds.scores['value']:.4f} (by fold " in str(folds)
    for named in (folds, folds.folder, [folds.folder]):  # the command line passes a list
        guesses = predict(named, graded)
        assert (guesses.labels == decide(guesses.probabilities, rule)).all()
    with pytest.raises(RunError, match="holds a cross-validation with another metric, qwk"):
        cross_validate(graded, SMOKE, folds.folder, 2)


def test_pictures_are_decided_by_the_rule_of_the_folds_or_a_stand_in_that_is_reported(graded, folds, tmp_path, caplog):
    test = graded.select("test")
    pictures = []
    for n, pixels in enumerate(test.pixels()):
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
        pictures.append((str(n), tmp_path / f"{n}.png"))
    together = members(folds)
    rule = rule_for_pictures([folds.folder], together)
    assert rule == folds.about["rule"]
    assert not warnings_in(caplog)
    found = classify_by_all(together, pictures, rule)
    assert [one.decided for one in found] == decide(np.stack([one.probabilities for one in found]), rule).tolist()
    (text,) = warnings_after(caplog, lambda: rule_for_pictures(folds.folders, together))
    assert text.startswith("the average has no decision rule of its own for qwk")
    assert "it uses the mean of the models' cut points" in text
    plain = [train(graded, SMOKE, tmp_path / "plain").folder, folds.folders[0]]
    (text,) = warnings_after(caplog, lambda: rule_for_pictures(plain, members(plain)))
    assert "it uses the most probable class" in text


def warnings_after(caplog, call):
    caplog.clear()
    call()
    return warnings_in(caplog)


def test_a_run_by_accuracy_has_no_rule_and_names_no_other_metric(graded, tmp_path):
    run = train(graded, SMOKE, tmp_path / "run")
    assert "rule" not in load_model(run.model).about
    assert {name for name in run.metrics[0] if name.startswith("valid")} == {"valid_loss", "valid_accuracy"}


def test_a_metric_that_is_a_function_chooses_the_best_epoch(graded, tmp_path):
    def first_epoch_is_best(labels, probabilities):
        return float(-probabilities.max(axis=1).mean())

    run = train(graded, SMOKE, tmp_path / "run", metric=first_epoch_is_best)
    values = [row["valid_first_epoch_is_best"] for row in run.metrics]
    best = load_model(run.best if run.best.exists() else run.model)
    assert best.about["scores"]["epoch"] == 1 + values.index(max(values))


def confidence(labels, probabilities):
    return float(probabilities.max(axis=1).mean())


def brightness(labels, probabilities):
    return 0.0


def test_a_run_by_a_function_is_shown_and_resumed_by_the_same_function_only(graded, tmp_path):
    run = train(graded, SMOKE, tmp_path / "run", metric=confidence)
    assert run.metric.name == "confidence"
    assert f"valid confidence {run.metrics[-1]['valid_confidence']:.4f}, valid accuracy" in str(run)
    assert train(graded, SMOKE, tmp_path / "run", metric=confidence).finished
    with pytest.raises(
        RunError, match=r"it was confidence, is now accuracy \(confidence is a Python function: pass it"
    ):
        train(graded, SMOKE, tmp_path / "run")
    with pytest.raises(RunError, match="it was confidence, is now brightness"):
        train(graded, SMOKE, tmp_path / "run", metric=brightness)
    with pytest.raises(SnellenError, match="a function without a name"):
        train(graded, SMOKE, tmp_path / "other", metric=lambda labels, probabilities: 0.0)
    assert not (tmp_path / "other").exists()
    scores = evaluate(run, graded, metric=confidence)
    assert scores["value_low"] < scores["value"] < scores["value_high"]
    assert evaluate(run, graded)["metric"] == "accuracy", "the function is not stored"


def test_folds_are_scored_by_a_function(graded, tmp_path):
    cv = cross_validate(graded, SMOKE, tmp_path / "folds", 2, metric=confidence)
    oof = Predictions.open(cv.predictions).probabilities
    assert cv.scores["metric"] == cv.metric.name == "confidence"
    assert cv.scores["value"] == pytest.approx(oof.max(axis=1).mean())
    assert len([one["value"] for one in cv.scores["folds"]]) == 2
    assert all("valid_confidence" in row for run in cv.runs for row in run.metrics)
    assert CrossValidation.open(cv.folder).metric.show(cv.scores["value"]) in str(cv)


def test_evaluate_goes_by_the_metric_that_the_model_was_trained_for_on_these_images(graded, tmp_path):
    run = train(graded, SMOKE, tmp_path / "run", metric="auc")
    assert evaluate(run, graded)["metric"] == "auc"
    assert evaluate(run, graded, metric="f1_macro")["metric"] == "f1_macro"
    others = make_images(tmp_path / "others", noise(8), ["0", "1", "2", "3"] * 2, ["valid"] * 8)
    assert evaluate(run, others.scored_by("f1_macro"))["metric"] == "f1_macro"


def test_the_best_epoch_goes_by_the_direction_of_the_metric():
    rows = [{"epoch": n + 1, "valid_log_loss": value} for n, value in enumerate([0.9, None, 0.5, 0.5, 0.7])]
    assert best_row(rows, METRICS["log_loss"])["epoch"] == 3
    opposite = Metric("log_loss", METRICS["log_loss"].function, METRICS["log_loss"].interval)
    assert best_row(rows, opposite)["epoch"] == 1
    assert best_row([{"epoch": 1}], METRICS["log_loss"]) is None


def test_a_wrong_metric_is_refused_before_anything_is_written(graded, tmp_path):
    with pytest.raises(SnellenError, match='unknown metric "kappa"'):
        train(graded, SMOKE, tmp_path / "run", metric="kappa")
    animals = make_images(tmp_path / "animals", noise(6), ["cat", "dog"] * 3, ["train"] * 4 + ["valid"] * 2)
    with pytest.raises(DataError, match="qwk needs ordered classes"):
        train(animals, SMOKE, tmp_path / "run", metric="qwk")
    assert not (tmp_path / "run").exists()


def test_a_training_on_noise_is_warned_of_and_the_model_file_keeps_the_doubt(tmp_path, caplog):
    names = [["cat", "dog"][n] for n in np.random.default_rng(1).integers(0, 2, 120)]
    images = make_images(tmp_path / "data", noise(120), names, ["train"] * 60 + ["valid"] * 60)
    run = train(images, SMOKE, tmp_path / "run")
    (text,) = [text for text in warnings_in(caplog) if "has not learned" in text or "too few" in text]
    assert "always predicting the share of each class gives" in text
    assert load_model(run.model).about["doubt"] == text
    refit = train(images, SMOKE, tmp_path / "refit", on="train+valid", calibrated_by=run)
    assert load_model(refit.model).about["doubt"] == text


def test_folds_of_noise_are_doubted_also_beside_the_submission(tmp_path, caplog):
    names = [["cat", "dog"][n] for n in np.random.default_rng(1).integers(0, 2, 120)] + [""] * 10
    images = make_images(tmp_path / "data", noise(130), names, ["train"] * 60 + ["valid"] * 60 + ["test"] * 10)
    cv = cross_validate(images, SMOKE, tmp_path / "folds", 2)
    assert "always predicting the share of each class gives" in cv.doubt
    assert warnings_in(caplog)[-1] == cv.doubt
    caplog.clear()
    cross_validate(images, SMOKE, tmp_path / "folds", 2)
    assert cv.doubt in warnings_in(caplog), "also when there is nothing left to do"
    caplog.clear()
    predict([cv.folder], images, out=tmp_path / "predictions.csv")
    assert warnings_in(caplog)[-1] == f"before you submit: {cv.doubt}"


def test_a_training_that_learned_is_not_warned_of(tmp_path, caplog):
    pixels = noise(120) // 2
    pixels[::2, :, :, 0] += 100
    pixels[1::2, :, :, 2] += 100
    images = make_images(tmp_path / "data", pixels, ["red", "blue"] * 60, ["train"] * 60 + ["valid"] * 60)
    run = train(images, SMOKE.with_settings("epochs=8"), tmp_path / "run")
    assert run.metrics[-1]["valid_accuracy"] > 0.9
    assert not [text for text in warnings_in(caplog) if "learned" in text]
    assert "doubt" not in load_model(run.model).about


def test_class_power_weighs_the_loss_and_resumes_as_any_setting(graded, tmp_path):
    few = [n for n in range(200) if graded.labels[n] != 3 or n % 5 == 0]
    images = graded.take(np.array(few))
    plain, weighed = (
        train(images, SMOKE.with_settings(f"class_power={power}"), tmp_path / str(power)) for power in (0, 1)
    )
    guessed = [predict(run, images, split="valid").probabilities[:, 3].mean() for run in (plain, weighed)]
    assert guessed[1] > guessed[0]
