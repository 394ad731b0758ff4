import subprocess
import sys

import pytest

from snellen.errors import DataError, RunError
from snellen.system.contents import Contents, check_holds, contents_of, packaged_models

FILES = {
    Contents.IMAGES: "about.json images.npy rows.csv",
    Contents.RUN: "about.json recipe.json metrics.jsonl model.safetensors",
    Contents.UNFINISHED_RUN: "about.json recipe.json",
    Contents.FOLDS: "folds.json fold-1/about.json fold-1/recipe.json",
    Contents.STUDY: "study.json study.html trials/0/about.json trials/0/recipe.json",
    Contents.ENTRY: "data/about.json data/images.npy run/about.json run/recipe.json evaluation.json .lock",
    Contents.ORGANIZED: ".organized.json train/cat/1.png",
    Contents.MODEL: "model.safetensors readme.txt",
    Contents.OTHER: "train/1.png trainLabels.csv",
    Contents.EMPTY: "",
}


def write(folder, names):
    folder.mkdir()
    for name in names.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize("contents", FILES)
def test_a_folder_is_known_by_the_files_that_lie_together_in_it(tmp_path, contents):
    assert contents_of(write(tmp_path / "x", FILES[contents])) is contents


@pytest.mark.parametrize(
    ("names", "contents"),
    [
        ("about.json recipe.json model.safetensors checkpoint.safetensors", Contents.UNFINISHED_RUN),
        ("about.json rows.csv", Contents.IMAGES),  # damaged, which its reader finds out
        ("recipe.json", Contents.OTHER),  # of a training that was cut short as it began
        ("about.json", Contents.OTHER),
        ("folds.json train/1.png", Contents.OTHER),
        ("data/about.json data/images.npy run/recipe.json train/1.png", Contents.OTHER),  # a person's pictures as well
        ("data/1.png run/2.png", Contents.OTHER),
    ],
)
def test_parts_of_results_and_folders_that_look_alike_are_told_apart(tmp_path, names, contents):
    assert contents_of(write(tmp_path / "x", names)) is contents


@pytest.mark.parametrize(
    ("name", "content", "contents"),
    [
        ("best.safetensors", b"", Contents.MODEL),
        ("recipe.json", b"{}", Contents.RECIPE),
        ("p.csv", b"id,label,p_cat,p_dog\n", Contents.PREDICTIONS),
        ("trainLabels.csv", b"id,label\n1,cat\n", Contents.OTHER),
        ("raw.zip", b"PK", Contents.OTHER),
    ],
)
def test_a_file_is_known_by_its_ending_or_its_first_bytes(tmp_path, name, content, contents):
    (tmp_path / name).write_bytes(content)
    assert contents_of(tmp_path / name) is contents


def test_a_path_comes_before_the_name_of_a_packaged_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = packaged_models()[0]
    assert contents_of(name) is Contents.PACKAGED
    assert contents_of("no-such-model") is Contents.NOTHING
    (tmp_path / name).mkdir()
    assert contents_of(name) is Contents.EMPTY


@pytest.mark.parametrize(
    ("names", "what", "do"),
    [
        (None, '" does not exist.', "check the path, or train first"),
        ("", '" does not hold a run.', "check the path, or train first"),
        ("notes.txt", '" does not hold a run.', "check the path, or train first"),
        (FILES[Contents.IMAGES], '" holds prepared images, not a run.', "order of the arguments"),
        (FILES[Contents.UNFINISHED_RUN], '" holds an unfinished run, not a run.', "repeat the command that started it"),
    ],
)
def test_what_is_there_instead_is_named(tmp_path, names, what, do):
    if names is not None:
        write(tmp_path / "x", names)
    with pytest.raises(RunError) as caught:
        check_holds(tmp_path / "x", Contents.RUN, error=RunError)
    assert caught.value.what.endswith(what)
    assert do in caught.value.do
    assert "snellen train" in caught.value.expected


def test_a_misspelt_model_gets_the_nearest_name():
    with pytest.raises(DataError, match='did you mean "cifar10-resnet20"'):
        check_holds("cifar10-resnet02", Contents.MODEL, Contents.PACKAGED, error=DataError)


def test_the_question_imports_neither_numpy_nor_torch():
    code = "import sys, snellen.system.targets; print({'numpy', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
