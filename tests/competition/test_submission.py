import csv
import logging
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import make_images, many, noise
from snellen.competition.submission import check_submission, write_submission
from snellen.errors import DataError
from snellen.images.imageset import SAMPLE, ImageSet
from snellen.images.sample import check_sample, class_columns, read_sample
from snellen.prediction.predictions import Predictions

CLASSES = ("cat", "dog", "owl")
TEST_IDS = ["9", "10", "a7", "2", "1.5"]


def data(folder, *, ids=TEST_IDS, sample=None, skipped=(), classes=CLASSES):
    """Four labelled images (two of the second class) and one test image for each of `ids`."""
    names = [classes[0], classes[1], classes[1], classes[2]] + [""] * len(ids)
    splits = ["train", "train", "valid", "train"] + ["test"] * len(ids)
    # The labelled images own ids of test images too: a mix-up of the two would show.
    every = ["9", "10", "2", "a7", *ids]
    skipped = [{"id": id, "split": split, "path": f"raw/{id}.png", "reason": "cut off"} for id, split in skipped]
    sample = sample.encode() if isinstance(sample, str) else sample
    return make_images(
        folder, noise(len(every), 2), names, splits, classes=classes, ids=every, skipped=skipped, sample=sample
    )


def guesses(images, ids=None, seed=0):
    """Predictions in an order of their own."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(images.select("test").ids if ids is None else np.array(ids))
    raw = rng.random((len(ids), len(images.classes))) + 0.01
    return Predictions(ids, (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32), images.classes)


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def refused(images, predictions, tmp_path):
    with pytest.raises(DataError) as caught:
        write_submission(predictions, images, tmp_path / "submission.csv")
    assert not (tmp_path / "submission.csv").exists(), "nothing half-written"
    return caught.value


ORDERS = [TEST_IDS, TEST_IDS[::-1], sorted(TEST_IDS)]


@pytest.mark.parametrize("ids", ORDERS)
def test_lines_follow_the_sample_and_labels_follow_the_ids(tmp_path, ids):
    images = data(tmp_path / "data", sample="id,label\n" + "".join(f"{id},cat\n" for id in ids))
    for seed in range(5):
        predicted = guesses(images, seed=seed)
        out = write_submission(predicted, images, tmp_path / "submission.csv")
        assert rows_of(out) == [["id", "label"]] + [[id, predicted.label_of(id)] for id in ids]
        assert check_submission(out, images) == len(ids)


def test_a_sample_that_can_be_followed_is_let_through(tmp_path):
    lines = [*TEST_IDS, "gone"]
    sample = "id,label\n" + "".join(f"{id}.png,cat\n" for id in lines)
    check_sample(data(tmp_path / "data", sample=sample, skipped=[("gone", "test")]))
    check_sample(data(tmp_path / "none"))


def test_a_sample_that_no_submission_could_follow_is_refused_before_training(tmp_path):
    ids = [id for id in TEST_IDS if id != "a7"]  # which a labelled image still has
    for id in ("unknown", "a7"):
        sample = "id,label\n" + "".join(f"{id},cat\n" for id in [*ids, id])
        images = data(tmp_path / id, ids=ids, sample=sample, skipped=[("unknown", "train")])
        with pytest.raises(DataError, match=f'1 of 5 lines .* first "{id}"'):
            check_sample(images)
    with pytest.raises(DataError, match='the sample submission has the columns "id,cat,wolf"'):
        check_sample(data(tmp_path / "columns", sample="id,cat,wolf\n9,0,1\n"))


def test_without_a_sample_lines_follow_the_test_images(tmp_path):
    images = data(tmp_path / "data")
    predicted = guesses(images)
    out = write_submission(predicted, images, tmp_path / "submission.csv")
    assert rows_of(out) == [["id", "label"]] + [[id, predicted.label_of(id)] for id in TEST_IDS]


def test_files_and_objects_give_the_same_bytes(tmp_path):
    images = data(tmp_path / "data", sample="id,label\n" + "".join(f"{id},cat\n" for id in TEST_IDS))
    predicted = guesses(images)
    one = write_submission(predicted, images, tmp_path / "one.csv").read_bytes()
    two = write_submission(predicted.save(tmp_path / "p.csv"), images.folder, tmp_path / "two.csv").read_bytes()
    assert one == two
    assert one.endswith(b"\n")
    assert b"\r" not in one


@pytest.mark.parametrize(
    "sample",
    [
        "Id,Category\n9,x\n10,x\na7,x\n2,x\n1.5,x\n",
        '"id","the, label"\r\n"9","x"\r\n"10","x"\r\n"a7","x"\r\n"2","x"\r\n"1.5","x"\r\n',
        "\ufeffid,label\n9,x\n10,x\na7,x\n2,x\n1.5,x",
        "id,label\n9,\n\n10,\na7,\n2,\n\n1.5,\n\n",
    ],
    ids=["other header", "crlf and quotes", "byte-order mark", "blank lines"],
)
def test_the_samples_header_and_ids_are_kept_in_any_dialect_of_csv(tmp_path, sample):
    images = data(tmp_path / "data", sample=sample)
    assert (images.folder / SAMPLE).read_bytes() == sample.encode(), "byte for byte"
    predicted = guesses(images)
    rows = rows_of(write_submission(predicted, images, tmp_path / "submission.csv"))
    assert rows[0] == next(csv.reader([sample.removeprefix("\ufeff").splitlines()[0]]))
    assert rows[1:] == [[id, predicted.label_of(id)] for id in TEST_IDS]


def test_ids_with_a_file_extension_in_the_sample_keep_it(tmp_path):
    images = data(tmp_path / "data", sample="id,label\n10.png,x\n9.PNG,x\na7.png,x\n1.5.png,x\n2.png,x\n")
    predicted = guesses(images)
    rows = rows_of(write_submission(predicted, images, tmp_path / "submission.csv"))
    assert [row[0] for row in rows[1:]] == ["10.png", "9.PNG", "a7.png", "1.5.png", "2.png"]
    assert [row[1] for row in rows[1:]] == [predicted.label_of(id) for id in ("10", "9", "a7", "1.5", "2")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("1", "1"), ("1.png", "1"), ("1.5", "1.5"), ("1.5.png", "1.5"), ("./1.png", "1"), ("raw/1.png", "1"),
        ("raw\\1", "1"), (" 1", "1"), ("é", "é"), ("2.jpg", ""), ("3", ""), (".png", ""), ("train/1.png", ""),
    ],
)  # fmt: skip
def test_an_id_of_the_sample_means_the_picture_that_prepare_finds_by_it(tmp_path, name, meant):
    images = data(tmp_path / "data", ids=["1", "1.5", "2", "é"], sample=f"id,label\n{name},cat\n")
    sample = read_sample(images)
    assert (sample.ids, sample.image_ids) == ([name], [meant])


def test_semicolons_and_spaces_in_a_sample_are_read_as_prepare_reads_them(tmp_path):
    images = data(tmp_path / "data", sample="id;label\n" + "".join(f" {id};cat\n" for id in TEST_IDS))
    check_sample(images)
    predicted = guesses(images)
    rows = rows_of(write_submission(predicted, images, tmp_path / "submission.csv"))
    assert rows[1:] == [[f" {id}", predicted.label_of(id)] for id in TEST_IDS]


def test_the_ids_may_be_in_any_column_of_the_sample_and_stay_there(tmp_path):
    sample = "label,id\n" + "".join(f"cat,{id}.png\n" for id in TEST_IDS)
    images = data(tmp_path / "data", sample=sample)
    check_sample(images)
    predicted = guesses(images)
    out = write_submission(predicted, images, tmp_path / "submission.csv")
    assert rows_of(out) == [["label", "id"]] + [[predicted.label_of(id), f"{id}.png"] for id in TEST_IDS]
    out.write_text(out.read_text().replace(f"{predicted.label_of('9')},9.png", "wolf,9.png"))
    with pytest.raises(DataError, match='"wolf" is not a class'):
        check_submission(out, images)


def test_classes_on_both_sides_of_the_ids_keep_their_columns(tmp_path):
    sample = "owl,image,cat,dog\n" + "".join(f"0.3,{id},0.3,0.4\n" for id in TEST_IDS)
    images = data(tmp_path / "data", sample=sample)
    predicted = guesses(images)
    rows = rows_of(write_submission(predicted, images, tmp_path / "submission.csv"))
    assert rows[0] == ["owl", "image", "cat", "dog"]
    assert [row[1] for row in rows[1:]] == TEST_IDS
    for row in rows[1:]:
        own = predicted.probabilities[predicted.ids.tolist().index(row[1])]
        assert np.array([row[0], *row[2:]], dtype=np.float32).tolist() == own[[2, 0, 1]].tolist()


def test_labels_that_are_ids_of_pictures_too_are_not_taken_for_the_ids(tmp_path):
    ids = ["0", "1", "2", "3"]
    sample = "label,id\n" + "".join(f"{n % 2},{id}\n" for n, id in enumerate(ids))
    images = data(tmp_path / "data", ids=ids, classes=("0", "1", "2"), sample=sample)
    assert read_sample(images).ids == ids


PROBABILITY_SAMPLE = "image,owl,cat,dog\n" + "".join(f"{id},0.3,0.3,0.4\n" for id in TEST_IDS)


def test_a_column_per_class_gets_that_classs_probability_exactly(tmp_path):
    images = data(tmp_path / "data", sample=PROBABILITY_SAMPLE)
    assert class_columns(["image", "owl", "cat", "dog"], images) == [2, 0, 1]
    predicted = guesses(images)
    rows = rows_of(write_submission(predicted, images, tmp_path / "submission.csv"))
    assert rows[0] == ["image", "owl", "cat", "dog"]
    for row in rows[1:]:
        own = predicted.probabilities[predicted.ids.tolist().index(row[0])]
        assert np.array(row[1:], dtype=np.float32).tolist() == own[[2, 0, 1]].tolist()


@pytest.mark.parametrize(
    "header",
    ["id,cat,dog", "id,cat,dog,owl,Usage", "id,cat,dog,cow", "id", "id,label,Usage", "id,cat", "id,cat,cat,dog"],
)
def test_a_sample_with_other_columns_is_refused(tmp_path, header):
    images = data(tmp_path / "data", sample=header + "\n" + "".join(f"{id},1\n" for id in TEST_IDS))
    problem = refused(images, guesses(images), tmp_path)
    assert header in problem.what
    assert "cat, dog, owl" in problem.expected


def test_classes_called_id_or_label_are_names_like_any_other(tmp_path):
    classes = ("id", "label", 'a "b", c')
    for number, sample in enumerate((None, "id,label\n" + "".join(f"{id},x\n" for id in TEST_IDS))):
        images = data(tmp_path / str(number), sample=sample, classes=classes)
        predicted = guesses(images)
        rows = rows_of(write_submission(predicted, images, tmp_path / "submission.csv"))
        assert rows[1:] == [[id, predicted.label_of(id)] for id in TEST_IDS]
    header = 'x,label,id,"a ""b"", c"\n'
    images = data(tmp_path / "columns", sample=header + "".join(f"{id},0,0,1\n" for id in TEST_IDS), classes=classes)
    predicted = guesses(images)
    rows = rows_of(write_submission(predicted, images, tmp_path / "other.csv"))
    assert rows[0] == ["x", "label", "id", 'a "b", c']
    assert np.float32(rows[1][1]) == predicted.probabilities[predicted.ids.tolist().index(TEST_IDS[0]), 1]


@pytest.mark.parametrize("sample", [None, "id,label\n" + "".join(f"{id},cat\n" for id in [*TEST_IDS, "lost"])])
def test_an_image_that_was_left_out_gets_the_most_frequent_class_and_a_warning(tmp_path, caplog, sample):
    images = data(tmp_path / "data", sample=sample, skipped=[("lost", "test"), ("other", "train")])
    with caplog.at_level(logging.WARNING, "snellen"):
        rows = rows_of(write_submission(guesses(images), images, tmp_path / "submission.csv"))
    assert rows[-1] == ["lost", "dog"]
    assert len(rows) == 7
    assert "1 test images could not be read" in caplog.text
    assert '"dog"' in caplog.text


def test_an_image_that_was_left_out_gets_the_class_shares_where_probabilities_are_asked(tmp_path, caplog):
    images = data(tmp_path / "data", sample=PROBABILITY_SAMPLE + "lost.png,0,0,1\n", skipped=[("lost", "test")])
    rows = rows_of(write_submission(guesses(images), images, tmp_path / "submission.csv"))
    assert rows[-1] == ["lost.png", "0.25", "0.25", "0.5"]
    assert "shares of the classes" in caplog.text


def test_nothing_left_out_is_no_warning(tmp_path, caplog):
    images = data(tmp_path / "data", skipped=[("other", "train")])
    write_submission(guesses(images), images, tmp_path / "submission.csv")
    assert caplog.text == ""


def test_missing_predictions_are_counted_and_named(tmp_path):
    images = data(tmp_path / "data", sample="id,label\n" + "".join(f"{id},cat\n" for id in TEST_IDS))
    problem = refused(images, guesses(images, ["9", "10", "2"]), tmp_path)
    assert problem.what == '2 of 5 ids have no prediction, first "a7", "1.5".'
    assert "--split test" in problem.do


def test_predictions_that_are_not_asked_for_are_counted_and_named(tmp_path):
    images = data(tmp_path / "data", sample="id,label\n" + "".join(f"{id},cat\n" for id in TEST_IDS))
    problem = refused(images, guesses(images, [*TEST_IDS, "x", "z", "y", "w"]), tmp_path)
    assert problem.what.startswith("4 predictions have ids")
    assert '"w", "x", "y", ...' in problem.what


def test_predictions_of_other_classes_are_refused(tmp_path):
    images = data(tmp_path / "data")
    for classes in (("cat", "owl", "dog"), ("cat", "dog", "cow")):
        predicted = Predictions(np.array(TEST_IDS), np.full((5, 3), 1 / 3, np.float32), classes)
        problem = refused(images, predicted, tmp_path)
        assert classes[2] in problem.what
        assert "cat, dog, owl" in problem.expected


def test_data_without_test_images_is_refused(tmp_path):
    images = make_images(tmp_path / "data", noise(4, 2), ["cat", "dog", "dog", "owl"], ["train"] * 4)
    predicted = Predictions(np.array(["1"]), np.full((1, 3), 1 / 3, np.float32), CLASSES)
    assert "no test images" in refused(images, predicted, tmp_path).what


def test_an_id_that_a_sample_repeats_is_repeated(tmp_path):
    ids = [*TEST_IDS, "9"]  # `prepare` refuses such a sample; whoever puts one there gets what it says
    images = data(tmp_path / "data", sample="id,label\n" + "".join(f"{id},cat\n" for id in ids))
    rows = rows_of(write_submission(guesses(images), images, tmp_path / "submission.csv"))
    assert [row[0] for row in rows[1:]] == ids


def test_a_refused_submission_leaves_the_old_one(tmp_path):
    images = data(tmp_path / "data")
    out = write_submission(guesses(images), images, tmp_path / "submission.csv")
    before = out.read_bytes()
    with pytest.raises(DataError):
        write_submission(guesses(images, ["9"]), images, out)
    assert out.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["data", "submission.csv"]


def test_a_submission_that_does_not_pass_its_check_never_gets_its_name(tmp_path, monkeypatch):
    images = data(tmp_path / "data")
    before = write_submission(guesses(images), images, tmp_path / "submission.csv").read_bytes()
    monkeypatch.setattr(Predictions, "labels_of", lambda self, id: ["no class"])
    with pytest.raises(DataError, match='"no class" is not a class'):
        write_submission(guesses(images), images, tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_bytes() == before


def test_a_sample_of_thirty_thousand_ids_takes_no_time(tmp_path):
    ids = [str(n) for n in range(30_000)]
    images = data(tmp_path / "data", ids=ids, sample="id,label\n" + "".join(f"{id}.png,cat\n" for id in reversed(ids)))
    predicted = guesses(images)
    started = time.process_time()
    write_submission(predicted, images, tmp_path / "submission.csv")
    assert time.process_time() - started < 5, "a set built anew for every id would take minutes"


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Two image sets and the lines of a right submission for each: labels, and probabilities."""
    folder = tmp_path_factory.mktemp("right")
    both = {}
    for name, sample in (
        ("labels", "id,label\n" + "".join(f"{id},cat\n" for id in TEST_IDS)),
        ("odds", PROBABILITY_SAMPLE),
    ):
        images = data(folder / name, sample=sample)
        out = write_submission(guesses(images), images, folder / f"{name}.csv")
        both[name] = (images, out.read_text().splitlines())
    return both


