"""Tiny replicas of well-known competitions and data sets: their file names, columns and formats, with small pictures.

LAYOUTS maps a name to a function that writes the replica into an empty folder and returns what must come out.
"""

import io
import json
import random
import zipfile
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from conftest import write_csv


@dataclass
class Expected:
    """What must come out of a layout."""

    classes: list
    form: str = "label"
    metric: str = "accuracy"
    positive: str | None = None
    some: dict = field(default_factory=dict)  # id -> label, or list of labels
    splits: dict | None = None  # images of each split that the source itself decides; None: not checked
    num_test: int = 0
    refused: str = ""  # what the message must hold
    kind: str = "single"
    allows_none: bool = False


def pictures(folder, names, mode="RGB"):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)


def zipped_csv(path, rows):
    text = io.StringIO()
    text.writelines(",".join(map(str, row)) + "\n" for row in rows)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.name.removesuffix(".zip"), text.getvalue())


def codes(num, seed=0):
    rnd = random.Random(seed)
    return ["".join(rnd.choice("0123456789abcdef") for _ in range(12)) for _ in range(num)]


def aerial_cactus(f):
    train, test = codes(24), codes(8, 1)
    pictures(f, [f"train/{i}.jpg" for i in train] + [f"test/{i}.jpg" for i in test])
    write_csv(f / "train.csv", [("id", "has_cactus"), *((f"{i}.jpg", int(k % 4 != 0)) for k, i in enumerate(train))])
    write_csv(f / "sample_submission.csv", [("id", "has_cactus"), *((f"{i}.jpg", 0.5) for i in test)])
    return Expected(["0", "1"], "positive", "log_loss", "1", {train[0]: "0", train[1]: "1"}, num_test=8)


def aptos2019(f):
    train, test = codes(30), codes(8, 1)
    pictures(f, [f"train_images/{i}.png" for i in train] + [f"test_images/{i}.png" for i in test])
    write_csv(f / "train.csv", [("id_code", "diagnosis"), *((i, k % 5) for k, i in enumerate(train))])
    write_csv(f / "test.csv", [("id_code",), *((i,) for i in test)])
    write_csv(f / "sample_submission.csv", [("id_code", "diagnosis"), *((i, 0) for i in test)])
    return Expected(list("01234"), some={train[0]: "0", train[7]: "2"}, num_test=8)


def cassava(f):
    train = [f"{1000000000 + 137 * k}.jpg" for k in range(30)]
    pictures(f, [f"train_images/{i}" for i in train] + ["test_images/2216849948.jpg"])
    (f / "train_tfrecords").mkdir()
    (f / "train_tfrecords/ld_train00-1338.tfrec").write_bytes(b"x" * 99)
    names = {"0": "CBB", "1": "CBSD", "2": "CGM", "3": "CMD", "4": "Healthy"}
    (f / "label_num_to_disease_map.json").write_text(json.dumps(names))
    write_csv(f / "train.csv", [("image_id", "label"), *((i, k % 5) for k, i in enumerate(train))])
    write_csv(f / "sample_submission.csv", [("image_id", "label"), ("2216849948.jpg", 4)])
    return Expected(list("01234"), some={"1000000000": "0"}, num_test=1)


def dog_breed(f):
    breeds, train, test = ["affenpinscher", "afghan_hound", "african_hunting_dog"], codes(24), codes(8, 1)
    pictures(f, [f"train/{i}.jpg" for i in train] + [f"test/{i}.jpg" for i in test])
    write_csv(f / "labels.csv", [("id", "breed"), *((i, breeds[k % 3]) for k, i in enumerate(train))])
    write_csv(f / "sample_submission.csv", [("id", *breeds), *((i, 0.333, 0.333, 0.334) for i in test)])
    return Expected(breeds, "columns", "log_loss", some={train[1]: breeds[1]}, num_test=8)


def dogs_vs_cats(f):
    pictures(f, [f"train/{name}.{k}.jpg" for name in ("cat", "dog") for k in range(12)])
    pictures(f, [f"test/{k}.jpg" for k in range(1, 9)])
    write_csv(f / "sample_submission.csv", [("id", "label"), *((k, 0.5) for k in range(1, 9))])
    return Expected(["cat", "dog"], "positive", "log_loss", "dog", {"cat.0": "cat", "dog.3": "dog"}, num_test=8)


def histopathologic(f):
    train, test = codes(24), codes(8, 1)
    pictures(f, [f"train/{i}.tif" for i in train] + [f"test/{i}.tif" for i in test])
    write_csv(f / "train_labels.csv", [("id", "label"), *((i, k % 2) for k, i in enumerate(train))])
    write_csv(f / "sample_submission.csv", [("id", "label"), *((i, 0) for i in test)])
    return Expected(["0", "1"], some={train[1]: "1"}, num_test=8)


