import pytest
import torch

from made import make_images, noise, small_model
from snellen.errors import DataError
from snellen.models.model_file import save_model
from snellen.prediction.evaluate import evaluate
from snellen.prediction.predict import predict
from snellen.scoring.scores import score


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
    assert "not the prepared images that the model was trained on" in caplog.text
