import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import pack_as_kaggle, write_csv
from made import CIFAR_NAMES, cifar_batches, write_cifar_binary
from snellen.errors import DataError
from snellen.images.organize import organize
from snellen.images.prepare import prepare


def files(tree):
    return {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file() and path.name[0] != "."}


def expected(world, valid):
    names = {f"test/unknown/{id}.png" for id in world.test_labels}
    for id, label in world.labels.items():
        names |= {f"{'valid' if id in valid else 'train'}/{label}/{id}.png", f"train_valid/{label}/{id}.png"}
    return names


@pytest.mark.parametrize("form", ["folder", "kaggle"])
def test_the_tree_has_the_split_of_prepare_and_the_files_themselves(world, tmp_path, form):
    source = world.folder if form == "folder" else pack_as_kaggle(world, tmp_path / "a.zip")
    images = prepare(source, tmp_path / "data", valid_share=0.3, seed=2)
    tree = organize(source, tmp_path / "out", valid_share=0.3, seed=2)
    assert tree == tmp_path / "out" / "train_valid_test"
    assert files(tree) == expected(world, set(images.select("valid").ids.tolist()))
    for name in files(tree):
        split, label, file = name.split("/")
        original = world.folder / ("test" if split == "test" else "train") / file
        assert (tree / name).read_bytes() == original.read_bytes()
        assert split == "test" or world.true_label(np.asarray(Image.open(tree / name))) == label
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train_valid_test"]


def test_the_tree_is_a_source_itself_with_the_same_split(world, tmp_path):
    images = prepare(world.folder, tmp_path / "data", valid_share=0.2)
    organize(world.folder, tmp_path / "out", valid_share=0.2)
    again = prepare(tmp_path / "out", tmp_path / "data2", valid_share=0.7)
    for split in ("train", "valid", "test"):
        assert {id.rpartition("/")[2] for id in again.select(split).ids.tolist()} == set(
            images.select(split).ids.tolist()
        )
    assert again.classes == images.classes
    assert set(again.select("test").labels.tolist()) == {-1}