def invasive_species(f):
    pictures(f, [f"train/{k}.jpg" for k in range(1, 25)] + [f"test/{k}.jpg" for k in range(1, 9)])
    zipped_csv(f / "train_labels.csv.zip", [("name", "invasive"), *((k, k % 2) for k in range(1, 25))])
    zipped_csv(f / "sample_submission.csv.zip", [("name", "invasive"), *((k, 0.5) for k in range(1, 9))])
    return Expected(["0", "1"], "positive", "log_loss", "1", {"1": "1", "2": "0"}, num_test=8)


def paddy(f):
    classes = ["bacterial_leaf_blight", "blast", "normal"]
    rows = [(f"{100001 + k}.jpg", classes[k % 3], "ADT45", 45 + k) for k in range(24)]
    test = [f"{200001 + k}.jpg" for k in range(8)]
    pictures(f, [f"train_images/{row[1]}/{row[0]}" for row in rows] + [f"test_images/{i}" for i in test])
    write_csv(f / "train.csv", [("image_id", "label", "variety", "age"), *rows])
    write_csv(f / "sample_submission.csv", [("image_id", "label"), *((i, "") for i in test)])
    return Expected(classes, some={"100002": "blast"}, num_test=8)


def plant_pathology_2020(f):
    classes = ["healthy", "multiple_diseases", "rust", "scab"]
    pictures(f, [f"images/Train_{k}.jpg" for k in range(24)] + [f"images/Test_{k}.jpg" for k in range(8)])
    lines = [(f"Train_{k}", *(int(k % 4 == j) for j in range(4))) for k in range(24)]
    write_csv(f / "train.csv", [("image_id", *classes), *lines])
    write_csv(f / "test.csv", [("image_id",), *((f"Test_{k}",) for k in range(8))])
    write_csv(f / "sample_submission.csv", [("image_id", *classes), *((f"Test_{k}", *[0.25] * 4) for k in range(8))])
    return Expected(classes, "columns", "log_loss", some={"Train_1": "multiple_diseases"}, num_test=8)


def plant_pathology_2021(f):
    labels = ["healthy", "scab", "scab frog_eye_leaf_spot", "complex"]
    train, test = codes(24), codes(3, 1)
    pictures(f, [f"train_images/{i}.jpg" for i in train] + [f"test_images/{i}.jpg" for i in test])
    write_csv(f / "train.csv", [("image", "labels"), *((f"{i}.jpg", labels[k % 4]) for k, i in enumerate(train))])
    write_csv(f / "sample_submission.csv", [("image", "labels"), *((f"{i}.jpg", "healthy") for i in test)])
    classes = ["complex", "frog_eye_leaf_spot", "healthy", "scab"]
    some = {train[2]: ["frog_eye_leaf_spot", "scab"], train[0]: ["healthy"]}
    return Expected(classes, "labels", "f1_samples", some=some, num_test=3, kind="multi")


def planet(f):
    """Tags separated by spaces in every cell; the sample has several tags in each line as well."""
    tags = ["haze primary", "agriculture clear primary water", "clear primary", "clear habitation road", "cloudy"]
    pictures(f, [f"train-jpg/train_{n}.jpg" for n in range(25)] + [f"test-jpg/test_{n}.jpg" for n in range(6)])
    write_csv(f / "train_v2.csv", [("image_name", "tags"), *((f"train_{n}", tags[n % 5]) for n in range(25))])
    sample = "primary clear agriculture road water"
    write_csv(f / "sample_submission_v2.csv", [("image_name", "tags"), *((f"test_{n}", sample) for n in range(6))])
    classes = sorted({tag for text in tags for tag in text.split()})
    some = {"train_0": ["haze", "primary"], "train_3": ["clear", "habitation", "road"], "train_4": ["cloudy"]}
    return Expected(classes, "labels", "f1_samples", some=some, num_test=6, kind="multi")


