import pytest

from snellen.errors import DataError, RunError
from snellen.system.contents import Contents
from snellen.system.targets import check_file, check_folder

START = b"id,label,p_"


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


@pytest.mark.parametrize(
    ("content", "is_ours"),
    [(b"id,label\n1,cat\n", False), (b"id,label,p_cat\n", True), (b"", True), (b"id", False), (b"\x89PNG\r\n", False)],
)
def test_only_a_file_of_the_same_kind_is_replaced(tmp_path, content, is_ours):
    check_file(tmp_path / "new.csv", "predictions", START)
    (tmp_path / "old.csv").write_bytes(content)
    if is_ours:
        check_file(tmp_path / "old.csv", "predictions", START)
        return
    with pytest.raises(DataError, match=r'old\.csv" already exists and does not hold predictions') as caught:
        check_file(tmp_path / "old.csv", "predictions", START)
    assert caught.value.do == "choose another --out"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        check_file(tmp_path, "predictions", START)


def test_a_command_may_prove_that_a_file_is_its_own(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<html>")
    check_file(path, "a page", lambda found: found == path)
    with pytest.raises(DataError, match="does not hold a page"):
        check_file(path, "a page", lambda found: False)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["about.json", "images.npy"], "prepared images"),
        (["about.json", "recipe.json"], "an unfinished run"),
        (["folds.json", "fold-1/recipe.json"], "a cross-validation"),
        (["study.json"], "a study"),
        ([".organized.json"], "class folders"),
    ],
)
def test_nothing_is_added_to_results(tmp_path, names, what):
    folder = make(tmp_path / "x", *names)
    for path in (folder / "new.csv", folder / "deep" / "new.csv"):
        with pytest.raises(DataError, match=rf'new\.csv" is in a folder that holds {what}'):
            check_file(path, "predictions", START)
    check_file(tmp_path / "new.csv", "predictions", START)


def test_what_is_about_a_run_may_lie_in_it(tmp_path):
    run, other = (make(tmp_path / name, "about.json", "recipe.json") for name in ("a", "b"))
    check_file(run / "predictions.csv", "predictions", START, owners=[run])
    for path in (other / "predictions.csv", run / "history.png", run / "best.safetensors", run / "metrics.jsonl"):
        with pytest.raises(DataError, match="holds an unfinished run"):
            check_file(path, "predictions", START, owners=[run])


def test_nothing_is_added_to_raw_files_but_below_the_results_of_compete(tmp_path):
    raw = make(tmp_path / "raw", "train/1.png", "trainLabels.csv")
    for path in (raw / "new.csv", raw / "train" / "new.csv", tmp_path / "raw" / ".." / "raw" / "new.csv"):
        with pytest.raises(DataError, match="is in a folder that holds the raw files"):
            check_file(path, "predictions", START, source=raw)
    make(raw / "result", "data/about.json", "data/images.npy", "run/recipe.json")
    check_file(raw / "result" / "predictions.csv", "predictions", START, source=raw)
    with pytest.raises(DataError, match="holds prepared images"):
        check_file(raw / "result" / "data" / "predictions.csv", "predictions", START, source=raw)


def test_a_folder_is_new_or_holds_the_start_of_the_same_command(tmp_path):
    check_folder(tmp_path / "new", Contents.RUN, "snellen train")
    begun = make(tmp_path / "begun", "recipe.json", ".lock", ".about.json.1.partial")
    check_folder(begun, Contents.RUN, "snellen train", begun=frozenset({"recipe.json"}))
    for folder, what in (
        (begun, "is not empty and does not hold a run"),
        (make(tmp_path / "thesis", "thesis.tex"), "is not empty and does not hold a run"),
        (make(tmp_path / "data", "about.json", "images.npy"), "holds prepared images"),
        (make(tmp_path, "file") / "file", "is a file"),
    ):
        with pytest.raises(RunError, match=what) as caught:
            check_folder(folder, Contents.RUN, "snellen train")
        assert "`snellen train` wrote" in caught.value.expected


def test_a_run_does_not_begin_inside_prepared_images_or_another_run(tmp_path):
    for folder in (make(tmp_path / "a", "about.json", "images.npy"), make(tmp_path / "b", "about.json", "recipe.json")):
        with pytest.raises(DataError, match="is in a folder that holds"):
            check_folder(folder / "run", Contents.RUN, "snellen train")
    folds = make(tmp_path / "cv", "folds.json", "fold-1/recipe.json")
    check_folder(folds / "fold-2", Contents.RUN, "snellen train")