def test_another_share_never_mixes_with_the_old_one(world, tmp_path):
    for share in (0.1, 0.5, 0.2):
        images = prepare(world.folder, tmp_path / f"data{share}", valid_share=share)
        tree = organize(world.folder, tmp_path / "out", valid_share=share)
        assert files(tree) == expected(world, set(images.select("valid").ids.tolist()))
        marker = json.loads((tree / ".organized.json").read_text())
        assert marker["options"] == {"valid_share": share, "seed": 0, "split_rule": "seeds", "link": "copy"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train_valid_test"]


def test_the_raw_folder_itself_may_get_the_tree_as_in_the_seeds(world, tmp_path):
    before = files(world.folder)
    for share in (0.1, 0.4):
        tree = organize(world.folder, world.folder, valid_share=share)
        assert files(world.folder) == before | {f"train_valid_test/{name}" for name in files(tree)}
        assert len(files(tree)) == 18 + 2 * 42


def test_a_tree_in_its_own_source_is_not_read_as_raw_data(world, tmp_path):
    before = prepare(world.folder, tmp_path / "before")
    organize(world.folder, world.folder, link="hard")
    after = prepare(world.folder, tmp_path / "after")
    assert (after.ids == before.ids).all()
    assert (after.paths == before.paths).all()
    shutil.move(world.folder / "train_valid_test", tmp_path / "moved")
    assert len(prepare(tmp_path / "moved", tmp_path / "data")) == 60


@pytest.mark.parametrize("link", ["hard", "symbolic"])
def test_links_lead_to_the_source_files(world, tmp_path, link):
    tree = organize(world.folder, tmp_path / "out", link=link)
    assert len(files(tree)) == 18 + 2 * 42
    for name in files(tree):
        original = world.folder / ("test" if name.startswith("test") else "train") / name.rpartition("/")[2]
        assert os.path.samefile(tree / name, original)
        assert (tree / name).is_symlink() == (link == "symbolic")


def test_links_into_an_archive_are_refused_and_nothing_is_written(world, tmp_path):
    source = pack_as_kaggle(world, tmp_path / "a.zip")
    with pytest.raises(
        DataError, match=r"train/.*\.png is not a file in a folder, so it cannot be linked to"
    ) as caught:
        organize(source, tmp_path / "out", link="hard")
    assert "--link copy" in str(caught.value)
    assert not (tmp_path / "out" / "train_valid_test").exists()
    with pytest.raises(DataError, match='unknown kind of link "soft"'):
        organize(source, tmp_path / "out", link="soft")


def test_a_folder_that_organize_did_not_make_is_not_replaced(world, tmp_path):
    tree = tmp_path / "out" / "train_valid_test"
    (tree / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="is not empty and does not hold class folders"):
        organize(world.folder, tmp_path / "out")
    shutil.rmtree(tree)
    tree.write_text("a file")
    with pytest.raises(DataError, match="is a file"):
        organize(world.folder, tmp_path / "out")
    assert tree.read_text() == "a file"


def test_a_failure_leaves_the_old_tree(world, tmp_path):
    tree = organize(world.folder, tmp_path / "out")
    before = files(tree)
    (world.folder / "train" / "9.png").unlink()
    with pytest.raises(DataError, match="1 of 42 labels have no picture"):
        organize(world.folder, tmp_path / "out", valid_share=0.3)
    assert files(tree) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train_valid_test"]


def test_files_of_a_person_in_the_tree_are_not_lost(world, tmp_path):
    tree = organize(world.folder, tmp_path / "out")
    (tree / ".DS_Store").write_bytes(b"")
    organize(world.folder, tmp_path / "out")
    (tree / "train" / "notes.txt").write_text("precious")
    with pytest.raises(DataError, match=r"contains 103 files, but organize wrote 102") as caught:
        organize(world.folder, tmp_path / "out")
    assert (tree / "train" / "notes.txt").read_text() == "precious"
    assert "move your own files" in caught.value.do


def test_what_is_not_detected_can_be_named(world, tmp_path):
    labels = "picture,comment,animal\n" + "".join(f"{id},x,{label}\n" for id, label in world.labels.items())
    (world.folder / "trainLabels.csv").unlink()
    (tmp_path / "mine.csv").write_text(labels)
    organize(world.folder, tmp_path / "out", labels=tmp_path / "mine.csv", label="animal", id="picture")
    assert len(files(tmp_path / "out" / "train_valid_test")) == 18 + 2 * 42


@pytest.mark.parametrize("label", ["a/b", "..", ".hidden", "a\\b"])
def test_classes_that_are_no_folder_names_are_refused(world, tmp_path, label):
    write_csv(
        world.folder / "trainLabels.csv",
        [("id", "label"), *((id, label if old == "sky" else old) for id, old in world.labels.items())],
    )
    with pytest.raises(DataError, match="cannot be the name of a folder"):
        organize(world.folder, tmp_path / "out")
    assert not (tmp_path / "out" / "train_valid_test").exists()


def test_ids_with_folders_in_them_become_one_file_name(tmp_path):
    raw = tmp_path / "raw"
    for name in ("cat/1", "cat/deep/2", "dog/1", "dog/2", "dog/..x"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(raw / f"{name}.JPG", "JPEG") if ".." not in name else None
    tree = organize(raw, tmp_path / "out")
    assert {name for name in files(tree) if name.startswith("train_valid/")} == {
        "train_valid/cat/1.JPG",
        "train_valid/cat/deep_2.JPG",
        "train_valid/dog/1.JPG",
        "train_valid/dog/2.JPG",
    }


def test_two_pictures_of_one_name_are_refused(tmp_path):
    for name in ("cat/a_b", "cat/a/b", "dog/1", "dog/2"):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "raw" / f"{name}.png")
    with pytest.raises(DataError, match=r'"cat/a.?b\.png" and "cat/a.?b\.png" would both be'):
        organize(tmp_path / "raw", tmp_path / "out")


def test_cifar_becomes_png_files_and_its_test_labels_are_kept(tmp_path):
    tree = organize(write_cifar_binary(tmp_path / "x", "CIFAR-10"), tmp_path / "out")
    labels, planes = cifar_batches("CIFAR-10")["test_batch"]
    for n, label in enumerate(labels):
        pixels = np.asarray(Image.open(tree / "test" / CIFAR_NAMES["CIFAR-10"][label] / f"{n + 1}.png"))
        assert (pixels[:, :, 0].ravel() == planes[n, :1024]).all()
    assert len(files(tree)) == 6 + 2 * 18


def test_progress_counts_every_picture(world, tmp_path):
    news = []
    organize(world.folder, tmp_path / "out", on_progress=lambda *words: news.append(words))
    assert news == [("organize", 60, 60)]
