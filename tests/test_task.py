import json

import pytest

from made import make_images, noise, small_model
from snellen.images.imageset import ImageSet
from snellen.models.model_file import load_model, save_model
from snellen.scoring.metrics import DEFAULT_METRIC, METRICS_OF_KIND
from snellen.task import FORMS, FORMS_OF_KIND, Task

FULL = Task(("0", "1"), "single", "positive", "auc", "1", ("benign", "malignant"))


def test_a_task_comes_back_from_json():
    assert Task.from_dict(["0", "1"], json.loads(json.dumps(FULL.to_dict()))) == FULL


def test_no_task_means_one_label_scored_by_accuracy():
    assert Task.from_dict(["cat", "dog"], None) == Task(("cat", "dog"), "single", "label", "accuracy")


def test_every_form_has_a_metric_and_every_metric_a_form():
    for kind, forms in FORMS_OF_KIND.items():
        assert DEFAULT_METRIC[kind].keys() == {*forms}
        assert {metric.form for metric in METRICS_OF_KIND[kind].values()} <= FORMS.keys()


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "double"},
        {"form": "essay"},
        {"form": "positive"},
        {"form": "positive", "positive": "2"},
        {"display_names": ["benign"]},
        {"display_names": "ab"},
        {"metric": 3},
    ],
)
def test_an_impossible_task_is_an_error(values):
    with pytest.raises((ValueError, TypeError)):
        Task.from_dict(["0", "1"], values)


def test_classes_have_names_for_people():
    assert FULL.display("1") == "malignant"
    assert Task(("a", "b")).display("a") == "a"


def test_an_imageset_without_a_task_opens_as_before(tmp_path):
    images = make_images(tmp_path / "old", noise(4), ["a", "b", "a", "b"], ["train", "train", "valid", "valid"])
    assert images.task == Task(("a", "b"))


def test_a_damaged_task_in_about_json_is_named(tmp_path):
    make_images(tmp_path / "data", noise(4), ["a", "b", "a", "b"], ["train", "train", "valid", "valid"])
    about = json.loads((tmp_path / "data/about.json").read_text())
    (tmp_path / "data/about.json").write_text(json.dumps(about | {"task": {"form": "essay"}}))
    with pytest.raises(Exception, match="essay"):
        ImageSet.open(tmp_path / "data")


def test_a_model_file_holds_the_task(tmp_path):
    model = small_model(("0", "1"))
    model.task = FULL
    assert load_model(save_model(tmp_path / "model.safetensors", model)).task == FULL
