"""Duplicates: whatever was saved again, moved, mirrored or lit otherwise is found; different pictures are not."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from made import noise, scenes, some
from snellen.images.duplicates import MOST_COMPARED, exact_copies, groups, joined, near_pairs


def saved_as_jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def moved(image, down, right):
    """Moved by whole pixels, the edge repeated."""
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    return padded[2 - down : 2 - down + image.shape[0], 2 - right : 2 - right + image.shape[1]]


CHANGES = {
    "saved again": lambda image: saved_as_jpeg(image, 60),
    "moved": lambda image: moved(image, 1, -1),
    "mirrored": lambda image: image[:, ::-1],
    "darker": lambda image: (image * 0.7).astype(np.uint8),
    "paler": lambda image: (image * 0.6 + 80).astype(np.uint8),
    "tinted": lambda image: np.clip(image + np.array([25, 0, -20]), 0, 255).astype(np.uint8),
    "noisy": lambda image: np.clip(image + np.random.default_rng(1).normal(0, 4, image.shape), 0, 255).astype(np.uint8),
    "enlarged": lambda image: np.asarray(Image.fromarray(image).crop((1, 1, 31, 31)).resize((32, 32))),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_copies_are_found_and_nothing_else(name):
    pixels = scenes(300)
    changed = np.stack([CHANGES[name](image) for image in pixels[:100]])
    pairs = near_pairs(np.concatenate([pixels, changed]))
    found = {*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    wanted = {(n, 300 + n) for n in range(100)}
    assert len(found & wanted) >= 97
    assert not found - wanted
    assert pairs.mirrored.sum() == (len(found) if name == "mirrored" else 0)
    assert (pairs.likeness >= 0.65).all()


def test_different_scenes_are_no_duplicates():
    assert not len(near_pairs(scenes(800, seed=9)))


def test_noise_is_no_duplicate_of_noise():
    assert not len(near_pairs(noise(500, 32)))


@pytest.mark.parametrize("shape", [(16, 16), (20, 45), (96, 64)])
def test_other_shapes_work_alike(shape):
    pixels = scenes(60, seed=2, shape=shape)
    changed = np.stack([saved_as_jpeg(image, 85) for image in pixels])
    pairs = near_pairs(np.concatenate([pixels, changed]))
    wanted = {(n, 60 + n) for n in range(60)}
    found = {*zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}
    assert len(found & wanted) >= 55
    assert len(found - wanted) <= 1


def test_colour_tells_images_of_one_shape_apart():
    light, dark = np.full((2, 32, 32, 3), 128, dtype=np.uint8)
    light[8:24, 8:24, 0] = 230
    dark[8:24, 8:24, 0] = 30
    assert not len(near_pairs(np.stack([light, dark])))


def test_exact_copies_name_the_first():
    pixels = noise(5, 8)
    copies = exact_copies(pixels[[0, 1, 0, 2, 2, 3, 0]])
    assert copies.tolist() == [0, 1, 0, 3, 3, 5, 0]


def test_exact_copies_are_not_near_ones_too():
    pixels = scenes(3)
    assert not len(near_pairs(pixels[[0, 1, 2, 0, 1]]))


def test_groups_follow_duplicates_of_duplicates():
    pixels = scenes(8)
    darker = (pixels[2] * 0.8).astype(np.uint8)
    order = [pixels[5], darker, pixels[2], pixels[5], moved(darker, 1, 0), pixels[0], darker]
    assert groups(np.stack(order)).tolist() == [0, 1, 1, 0, 1, 5, 1]
    assert groups(np.stack(order), near=False).tolist() == [0, 1, 2, 0, 4, 5, 1]


def test_blank_images_are_alike_only_when_they_are_equal():
    draw = np.random.default_rng(0)
    blank = np.full((50, 32, 32, 3), 200, dtype=np.uint8) + draw.integers(0, 2, (50, 32, 32, 3), dtype=np.uint8)
    blank[7] = blank[3]
    assert groups(blank).tolist() == [3 if n == 7 else n for n in range(50)]


def test_small_images_have_no_near_duplicates():
    pixels = scenes(4, size=12)
    pixels = np.concatenate([pixels, pixels[:1], (pixels * 0.8).astype(np.uint8)])
    assert not len(near_pairs(pixels))
    assert groups(pixels).tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 8]


@pytest.mark.parametrize("num", [0, 1, 2])
def test_few_images_are_enough(num):
    pixels = scenes(3)[:num]
    assert groups(pixels).tolist() == list(range(num))


def test_more_alike_images_than_a_table_compares_stay_in_one_group_but_for_a_few():
    num = 20 * MOST_COMPARED
    draw = np.random.default_rng(0)
    pixels = np.clip(scenes(1).astype(int) + draw.integers(-3, 4, (num, 32, 32, 3)), 0, 255).astype(np.uint8)
    assert (groups(pixels) == 0).mean() > 0.98


def test_file_on_disk_gives_what_memory_gives(tmp_path):
    pixels = scenes(40)
    pixels = np.concatenate([pixels, (pixels * 0.8).astype(np.uint8)])
    np.save(tmp_path / "images.npy", pixels)
    assert (groups(np.load(tmp_path / "images.npy", mmap_mode="r")) == groups(pixels)).all()


def test_order_of_images_does_not_matter():
    pixels = scenes(60)
    pixels = np.concatenate([pixels, (pixels * 0.7).astype(np.uint8), pixels[:10, :, ::-1]])
    order = np.random.default_rng(2).permutation(len(pixels))
    found, shuffled = groups(pixels), groups(pixels[order])
    same = found[order][:, None] == found[order]
    assert (same == (shuffled[:, None] == shuffled)).all()


def test_progress_is_told():
    stages = []
    near_pairs(np.repeat(scenes(30), 2, axis=0), on_progress=lambda *words: stages.append(words))
    assert {stage for stage, _, _ in stages} >= {"hash", "compare hashes"}
    assert all(0 <= done <= total for _, done, total in stages)


@some
@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_joined_is_the_least_of_each_connected_group(case):
    num, edges = case
    slow = list(range(num))
    for _ in range(num):
        for a, b in edges:
            slow[a] = slow[b] = min(slow[a], slow[b])
    first, second = ([edge[side] for edge in edges] for side in (0, 1))
    assert joined(num, first, second).tolist() == slow
