import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from made import make_images, noise, some
from snellen.runs.recipe import Recipe
from snellen.training.loader import NUM_MIXED, Batches, shuffled

PLAIN = Recipe(flip="off", crop_pad=0)
EVERYTHING = Recipe(
    flip="random", crop_pad=4, crop_border="reflect", enlarge=1.25, crop_area=0.64, cutout=5, mixup=0.8, epochs=3
)
CPU = torch.device("cpu")


def batches(images, recipe, *, held=None, **settings):
    return Batches(images, replace(recipe, **settings), CPU, held=held)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """40 images that say which they are: red = number + 1 everywhere, and green at the left edge only."""
    pixels = np.zeros((40, 8, 8, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(1, 41)[:, None, None]
    pixels[:, :, 0, 1] = 255
    names = [f"c{n % 3}" for n in range(40)]
    return make_images(tmp_path_factory.mktemp("numbered"), pixels, names, ["train"] * 40)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """60 images of 24x24, each red, green or blue with its class; ids and order say nothing of it."""
    labels = np.random.default_rng(3).integers(0, 3, 60)
    pixels = np.zeros((60, 24, 24, 3), dtype=np.uint8)
    pixels[np.arange(60), :, :, labels] = 255
    return make_images(
        tmp_path_factory.mktemp("coloured"),
        pixels,
        [["blue", "green", "red"][2 - n] for n in labels],
        ["train"] * 60,
        classes=("red", "green", "blue"),
    )


def numbers(x):
    return (x[:, 0].amax(dim=(1, 2)) * 255).round().long() - 1


def pairs(epoch):
    """(x, target) of each batch."""
    return ((batch.x, batch.target) for batch in epoch)


def mirrored(x):
    return x[:, 1, :, -1].amax(dim=1) > x[:, 1, :, 0].amax(dim=1)


@some
@given(batch_size=st.integers(1, 60), epoch=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_each_epoch_takes_each_image_once_with_its_own_label(numbered, batch_size, epoch, seed):
    found = list(pairs(batches(numbered, PLAIN, batch_size=batch_size, seed=seed).epoch(epoch)))
    seen = torch.cat([numbers(x) for x, _ in found])
    assert sorted(seen.tolist()) == list(range(40))
    assert torch.equal(torch.cat([target for _, target in found]), seen % 3)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(1, [1] * 40), (7, [6, 7, 7, 6, 7, 7]), (20, [20, 20]), (39, [20, 20]), (40, [40]), (41, [40]), (10**6, [40])],
)
def test_batches_are_as_equal_as_they_can_be(numbered, batch_size, sizes):
    loader = batches(numbered, PLAIN, batch_size=batch_size)
    assert [len(x) for x, _ in pairs(loader.epoch(0))] == sizes
    assert loader.steps_per_epoch == len(sizes)
    assert loader.num_images == 40


@some
@given(num=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_sizes_differ_by_one_at_most_and_never_exceed_the_batch(numbered, num, batch_size):
    loader = batches(numbered.take(range(num)), PLAIN, batch_size=batch_size)
    sizes = [len(x) for x, _ in pairs(loader.epoch(0))]
    assert sum(sizes) == num
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size
    assert len(sizes) == loader.steps_per_epoch == -(-num // batch_size)


def test_a_part_of_a_set_is_loaded_by_its_own_rows(numbered):
    part = numbered.take([5, 39, 0, 17])
    ((x, target),) = pairs(batches(part, PLAIN, batch_size=9).epoch(0))
    assert sorted(numbers(x).tolist()) == [0, 5, 17, 39]
    assert torch.equal(target, numbers(x) % 3)


def same(one, other):
    return all(torch.equal(a.x, b.x) and torch.equal(a.target, b.target) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("recipe", [PLAIN, EVERYTHING, replace(EVERYTHING, mixup=0.0, cutmix=1.0, flip="alternating")])
def test_starting_at_any_step_gives_what_running_through_gives(coloured, recipe):
    whole = [list(batches(coloured, recipe, batch_size=8).epoch(epoch)) for epoch in (0, 1)]
    for epoch in (1, 0):
        for start in range(9):
            assert same(batches(coloured, recipe, batch_size=8).epoch(epoch, start), whole[epoch][start:])


def test_using_a_loader_changes_nothing_in_it(coloured):
    loader = batches(coloured, EVERYTHING, batch_size=8)
    first = list(loader.epoch(0))
    for x, target in pairs(loader.epoch(1)):
        x.zero_()
        target.zero_()
    assert same(loader.epoch(0), first)


def test_other_random_numbers_drawn_in_between_change_nothing(coloured):
    first = list(batches(coloured, EVERYTHING, batch_size=8).epoch(0))
    np.random.default_rng(0).random(100)
    torch.manual_seed(7)
    torch.rand(100)
    assert same(batches(coloured, EVERYTHING, batch_size=8).epoch(0), first)


def test_order_differs_between_epochs_and_seeds(numbered):
    orders = [
        tuple(torch.cat([numbers(x) for x, _ in pairs(batches(numbered, PLAIN, seed=seed).epoch(epoch))]).tolist())
        for seed in (0, 1, 2, 2**16, 2**32 - 1)
        for epoch in range(4)
    ]
    assert len(set(orders)) == len(orders)


def test_changes_differ_between_epochs_steps_and_seeds(tmp_path):
    # One picture many times: only what happens to it can differ.
    images = make_images(tmp_path, np.repeat(noise(1), 24, axis=0), ["a", "b"] * 12, ["train"] * 24)
    seen = [
        x.numpy().tobytes()
        for seed in (0, 1)
        for epoch in (0, 1)
        for x, _ in pairs(batches(images, EVERYTHING, mixup=0.0, batch_size=8, seed=seed).epoch(epoch))
    ]
    assert len(seen) == 12
    assert len(set(seen)) == 12


def test_images_of_one_batch_are_changed_each_in_its_own_way(tmp_path):
    images = make_images(tmp_path, np.repeat(noise(1), 64, axis=0), ["a", "b"] * 32, ["train"] * 64)
    ((x, _),) = pairs(batches(images, PLAIN, crop_pad=4, batch_size=64).epoch(0))
    assert len({image.numpy().tobytes() for image in x}) > 30


def test_alternating_flip_shows_every_image_both_ways_in_each_pair_of_epochs(numbered):
    loader = batches(numbered, PLAIN, flip="alternating", batch_size=16)
    ways = np.zeros((6, 40), dtype=bool)
    for epoch in range(6):
        for x, _ in pairs(loader.epoch(epoch)):
            ways[epoch, numbers(x)] = mirrored(x)
    assert (ways[0::2] != ways[1::2]).all()
    assert (ways[0] == ways[2]).all()
    assert 8 < ways[0].sum() < 32, "half of them begin mirrored"
    other = batches(numbered, PLAIN, flip="alternating", batch_size=16, seed=1)
    first = np.zeros(40, dtype=bool)
    for x, _ in pairs(other.epoch(0)):
        first[numbers(x)] = mirrored(x)
    assert (first != ways[0]).any()


def test_random_flip_mirrors_half_and_off_mirrors_none(numbered):
    share = [
        float(torch.cat([mirrored(x) for x, _ in pairs(batches(numbered, PLAIN, flip=flip).epoch(e))]).float().mean())
        for flip in ("random", "off")
        for e in range(10)
    ]
    assert 0.4 < np.mean(share[:10]) < 0.6
    assert share[10:] == [0.0] * 10


def test_pixels_without_changes_are_the_stored_ones_as_floats(numbered):
    for x, _ in pairs(batches(numbered, PLAIN, batch_size=16).epoch(0)):
        assert x.dtype == torch.float32
        assert x.is_contiguous(memory_format=torch.channels_last)
        stored = torch.from_numpy(numbered.pixels()[numbers(x)]).permute(0, 3, 1, 2)
        assert torch.equal(x, stored.float() / 255)


def test_crop_pad_shifts_by_every_amount_up_to_it_and_none_beyond(tmp_path):
    pixels = np.zeros((400, 16, 16, 3), dtype=np.uint8)
    pixels[:, 8, 8] = 255
    images = make_images(tmp_path, pixels, ["a", "b"] * 200, ["train"] * 400)
    ((x, _),) = pairs(batches(images, PLAIN, crop_pad=2, batch_size=400).epoch(0))
    rows, columns = x[:, 0].amax(dim=2).argmax(dim=1), x[:, 0].amax(dim=1).argmax(dim=1)
    assert {(int(r), int(c)) for r, c in zip(rows, columns, strict=True)} == {
        (r, c) for r in range(6, 11) for c in range(6, 11)
    }


AUGMENTATIONS = {
    "flip": {"flip": "random"},
    "alternating": {"flip": "alternating"},
    "zero border": {"crop_pad": 6},
    "reflected border": {"crop_pad": 6, "crop_border": "reflect"},
    "border wider than the image": {"crop_pad": 15, "crop_border": "reflect"},
    "area crop": {"crop_area": 0.3},
    "the chapter's crop": {"crop_area": 0.64, "enlarge": 1.25},
    "cutout": {"cutout": 9},
    "small": {"small_size": 16, "small_share": 1.0},
    "all": {"flip": "random", "crop_pad": 3, "crop_area": 0.5, "enlarge": 1.5, "cutout": 5},
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_label_stays_with_its_image_under(coloured, name):
    loader = batches(coloured, PLAIN, batch_size=16, **AUGMENTATIONS[name])
    for epoch in range(3):
        for x, target in pairs(loader.epoch(epoch)):
            assert torch.equal(x.amax(dim=(2, 3)).argmax(dim=1), target)
            assert target.dtype == torch.int64
            assert x.min() >= 0
            assert x.max() <= 1 + 1e-6
            assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings", [{"mixup": 0.7}, {"cutmix": 1.0}])
def test_mixed_targets_are_the_shares_of_the_colours_in_the_image(coloured, settings):
    loader = batches(coloured, PLAIN, batch_size=16, flip="random", epochs=3, mix_off_epochs=1, **settings)
    mixed = 0
    for epoch in (0, 1):
        for x, target in pairs(loader.epoch(epoch)):
            assert target.shape == (len(x), 3)
            assert target.dtype == torch.float32
            torch.testing.assert_close(target.sum(dim=1), torch.ones(len(x)))
            torch.testing.assert_close(x.mean(dim=(2, 3)), target, atol=1e-5, rtol=0)
            mixed += int((target.amax(dim=1) < 0.99).sum())
    assert mixed > 20
    for x, target in pairs(loader.epoch(2)):  # the last epoch is not mixed
        assert target.dtype == torch.int64
        assert torch.equal(x.amax(dim=(2, 3)).argmax(dim=1), target)


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 16.0])
def test_no_alpha_makes_anything_but_numbers(coloured, alpha):
    for settings in ({"mixup": alpha}, {"cutmix": alpha}):
        for x, target in pairs(batches(coloured, PLAIN, batch_size=16, **settings).epoch(0)):
            assert x.isfinite().all()
            torch.testing.assert_close(target.sum(dim=1), torch.ones(len(x)))


def test_one_image_is_a_set_too(coloured):
    one = coloured.take([7])
    for recipe in (PLAIN, EVERYTHING, replace(EVERYTHING, mixup=0.0, cutmix=0.5)):
        ((x, target),) = pairs(batches(one, recipe, batch_size=128).epoch(0))
        assert x.shape == (1, 3, 24, 24)
        label = target if target.ndim == 1 else target.argmax(dim=1)
        assert label.tolist() == one.labels.tolist()


def test_small_images_come_first_and_whole_ones_later(coloured):
    loader = batches(coloured, PLAIN, batch_size=20, epochs=2, small_size=16, small_share=0.5)
    sizes = [x.shape[-1] for epoch in (0, 1) for x, _ in pairs(loader.epoch(epoch))]
    assert sizes == [16, 16, 16, 24, 24, 24]
    loader = batches(coloured, PLAIN, batch_size=20, epochs=2, small_size=16, small_share=0.2)
    assert [x.shape[-1] for epoch in (0, 1) for x, _ in pairs(loader.epoch(epoch))] == [16, 16, 24, 24, 24, 24]


BLOCKS = (0, 1, 3, 7)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("recipe", [PLAIN, EVERYTHING, replace(EVERYTHING, mixup=0.0, cutmix=1.0, flip="alternating")])
def test_images_read_from_the_disk_are_the_held_ones_bit_for_bit(coloured, recipe, block):
    part = coloured.take(np.random.default_rng(0).permutation(60)[:50])  # neither all rows nor in their order
    held, read = (batches(part, recipe, batch_size=8, shuffle_block=block, held=is_held) for is_held in (True, False))
    for epoch in (0, 2):
        assert same(read.epoch(epoch), list(held.epoch(epoch)))
        for start in (0, 3, 6, 7):
            assert same(read.epoch(epoch, start), list(held.epoch(epoch))[start:])


@some
@given(num=st.integers(1, 300), block=st.sampled_from(BLOCKS), seed=st.integers(0, 9))
def test_a_shuffle_of_blocks_has_each_number_once_and_is_repeatable(num, block, seed):
    order, again = (shuffled(num, block, np.random.default_rng(seed)) for _ in range(2))
    assert sorted(order.tolist()) == list(range(num))
    assert order.tolist() == again.tolist()
    for start in range(0, num, block * NUM_MIXED) if block else ():
        window = np.sort(order[start : start + block * NUM_MIXED])
        # What is read together is whole blocks: two may be cut by the window's edges, one by each end of the set.
        assert (np.diff(window) > 1).sum() <= NUM_MIXED + 2


def test_blocks_are_shuffled_well():
    num, block = 64_000, 50
    orders = np.stack([shuffled(num, block, np.random.default_rng((seed,))) for seed in range(4)])
    places = np.argsort(orders, axis=1)
    assert np.abs(np.corrcoef(np.vstack([places, np.arange(num)])) - np.eye(5)).max() < 0.1
    neighbours = np.abs(np.diff(places, axis=1))  # of one block they are in one window, and far apart in it
    assert 500 < np.median(neighbours) < block * NUM_MIXED
    begins = {int(np.flatnonzero(steps > block * NUM_MIXED)[0] % block) for steps in neighbours}
    assert len(begins) > 1, "blocks begin elsewhere each time"


def test_leaving_an_epoch_early_leaves_no_thread(numbered):
    before = threading.active_count()
    for _ in batches(numbered, PLAIN, batch_size=4, held=False).epoch(0):
        break
    assert threading.active_count() == before


def test_blocks_of_images_that_lie_by_class_are_warned_of(tmp_path, caplog):
    by_class = make_images(tmp_path / "a", noise(60), ["a"] * 20 + ["b"] * 20 + ["c"] * 20, ["train"] * 60)
    mixed = make_images(tmp_path / "b", noise(60), ["a", "b", "b", "c"] * 15, ["train"] * 60)
    for images, block in ((mixed, 8), (by_class, 0), (by_class, 1), (mixed.take([0]), 8)):
        batches(images, PLAIN, shuffle_block=block)
    assert not caplog.text
    batches(by_class, PLAIN, shuffle_block=8)
    assert "with shuffle_block=8 each batch has images of only a few classes" in caplog.text


LITTLE_MEMORY = """
import resource, sys
import numpy as np, torch
from snellen.system import memory
from snellen.images.imageset import ImageSet
from snellen.training.loader import Batches
from snellen.models.classifier import build_model
from snellen.runs.recipe import Recipe
images, cpu, recipe = ImageSet.open(sys.argv[1]), torch.device("cpu"), Recipe(batch_size=250, model="whitened_cnn")
in_use = memory.bytes_in("/proc/self/status", "VmData")
resource.setrlimit(resource.RLIMIT_DATA, (in_use + 360 * 2**20,) * 2)
batches = Batches(images, recipe, cpu)
print(batches.held, batches.why)
build_model(recipe, images)
print(sum(len(batch.x) for batch, _ in zip(batches.epoch(0), range(8))))
try:
    Batches(images, recipe, cpu, held=True)
except (RuntimeError, MemoryError):
    print("too much")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_a_set_larger_than_the_memory_is_read_from_the_disk(tmp_path):
    num = 40_000
    images = make_images(tmp_path, noise(2, 64), ["a", "b"], ["train"] * 2)
    np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (num, 64, 64, 3)).flush()  # 490 MB of holes
    rows = "".join(f"{n},train,{'ab'[n % 2]},{n}.png\n" for n in range(num))
    (tmp_path / "rows.csv").write_text("id,split,label,path\n" + rows)
    done = subprocess.run([sys.executable, "-c", LITTLE_MEMORY, images.folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    choice, num_read, refusal = done.stdout.splitlines()
    assert choice.startswith("False 491.5 MB of images are read from disk as needed (")
    assert choice.endswith(" MB are free on cpu)")
    assert (num_read, refusal) == ("2000", "too much")
