"""Submissions for images with several labels: a list per line, or a column per class."""

import csv

import numpy as np
import pytest
from PIL import Image

from made import LIGHTS, lights, several_images, small_model
from snellen.competition.submission import check_submission, write_submission
from snellen.competition.submit_pictures import submit_pictures
from snellen.errors import DataError
from snellen.models.classifier import Classifier
from snellen.models.model_file import save_model
from snellen.prediction.predictions import Predictions
from snellen.task import Task

DECIDED = np.array([[True, False, True], [False, False, False], [False, True, False], [True, True, True]])


def guesses(images, decided=DECIDED):
    test = images.select("test")
    probabilities = np.where(decided, 0.8, 0.1).astype(np.float32)
    return Predictions(test.ids[::-1], probabilities[::-1], images.classes, decided[::-1])


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_line_has_the_labels_decided_on(tmp_path):
    sample = b"image,labels\nt12,red\nt13,red\nt14,red\nt15,red\n"
    images = several_images(tmp_path / "data", num=12, num_test=4, sample=sample)
    out = write_submission(guesses(images), images, tmp_path / "submission.csv")
    lists = ["blue red", "", "green", "blue green red"]
    assert rows_of(out) == [["image", "labels"], *([f"t{12 + n}", text] for n, text in enumerate(lists))]
    assert check_submission(out, images) == 4
    for wrong in ("purple", "red red", "red,blue"):
        out.write_text(sample.decode().replace("t13,red", f"t13,{wrong}"))
        with pytest.raises(DataError, match=r"is not a list of classes|the line is"):
            check_submission(out, images)


@pytest.mark.parametrize(("metric", "yes", "no"), [("auc", "0.800000012", "0.100000001"), ("f1_macro", "1", "0")])
def test_a_column_per_class_holds_probabilities_or_decisions(tmp_path, metric, yes, no):
    sample = b"id,red,blue,green\nt13,0,0,0\nt12,0,0,0\nt15,0,0,0\nt14,0,0,0\n"
    images = several_images(tmp_path / "data", num=12, num_test=4, sample=sample, form="columns", metric=metric)
    out = write_submission(guesses(images), images, tmp_path / "submission.csv")
    assert rows_of(out)[0] == ["id", "red", "blue", "green"]
    assert rows_of(out)[2] == ["t12", yes, yes, no]
    assert rows_of(out)[1] == ["t13", no, no, no]
    assert check_submission(out, images) == 4


def test_without_a_sample_every_test_image_gets_a_line(tmp_path):
    images = several_images(tmp_path / "data", num=12, num_test=4)
    out = write_submission(guesses(images), images, tmp_path / "submission.csv")
    assert rows_of(out)[:2] == [["id", "labels"], ["t12", "blue red"]]


def test_predictions_come_back_from_their_file(tmp_path):
    images = several_images(tmp_path / "data", num=12, num_test=4)
    path = guesses(images).save(tmp_path / "predictions.csv")
    again = Predictions.open(path)
    assert again.has_several
    assert again.labels_of("t12") == ["blue", "red"]
    assert again.label_of("t13") == "[]"
    for old, new in (('"[""green""]"', '"[""mauve""]"'), ('"[""green""]"', "green"), ("0.1000", "-0.10")):
        path.write_text(guesses(images).save(tmp_path / "again.csv").read_text().replace(old, new))
        with pytest.raises(DataError, match="is damaged"):
            Predictions.open(path)


def test_pictures_from_a_folder_get_the_labels_of_the_model(tmp_path):
    task = Task(LIGHTS, "multi", "labels", "f1_samples", allows_none=False)
    network = small_model(LIGHTS, (16, 16)).network
    model = Classifier("whitened_cnn", network, LIGHTS, (16, 16), task).eval()
    rule = {"kind": "thresholds", "metric": "f1_samples", "thresholds": [0.5, 0.5, 0.5], "at_least_one": True}
    save_model(tmp_path / "model.safetensors", model, rule=rule)
    (tmp_path / "pictures").mkdir()
    for number, pixels in enumerate(lights(5)[0]):
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
    sample = "id,labels\n" + "".join(f"{n}.png,red\n" for n in range(5))
    (tmp_path / "sample.csv").write_text(sample)
    out = submit_pictures(
        tmp_path / "model.safetensors", tmp_path / "pictures", tmp_path / "sample.csv", tmp_path / "s.csv"
    )
    assert all({*row[1].split()} <= {*LIGHTS} and row[1] for row in rows_of(out)[1:])
    assert len(rows_of(out)) == 6
