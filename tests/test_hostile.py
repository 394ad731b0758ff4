"""Files of strangers, damaged at random and made to harm. The long campaign is benchmarks/hostile.py."""

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import snellen
from conftest import pack_zip, write_csv
from snellen.errors import DataError, RunError
from snellen.images.organize import organize
from snellen.runs.run import Run
from snellen.sources.archives import open_container
from snellen.sources.decode import UnreadablePicture, decode
from snellen.training.record import start_run

ROOT = Path(__file__).parents[1]


def child(*command: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(Path(snellen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the campaign reads /proc")
def test_damaged_files_of_every_kind_are_read_or_refused():
    pytest.importorskip("optuna")
    done = child(sys.executable, ROOT / "benchmarks" / "hostile.py", "--tries", 25, "--seed", 7)
    assert done.returncode == 0, done.stdout + done.stderr
    totals = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(totals) == 18
    for total in totals:
        assert (total["failed"], total.get("read", 0) + total.get("refused", 0)) == (0, 25)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def chunks_of(data: bytes):
    """(offset, name, length) of each chunk of a PNG file."""
    at = 8
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        yield at, name, length
        at += 12 + length


def test_a_wrong_checksum_in_any_chunk_is_refused_or_harmless():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    whole = png(pixels)
    refused = set()
    for at, name, length in chunks_of(whole):
        wrong = bytearray(whole)
        wrong[at + 8 + length] ^= 0xFF
        try:
            assert (decode(bytes(wrong), 16)[0] == pixels).all(), name
        except UnreadablePicture:
            refused.add(name)
    assert b"IHDR" in refused


def test_a_png_that_unpacks_to_more_than_its_header_says_takes_no_memory_for_it(tmp_path):
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    bomb = zlib.compress(bytes(300 * 2**20), 9)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", bomb), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert decode(data, 16)[0].shape == (16, 16, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_archives_nested_in_archives_are_looked_into_once(tmp_path):
    inner = tmp_path / "0.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("train/a/1.png", png(np.zeros((8, 8, 3), np.uint8)))
    for depth in range(1, 6):
        with zipfile.ZipFile(tmp_path / f"{depth}.zip", "w") as archive:
            archive.write(tmp_path / f"{depth - 1}.zip", f"{depth - 1}.zip")
    with pytest.raises(DataError, match="no picture"):
        snellen.prepare(tmp_path / "5.zip", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_hundred_thousand_empty_members_take_little_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"{number}.txt"), b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(open_container(tmp_path / "many.zip").sizes) == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_zip_whose_members_overlap_is_no_bomb(tmp_path):
    # Fifield's form: many entries of the directory point to one file of zeros.
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.png", bytes(10 * 2**20))
        first = archive.filelist[0]
        for number in range(1, 2000):
            copy = zipfile.ZipInfo(f"{number}.png")
            for field in ("CRC", "compress_size", "file_size", "header_offset", "compress_type", "flag_bits"):
                setattr(copy, field, getattr(first, field))
            archive.filelist.append(copy)
            archive.NameToInfo[copy.filename] = copy
        archive._didModify = True
    code = (
        "import sys\nfrom snellen.sources.archives import open_container\n"
        "box = open_container(__import__('pathlib').Path(sys.argv[1]))\n"
        "for name, contents in box.read(box.sizes): pass\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    done = child(sys.executable, "-c", code, tmp_path / "bomb.zip")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 150 * 1024, "kB; one member and Python itself"


def with_names(folder: Path, names: list[str]) -> None:
    """Pictures of these ids, grey by their place in the list, with labels."""
    (folder / "train").mkdir(parents=True)
    for value, name in enumerate(names):
        Image.fromarray(np.full((8, 8, 3), 50 * value, np.uint8)).save(folder / "train" / f"{name}.png")
    if len(os.listdir(folder / "train")) < len(names):
        pytest.skip("this disk takes some of the names for the same")
    write_csv(folder / "trainLabels.csv", [("id", "label"), *((name, "xy"[n % 2]) for n, name in enumerate(names))])


def test_names_that_differ_by_case_only_keep_their_own_pictures(tmp_path):
    names = ["a", "A", "b", "B"]
    with_names(tmp_path / "raw", names)
    for source in (tmp_path / "raw", pack_zip(tmp_path / "raw", tmp_path / "raw.zip")):
        images = snellen.prepare(source, tmp_path / f"data{source.suffix}", valid_share=0.5)
        for id, pixels in zip(images.ids.tolist(), images.stored, strict=True):
            assert (pixels == 50 * names.index(id)).all()
    tree = organize(tmp_path / "raw", tmp_path / "tree", valid_share=0.5)
    assert sum(len(files) for _, _, files in os.walk(tree / "train_valid")) == 4


def test_names_that_differ_by_unicode_form_only_are_refused_by_line(tmp_path):
    with_names(tmp_path / "raw", ["a", "b", "\u00e9", "e\u0301"])  # the last two look alike
    with pytest.raises(DataError, match="2 of 4 ids match more than one picture"):
        snellen.prepare(tmp_path / "raw", tmp_path / "data")


def test_a_disk_that_takes_two_names_for_one_loses_no_picture(tmp_path, world):
    from snellen.images.organize import _place
    from snellen.sources.rows import Row

    (tmp_path / "a.png").write_bytes(b"first")
    with pytest.raises(DataError, match="has the same name as another file, because this disk"):
        _place(b"second", tmp_path / "a.png", "copy", Row("A", "x", "train", "train/A.png"))
    assert (tmp_path / "a.png").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", [0.5, 0.5]), ("std", ["x", 1, 1]), ("std", None), ("fingerprint", 3), ("classes", [1, 2]),
        ("classes", "ab"), ("class_counts", {"x": 1}), ("skipped", [{"id": 3, "split": "test"}]), ("skipped", None),
        ("options", {"seed": "0"}), ("options", [1]),
    ],
)  # fmt: skip
def test_a_fact_of_the_wrong_kind_is_refused_when_images_are_opened(world, tmp_path, name, value):
    about = snellen.prepare(world.folder, tmp_path / "data").about
    (tmp_path / "data" / "about.json").write_text(json.dumps(about | {name: value}))
    with pytest.raises(DataError, match="the prepared images are damaged"):
        snellen.ImageSet.open(tmp_path / "data")


LARGE = "1" + 400 * "0"


@pytest.mark.parametrize("line", ["3", "[]", '{"a": "1"}', '{"a": null}', '{"a": [1]}', f'{{"a": {LARGE}}}'])
def test_metrics_that_are_no_numbers_are_refused(tmp_path, line):
    run = start_run(tmp_path / "run", snellen.PRESETS["smoke"], {"fingerprint": "x", "on": "train"})
    (run.folder / "metrics.jsonl").write_text('{"epoch": 1}\n' + line + "\n")
    with pytest.raises(RunError, match="the metrics are damaged"):
        str(run)


@pytest.mark.parametrize("about", ['{"fingerprint": "x"}', '{"fingerprint": "x", "on": 3}', '{"on": "train"}', "[]"])
def test_a_run_whose_facts_are_of_the_wrong_kind_is_refused(tmp_path, about):
    run = start_run(tmp_path / "run", snellen.PRESETS["smoke"], {"fingerprint": "x", "on": "train"})
    (run.folder / "about.json").write_text(about)
    with pytest.raises(RunError, match="belongs to something else"):
        Run.open(run.folder)