@st.composite
def changes(draw):
    """A change of a list of lines that no reader may overlook."""
    kind = draw(
        st.sampled_from(["drop", "repeat", "swap", "insert", "id", "value", "cell", "more", "cut", "blank", "nul"])
    )
    line, other = draw(st.integers(0, 5)), draw(st.integers(0, 5))
    text = draw(st.text(st.characters(codec="ascii", exclude_characters='\0\r\n",'), min_size=1, max_size=6))

    def change(lines):
        lines = list(lines)
        cells = lines[line].split(",")
        if kind == "drop":
            del lines[line]
        elif kind == "repeat":
            lines.insert(other, lines[line])
        elif kind == "swap":
            lines[line], lines[other] = lines[other], lines[line]
        elif kind == "insert":
            lines.insert(line, text)
        elif kind == "id":
            lines[line] = ",".join([cells[0] + text, *cells[1:]])
        elif kind == "value":
            lines[line] = ",".join([*cells[:-1], cells[-1] + "x" + text])
        elif kind == "cell":
            lines[line] = ",".join(cells[:-1])
        elif kind == "more":
            lines[line] += "," + text
        elif kind == "cut":
            lines = lines[:line]
        elif kind == "blank":
            lines.insert(line, "")
        else:
            lines[line] = "\0" + lines[line]
        return lines

    return change


