import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from made import many, some
from snellen.training import augment

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def drawn(seed, num, height, width, dtype=torch.float32, layout=torch.contiguous_format):
    rng = np.random.default_rng(seed)
    values = (
        rng.integers(0, 256, (num, 3, height, width)) if dtype == torch.uint8 else rng.random((num, 3, height, width))
    )
    return torch.from_numpy(values).to(dtype).contiguous(memory_format=layout)


def slow_shift_and_flip(x, down, right, flip, reflect):
    """Pad with numpy, cut out, mirror: one image at a time."""
    out = np.empty_like(x)
    height, width = x.shape[2:]
    for n, image in enumerate(x):
        border = ((0, 0), (height - 1, height - 1), (width - 1, width - 1))
        padded = np.pad(image, border, mode="reflect" if reflect else "constant")
        top, left = height - 1 - down[n], width - 1 - right[n]
        cut = padded[:, top : top + height, left : left + width]
        out[n] = cut[:, :, ::-1] if flip[n] else cut
    return out


@st.composite
def moves(draw):
    num, height, width = draw(st.integers(1, 5)), draw(st.integers(2, 9)), draw(st.integers(2, 9))
    return (
        num,
        height,
        width,
        draw(st.lists(st.integers(1 - height, height - 1), min_size=num, max_size=num)),
        draw(st.lists(st.integers(1 - width, width - 1), min_size=num, max_size=num)),
        draw(st.lists(st.booleans(), min_size=num, max_size=num)),
    )


@many
@given(
    move=moves(),
    seed=st.integers(0, 999),
    reflect=st.booleans(),
    dtype=st.sampled_from([torch.uint8, torch.float32]),
    layout=st.sampled_from(LAYOUTS),
)
def test_shift_and_flip_equals_padding_cutting_and_mirroring(move, seed, reflect, dtype, layout):
    num, height, width, down, right, flip = move
    x = drawn(seed, num, height, width, dtype, layout)
    before = x.clone()
    found = augment.shift_and_flip(x, torch.tensor(down), torch.tensor(right), torch.tensor(flip), reflect=reflect)
    assert torch.equal(x, before), "not changed in place"
    assert found.dtype == dtype
    assert (found.numpy() == slow_shift_and_flip(x.numpy(), down, right, flip, reflect)).all()


def test_no_shift_and_no_flip_give_the_same_images():
    x = drawn(0, 4, 8, 8)
    zero, no = torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool)
    for reflect in (False, True):
        assert torch.equal(augment.shift_and_flip(x, zero, zero, no, reflect=reflect), x)


def test_what_moves_in_is_the_neighbour_of_the_edge_or_black():
    x = torch.arange(1.0, 6.0).expand(1, 3, 5, 5)
    one, no = torch.tensor([1]), torch.tensor([False])
    mirrored = augment.shift_and_flip(x, 0 * one, 2 * one, no, reflect=True)
    black = augment.shift_and_flip(x, 0 * one, 2 * one, no, reflect=False)
    assert mirrored[0, 0, 0].tolist() == [3, 2, 1, 2, 3]
    assert black[0, 0, 0].tolist() == [0, 0, 1, 2, 3]


def test_a_shift_by_the_whole_image_or_more_with_black_leaves_nothing():
    x = drawn(0, 2, 4, 4) + 1
    far, no = torch.tensor([4, -9]), torch.tensor([False, True])
    assert augment.shift_and_flip(x, far, 0 * far, no, reflect=False).abs().sum() == 0
    assert augment.shift_and_flip(x, far, far, no, reflect=True).shape == x.shape


def bilinear(x, size):
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


@st.composite
def crops(draw):
    size, num = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    enlarged = draw(st.integers(size, 3 * size))
    sides = [draw(st.integers(1, enlarged)) for _ in range(num)]
    corners = [[draw(st.integers(0, enlarged - side)) for side in sides] for _ in range(2)]
    return size, enlarged, sides, *corners


@many
@given(crop=crops(), seed=st.integers(0, 999), layout=st.sampled_from(LAYOUTS))
def test_crop_and_resize_equals_interpolating_cutting_and_interpolating(crop, seed, layout):
    size, enlarged, sides, tops, lefts = crop
    x = drawn(seed, len(sides), size, size, layout=layout)
    before = x.clone()
    found = augment.crop_and_resize(x, torch.tensor(tops), torch.tensor(lefts), torch.tensor(sides), enlarged)
    assert torch.equal(x, before), "not changed in place"
    for n, (side, top, left) in enumerate(zip(sides, tops, lefts, strict=True)):
        cut = bilinear(x[n : n + 1], enlarged)[:, :, top : top + side, left : left + side]
        torch.testing.assert_close(found[n : n + 1], bilinear(cut, size), atol=2e-5, rtol=0)


def test_the_whole_image_as_its_own_crop_is_the_same_image():
    x = drawn(0, 3, 8, 8)
    zero = torch.zeros(3, dtype=torch.int64)
    torch.testing.assert_close(augment.crop_and_resize(x, zero, zero, zero + 8, 8), x)


def test_a_plain_image_stays_plain_under_every_crop():
    x = torch.full((50, 3, 16, 16), 0.7)
    rng = np.random.default_rng(0)
    side = rng.integers(1, 21, 50)
    top, left = (rng.integers(0, 21 - side) for _ in range(2))
    found = augment.crop_and_resize(x, *map(torch.from_numpy, (top, left, side)), 20)
    torch.testing.assert_close(found, x)


