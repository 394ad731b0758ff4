"""The report of an unfinished run, and the one that follows a run while it trains."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from made import make_images, noise
from read_figure import read_figure
from read_page import read_page
from snellen.errors import DataError, RunError
from snellen.reports.report import report
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.training.record import save_metrics, start_run
from snellen.training.train import train

QUICKLY = PRESETS["smoke"].with_settings(["epochs=3", "precision=float32"])


def row(epoch, **changes):
    figures = {"train_loss": 2 / epoch, "train_accuracy": 1 - 0.5 / epoch, "lr": 0.1, "images_per_second": 11250.4}
    figures |= {"valid_loss": 2.2 / epoch, "valid_accuracy": 0.9 - 0.5 / epoch, "train_seconds": 80.0, "seconds": 90.0}
    return {"epoch": epoch, "step": 90 * epoch, **figures, **changes}


@pytest.fixture
def run(tmp_path):
    """Two of five epochs are done; its images are gone."""
    about = {"fingerprint": "x", "on": "train", "runtime": "device cpu", "data": "no/such/data", "versions": {"a": "1"}}
    run = start_run(tmp_path / "<i>run", Recipe(epochs=5, batch_size=64), about)
    save_metrics(run, [row(1), row(2)])
    return run


def finish(run):
    save_metrics(run, [row(epoch) for epoch in range(1, 6)])
    run.model.write_bytes(b"")


def reloads(page):
    return [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "refresh"]


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


# An unfinished run


def test_the_page_of_an_unfinished_run_says_so_and_needs_no_images(run, tmp_path):
    page = read_page(report(run.folder, out=tmp_path / "report.html"))
    assert "This run is unfinished: 2 of 5 epochs are done." in page.text
    (bar,) = page.all("progress")
    assert (bar["value"], bar["max"]) == ("2", "5")
    for fact in ("valid accuracy 65.00%", "best valid accuracy 65.00% in epoch 2", "time left about 4 min 30 s"):
        assert fact in page.text
    assert reloads(page) == []
    assert not page.all("img")
    assert "<i>run" in page.text
    assert not page.all("i")


def test_the_page_of_an_unfinished_run_has_its_curves_epochs_and_settings(run, tmp_path):
    page = read_page(report(run, out=tmp_path / "report.html"))
    svg = re.search(r'<svg [^>]*aria-label="loss and accuracy by epoch".*?</svg>', page.source, re.DOTALL)[0]
    losses, _ = read_figure(svg)
    assert losses.x_range == pytest.approx((0.5, 5.5), abs=0.02)
    assert ["2", "1.0000", "1.1000", "75.00%", "65.00%", "11,250", "1 min 30 s"] in page.rows
    assert ["batch_size", "64"] in [cells[:2] for cells in page.rows]
    assert "snellen train no/such/data --out again" in page.text


def test_an_epoch_without_validation_has_no_columns_for_it(run, tmp_path):
    save_metrics(run, [{name: value for name, value in row(1).items() if not name.startswith("valid")}])
    page = read_page(report(run, out=tmp_path / "report.html"))
    assert ["1", "2.0000", "50.00%", "11,250", "1 min 30 s"] in page.rows
    assert "valid accuracy" not in page.text


def test_a_run_without_an_epoch_has_a_page_too(run, tmp_path):
    (run.folder / "metrics.jsonl").unlink()
    page = read_page(report(run, out=tmp_path / "report.html"))
    assert "0 of 5 epochs are done" in page.text
    assert "No epoch has finished yet." in page.text
    assert not page.all("svg")


def test_a_value_that_is_not_a_number_does_not_break_the_page(run, tmp_path):
    save_metrics(run, [row(1), row(2, valid_loss=float("nan"))])
    page = read_page(report(run, out=tmp_path / "report.html"))
    assert ["2", "1.0000", "nan", "75.00%", "65.00%", "11,250", "1 min 30 s"] in page.rows


def test_named_images_are_checked_though_nothing_is_scored_yet(run, tmp_path):
    with pytest.raises(DataError, match="elsewhere"):
        report(run, tmp_path / "elsewhere", out=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    for live in (False, True):
        with pytest.raises(RunError, match="does not hold a run"):
            report(tmp_path, out=tmp_path / "report.html", live=live)


def test_missing_images_of_a_finished_run_are_asked_for(run, tmp_path):
    finish(run)
    with pytest.raises(DataError, match=r"(?s)no/such/data.*snellen report .* --data DATA"):
        report(run, out=tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


# Live


class Following:
    """`snellen report RUN --live` in a process of its own."""

    def __init__(self, run, out):
        code = "from snellen.cli.commands import main; main(prog_name='snellen')"
        command = [sys.executable, "-c", code, "report", run, "--live", "--out", out]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.out = out

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.communicate()

    def shows(self, text):
        return self.out.exists() and text in self.out.read_text(encoding="utf-8")

    def wait_for(self, text):
        wait_for(lambda: self.shows(text) or self.process.poll() is not None, f"the page never shows {text!r}")
        assert self.shows(text), self.process.communicate()

    def end(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def test_a_live_page_follows_a_training_run_to_its_report(tmp_path):
    names = ["cherry", "leaf"] * 20
    images = make_images(tmp_path / "data", noise(40), names, ["train"] * 28 + ["valid"] * 12)
    out, pages = tmp_path / "live.html", []

    def look(row):
        """Hold the training until the page shows the epoch."""
        if not pages:
            pages.append(Following(tmp_path / "run", out))
        pages[0].wait_for(f"{row['epoch']} of 3 epochs are done")
        assert reloads(read_page(out)) == ["5"]

    try:
        train(images, QUICKLY, tmp_path / "run", on_epoch=look)
        code, printed, messages = pages[0].end()
    finally:
        pages[0].__exit__()
    assert (code, printed) == (0, f"{out}\n"), messages
    page = read_page(out)
    assert reloads(page) == []
    assert "unfinished" not in page.text
    assert page.data["accuracy"]
    assert len(page.all("img")) > 5
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run", "live.html"}, "no half-written file is left"


def test_ctrl_c_ends_the_following_and_the_reloading(run, tmp_path):
    with Following(run.folder, tmp_path / "live.html") as following:
        following.wait_for("2 of 5 epochs are done")
        assert reloads(read_page(following.out)) == ["5"]
        save_metrics(run, [row(1), row(2), row(3)])
        following.wait_for("3 of 5 epochs are done")
        following.process.send_signal(signal.SIGINT)
        code, printed, messages = following.end()
    assert (code, printed) == (0, f"{tmp_path / 'live.html'}\n"), messages
    assert "its training is not affected" in messages
    assert reloads(read_page(tmp_path / "live.html")) == []
    assert "3 of 5 epochs are done" in read_page(tmp_path / "live.html").text


def test_a_live_page_whose_images_are_missing_stops_reloading_at_the_end(run, tmp_path):
    with Following(run.folder, tmp_path / "live.html") as following:
        following.wait_for("2 of 5 epochs are done")
        finish(run)
        code, _, messages = following.end()
    assert code == 1
    assert "--data DATA" in messages
    page = read_page(tmp_path / "live.html")
    assert reloads(page) == []
    assert "The run has finished. Scores and pictures are missing" in page.text


def test_a_run_that_is_removed_ends_the_following(run, tmp_path):
    with Following(run.folder, tmp_path / "live.html") as following:
        following.wait_for("2 of 5 epochs are done")
        shutil.rmtree(run.folder)
        code, _, messages = following.end()
    assert (code, "does not exist" in messages) == (1, True), messages


def test_live_on_a_finished_run_is_its_report(tmp_path):
    images = make_images(tmp_path / "data", noise(40), ["a", "b"] * 20, ["train"] * 28 + ["valid"] * 12)
    run = train(images, QUICKLY.with_settings(["epochs=1"]), tmp_path / "run")
    page = read_page(report(run, out=tmp_path / "a.html", live=True))
    assert reloads(page) == []
    assert report(run, images, out=tmp_path / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()
    assert os.listdir(tmp_path / "run").count("report.html") == 0