@many
@given(name=st.sampled_from(["labels", "odds"]), change=changes())
def test_the_check_finds_every_change(name, change, right, tmp_path_factory):
    images, lines = right[name]
    changed = change(lines)
    path = tmp_path_factory.getbasetemp() / "changed.csv"
    path.write_text("\n".join(changed) + "\n", encoding="utf-8")
    if changed == lines:
        assert check_submission(path, images) == 5
    else:
        with pytest.raises(DataError) as caught:
            check_submission(path, images)
        assert str(path) in caught.value.where


@pytest.mark.parametrize("line", range(1, 7))
def test_the_check_names_the_first_line_that_differs(right, tmp_path, line):
    for images, lines in right.values():
        changed = [*lines[: line - 1], "wrong" + lines[line - 1], *lines[line:]]
        (tmp_path / "s.csv").write_text("\n".join(changed) + "\n")
        with pytest.raises(DataError) as caught:
            check_submission(tmp_path / "s.csv", images)
        assert caught.value.where.endswith(f"s.csv, line {line}")


@pytest.mark.parametrize("value", ["nan", "-0.1", "1.1", "inf", "-inf", "", "one", "1e9", "0,5", "0x1"])
@pytest.mark.parametrize("column", [1, 2])
def test_a_value_that_is_no_probability_is_refused(right, tmp_path, value, column):
    images, lines = right["odds"]
    cells = lines[2].split(",")
    cells[column] = f'"{value}"'
    (tmp_path / "s.csv").write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]))
    with pytest.raises(DataError, match="is not a probability") as caught:
        check_submission(tmp_path / "s.csv", images)
    assert caught.value.where.endswith("line 3")