@some
@given(
    size=st.integers(1, 24),
    new=st.integers(1, 24),
    seed=st.integers(0, 99),
    layout=st.sampled_from(LAYOUTS),
)
def test_resize_equals_pillows_bilinear_filter(size, new, seed, layout):
    x = drawn(seed, 2, size, size, layout=layout)
    before = x.clone()
    found = augment.resize(x, new)
    assert found.shape == (2, 3, new, new)
    assert torch.equal(x, before), "not changed in place"
    for n, channel in np.ndindex(2, 3):
        picture = Image.fromarray(x[n, channel].numpy().copy())
        expected = np.asarray(picture.resize((new, new), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(found[n, channel].numpy(), expected, atol=1e-5)


def test_resize_takes_oblong_images_and_leaves_those_of_the_right_size():
    assert augment.resize(drawn(0, 2, 8, 16), 8).shape == (2, 3, 8, 8)
    x = drawn(0, 2, 8, 8)
    assert torch.equal(augment.resize(x, 8), x)


@some
@given(
    side=st.integers(1, 12),
    corners=st.lists(st.tuples(st.integers(-12, 12), st.integers(-12, 12)), min_size=1, max_size=4),
    layout=st.sampled_from(LAYOUTS),
)
def test_cutout_blanks_exactly_the_square(side, corners, layout):
    x = drawn(1, len(corners), 7, 9, layout=layout)
    before = x.clone()
    top, left = torch.tensor(corners).T
    found = augment.cutout(x, top, left, side)
    expected = before.clone()
    for n, (t, left_edge) in enumerate(corners):
        for row, column in np.ndindex(7, 9):
            if t <= row < t + side and left_edge <= column < left_edge + side:
                expected[n, :, row, column] = 0.5
    assert torch.equal(found, expected)
    assert torch.equal(x, before), "not changed in place"


def one_hot(num, classes=4, seed=0):
    return F.one_hot(torch.from_numpy(np.random.default_rng(seed).integers(0, classes, num)), classes).float()


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("num", [1, 2, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mixup_mixes_each_image_and_target_with_the_one_at_the_other_end(share, num, layout):
    x, target = drawn(2, num, 5, 6, layout=layout), one_hot(num)
    before = x.clone(), target.clone()
    mixed, targets = augment.mixup(x, target, share)
    for n in range(num):
        other = num - 1 - n
        torch.testing.assert_close(mixed[n], share * x[n] + (1 - share) * x[other])
        torch.testing.assert_close(targets[n], share * target[n] + (1 - share) * target[other])
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(num))
    assert torch.equal(x, before[0])
    assert torch.equal(target, before[1])


unit = st.floats(0, 1, exclude_max=True)


@many
@given(share=st.floats(0, 1), row=unit, column=unit, height=st.integers(1, 12), width=st.integers(1, 12))
def test_cutmix_pastes_one_rectangle_and_the_target_is_its_true_area(share, row, column, height, width):
    # Every pixel says whose it is: image n is n + 1 everywhere, and its partner is the one at the other end.
    x = torch.arange(1.0, 5.0)[:, None, None, None].expand(4, 3, height, width)
    target = torch.eye(4)
    mixed, targets = augment.cutmix(x, target, share, (row, column))
    assert torch.equal(target, torch.eye(4))
    for n in range(4):
        pasted = mixed[n] == 4 - n
        assert (pasted | (mixed[n] == n + 1)).all()
        assert (pasted == pasted[0]).all(), "the same place in every channel"
        rows, columns = pasted[0].any(dim=1), pasted[0].any(dim=0)
        assert torch.equal(pasted[0], rows[:, None] & columns), "a rectangle"
        for line in (rows, columns):
            assert (line.int().diff() != 0).sum() <= 2, "without gaps"
        share_of_own = 1 - pasted[0].float().mean()
        torch.testing.assert_close(targets[n, n], share_of_own, atol=1e-6, rtol=0)
        torch.testing.assert_close(targets[n].sum(), torch.tensor(1.0))
        # The rectangle is centred there, cut off at the edges, and rounded to whole pixels.
        half = (1 - share) ** 0.5 / 2
        for line, centre, length in ((rows, row, height), (columns, column, width)):
            wanted = (min(centre + half, 1) - max(centre - half, 0)) * length
            assert abs(int(line.sum()) - wanted) <= 1 or not pasted.any()


def test_cutmix_in_the_middle_pastes_the_share_that_was_asked_for():
    x, target = drawn(0, 2, 100, 100), torch.eye(2)
    for share in (0.0, 0.19, 0.5, 0.75, 0.96, 1.0):
        _, targets = augment.cutmix(x, target, share, (0.5, 0.5))
        assert targets[0, 0] == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cutmix_changes_nothing_in_place(layout):
    x, target = drawn(0, 3, 8, 8, layout=layout), one_hot(3)
    before = x.clone(), target.clone()
    mixed, targets = augment.cutmix(x, target, 0.3, (0.5, 0.5))
    mixed.zero_()
    targets.zero_()
    assert torch.equal(x, before[0])
    assert torch.equal(target, before[1])