def ranzcr(f):
    """Eleven columns of 0 and 1, some images without any, a patient in the last column; scored by the mean AUC."""
    names = [f"{tube} - {place}" for tube in ("ETT", "NGT") for place in ("Abnormal", "Borderline", "Normal")]
    names += ["NGT - Incompletely Imaged", *(f"CVC - {place}" for place in ("Abnormal", "Borderline", "Normal"))]
    names += ["Swan Ganz Catheter Present"]
    train, test = [f"1.2.826.{n}" for n in range(30)], [f"1.2.999.{n}" for n in range(6)]
    pictures(f, [f"train/{i}.jpg" for i in train] + [f"test/{i}.jpg" for i in test], mode="L")
    cells = [[int(n % 11 == k or (n % 7 == 3 and k == 9)) * (n % 10 != 0) for k in range(11)] for n in range(30)]
    rows = [(i, *cells[n], f"p{n // 2}") for n, i in enumerate(train)]
    write_csv(f / "train.csv", [("StudyInstanceUID", *names, "PatientID"), *rows])
    write_csv(f / "sample_submission.csv", [("StudyInstanceUID", *names), *((i, *[0] * 11) for i in test)])
    some = {train[n]: sorted(name for name, cell in zip(names, cells[n], strict=True) if cell) for n in (0, 3, 9)}
    assert some[train[0]] == []
    assert len(some[train[3]]) == 2
    return Expected(sorted(names), "columns", "auc", some=some, num_test=6, kind="multi", allows_none=True)


def siim_isic(f):
    train, test = [f"ISIC_{2637011 + k}" for k in range(24)], [f"ISIC_{52060 + k:07d}" for k in range(8)]
    pictures(f, [f"jpeg/train/{i}.jpg" for i in train] + [f"jpeg/test/{i}.jpg" for i in test])
    head = ("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge")
    rows = []
    for k, i in enumerate(train):
        sick = k % 6 == 0
        told = ("melanoma", "malignant", 1) if sick else ("unknown", "benign", 0)
        rows.append((i, f"IP_{k // 3}", "male" if k % 2 else "", 45, "torso", *told))
    write_csv(f / "train.csv", [(*head, "diagnosis", "benign_malignant", "target"), *rows])
    write_csv(f / "test.csv", [head, *((i, "IP_9", "male", 45, "torso") for i in test)])
    write_csv(f / "sample_submission.csv", [("image_name", "target"), *((i, 0) for i in test)])
    return Expected(["0", "1"], some={train[0]: "1", train[1]: "0"}, num_test=8)


def whale(f):
    labels = ["new_whale"] * 9 + ["w_1287fbc"] * 5 + ["w_98baff9"] * 4 + ["w_7554f44", "w_1eafe46"]
    train, test = codes(20), codes(6, 1)
    pictures(f, [f"train/{i}.jpg" for i in train] + [f"test/{i}.jpg" for i in test])
    write_csv(f / "train.csv", [("Image", "Id"), *((f"{i}.jpg", name) for i, name in zip(train, labels, strict=True))])
    five = "new_whale w_1287fbc w_98baff9 w_7554f44 w_1eafe46"
    write_csv(f / "sample_submission.csv", [("Image", "Id"), *((f"{i}.jpg", five) for i in test)])
    return Expected(sorted(set(labels)), "top5", "map@5", some={train[0]: "new_whale"}, num_test=6)


def state_farm(f):
    classes = [f"c{j}" for j in range(10)]
    pictures(f, [f"imgs/train/c{k % 10}/img_{k}.jpg" for k in range(40)])
    pictures(f, [f"imgs/test/img_{100 + k}.jpg" for k in range(8)])
    rows = [(f"p{k // 8:03d}", f"c{k % 10}", f"img_{k}.jpg") for k in range(40)]
    write_csv(f / "driver_imgs_list.csv", [("subject", "classname", "img"), *rows])
    write_csv(
        f / "sample_submission.csv", [("img", *classes), *((f"img_{100 + k}.jpg", *[0.1] * 10) for k in range(8))]
    )
    return Expected(classes, "columns", "log_loss", some={"img_3": "c3"}, num_test=8)


def intel_image(f):
    classes = ["buildings", "forest", "glacier"]
    for c in classes:
        pictures(f, [f"seg_train/seg_train/{c}/{c}{k}.jpg" for k in range(8)])
        pictures(f, [f"seg_test/seg_test/{c}/{c}{100 + k}.jpg" for k in range(3)])
    pictures(f, [f"seg_pred/seg_pred/{k}.jpg" for k in range(5)])
    return Expected(classes, some={"buildings/buildings0": "buildings"}, num_test=9)


def tiny_imagenet(f):
    classes = ["n01443537", "n01629819", "n01641577"]
    for c in classes:
        pictures(f, [f"train/{c}/images/{c}_{k}.JPEG" for k in range(8)])
    pictures(f, [f"val/images/val_{k}.JPEG" for k in range(6)] + [f"test/images/test_{k}.JPEG" for k in range(6)])
    lines = [f"val_{k}.JPEG\t{classes[k % 3]}\t0\t32\t44\t62\n" for k in range(6)]
    (f / "val/val_annotations.txt").write_text("".join(lines))
    (f / "wnids.txt").write_text("\n".join(classes))
    return Expected(classes, splits={"train": 24, "valid": 6, "test": 6}, num_test=6)