@pytest.mark.parametrize("value", ["0", "1", "1e-30", ".5"])
def test_certainty_and_its_contrary_are_probabilities(right, tmp_path, value):
    images, lines = right["odds"]
    cells = lines[2].split(",")
    (tmp_path / "s.csv").write_text("\n".join([*lines[:2], ",".join([cells[0], *[value] * 3]), *lines[3:]]))
    assert check_submission(tmp_path / "s.csv", images) == 5


@pytest.mark.parametrize("label", ["Cat", " cat", "cat ", "", "0", "cow"])
def test_a_label_that_is_no_class_is_refused(right, tmp_path, label):
    images, lines = right["labels"]
    (tmp_path / "s.csv").write_text("\n".join([*lines[:3], lines[3].split(",")[0] + "," + label, *lines[4:]]))
    with pytest.raises(DataError, match="is not a class") as caught:
        check_submission(tmp_path / "s.csv", images)
    assert "cat, dog, owl" in caught.value.expected


def test_a_right_file_written_elsewhere_passes(right, tmp_path):
    for images, lines in right.values():
        for content in (
            "\r\n".join(lines) + "\r\n",
            "\n".join(lines),
            "\n".join(f'"{line}"'.replace(",", '","') for line in lines),
        ):
            (tmp_path / "s.csv").write_bytes(content.encode())
            assert check_submission(tmp_path / "s.csv", images) == 5


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", b"\xef\xbb\xbfid,label\n", b"x" * 200_000, b'"'])
def test_a_file_that_is_none_is_refused(right, tmp_path, content):
    (tmp_path / "s.csv").write_bytes(content)
    for images, _ in right.values():
        with pytest.raises(DataError, match=r"s\.csv"):
            check_submission(tmp_path / "s.csv", images)


def test_a_path_that_cannot_be_read_is_said_to_be_so(right, tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            check_submission(path, right["labels"][0])


def test_the_image_set_of_a_submission_may_be_opened_by_path(right, tmp_path):
    images, _ = right["labels"]
    assert write_submission(guesses(images), str(images.folder), str(tmp_path / "s.csv")) == tmp_path / "s.csv"
    assert ImageSet.open(images.folder).about["skipped"] == []