def digit_recognizer(f):
    names, rng = [f"pixel{j}" for j in range(784)], np.random.default_rng(0)
    write_csv(f / "train.csv", [("label", *names), *((k % 10, *rng.integers(0, 256, 784)) for k in range(40))])
    write_csv(f / "test.csv", [names, *(rng.integers(0, 256, 784).tolist() for _ in range(8))])
    write_csv(f / "sample_submission.csv", [("ImageId", "Label"), *((k, 0) for k in range(1, 9))])
    return Expected([str(k) for k in range(10)], some={"1": "0", "12": "1"}, num_test=8)


def iwildcam_2019(f):
    head = "category_id,date_captured,file_name,frame_num,id,location,rights_holder,seq_id,seq_num_frames,width,height"
    head, train, test = head.split(","), codes(24), codes(8, 1)
    pictures(f, [f"train_images/{i}.jpg" for i in train] + [f"test_images/{i}.jpg" for i in test])
    rows = [
        ([0, 1, 3][k % 3], "2011-05-13", f"{i}.jpg", 1, i, 33 + k % 4, "Justin Brown", codes(1, k)[0], 3, 1024, 747)
        for k, i in enumerate(train)
    ]
    write_csv(f / "train.csv", [head, *rows])
    write_csv(f / "test.csv", [head[1:], *(("2012-03-01", f"{i}.jpg", 1, i, 99, "r", "s", 1, 1024, 747) for i in test)])
    write_csv(f / "sample_submission.csv", [("Id", "Predicted"), *((i, 0) for i in test)])
    return Expected(["0", "1", "3"], some={train[1]: "1"}, num_test=8)


def fisheries(f):
    classes = ["ALB", "BET", "NoF"]
    pictures(f, [f"train/{c}/img_{ord(c[0])}{k:03d}.jpg" for c in classes for k in range(8)])
    test = [f"img_{9000 + k}.jpg" for k in range(6)]
    pictures(f, [f"test_stg1/{i}" for i in test])
    write_csv(f / "sample_submission_stg1.csv", [("image", *classes), *((i, 0.4, 0.1, 0.5) for i in test)])
    return Expected(classes, "columns", "log_loss", some={"ALB/img_65000": "ALB"}, num_test=6)


def petfinder(f):
    train, test, rnd = codes(24), codes(4, 1), random.Random(0)
    pictures(f, [f"train/{i}.jpg" for i in train] + [f"test/{i}.jpg" for i in test])
    head = ("Id", "Subject Focus", "Eyes", "Face")
    write_csv(
        f / "train.csv", [(*head, "Pawpularity"), *((i, k % 2, 1, 1, rnd.randint(1, 100)) for k, i in enumerate(train))]
    )
    write_csv(f / "test.csv", [head, *((i, 0, 1, 1) for i in test)])
    write_csv(f / "sample_submission.csv", [("Id", "Pawpularity"), *((i, 50.0) for i in test)])
    return Expected([], refused="regression")


def metadata_with_split(f):
    names = ["cat", "dog", "owl"]
    rows = [(f"images/{k % 3}/x{k}.png", names[k % 3], ["train", "train", "val", "test"][k % 4]) for k in range(24)]
    pictures(f, [row[0] for row in rows])
    write_csv(f / "metadata.csv", [("filepath", "class_name", "split"), *rows])
    return Expected(names, some={"images/1/x1": "dog"}, splits={"train": 12, "valid": 6, "test": 6}, num_test=6)


def medmnist_npz(f):
    rng, data = np.random.default_rng(0), {}
    for split, num in (("train", 20), ("val", 6), ("test", 8)):
        data[f"{split}_images"] = rng.integers(0, 256, (num, 28, 28), dtype=np.uint8)
        data[f"{split}_labels"] = (np.arange(num) % 2).astype(np.uint8)[:, None]
    np.savez(f / "pneumoniamnist.npz", **data)
    return Expected(["0", "1"], some={"1": "0", "2": "1"}, splits={"train": 20, "valid": 6, "test": 8}, num_test=8)


LAYOUTS = {
    make.__name__: make
    for make in (
        aerial_cactus, aptos2019, cassava, dog_breed, dogs_vs_cats, histopathologic, invasive_species, paddy,
        plant_pathology_2020, plant_pathology_2021, planet, ranzcr, siim_isic, whale, state_farm, intel_image,
        tiny_imagenet,
        digit_recognizer, iwildcam_2019, fisheries, petfinder, metadata_with_split, medmnist_npz,
    )
}  # fmt: skip
