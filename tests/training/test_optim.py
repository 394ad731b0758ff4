import copy
import io
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import nn

from made import many, some
from snellen.models.classifier import Classifier, build_network
from snellen.runs.recipe import Recipe
from snellen.training.optim import Muon, Optimizer, lr_at, orthogonalised

SGD = Recipe(peak_lr=0.1, momentum=0.9, weight_decay=0.0)
MUON = Recipe(
    optimizer="muon",
    muon_lr=0.24,
    peak_lr=2.0,
    head_lr=3.0,
    nesterov=True,
    momentum=0.85,
    weight_decay=0.0,
    step_decay=0.01,
    schedule="linear",
    whiten_bias_share=0.5,
)
SCHEDULES = ("constant", "linear", "cosine")


def rates(recipe, total, per_epoch=10):
    return [lr_at(step, total, per_epoch, recipe) for step in range(total)]


def test_a_constant_rate_stays_at_its_peak():
    assert rates(Recipe(schedule="constant"), 50) == [1.0] * 50


def test_warm_up_rises_in_a_line_and_ends_at_the_peak():
    for schedule in SCHEDULES:
        found = rates(Recipe(schedule=schedule, warmup=0.2), 50)
        np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10)
        assert found[9] == found[10] == 1.0, "the last step of warm-up and the first after it"


def test_a_linear_schedule_falls_by_equal_parts_to_one_part_above_0():
    np.testing.assert_allclose(rates(Recipe(schedule="linear"), 50), 1 - np.arange(50) / 50)
    np.testing.assert_allclose(rates(Recipe(schedule="linear", warmup=0.5), 50)[25:], 1 - np.arange(25) / 25)


def test_a_cosine_schedule_is_half_a_cosine():
    found = rates(Recipe(schedule="cosine"), 100)
    assert found[0] == 1.0
    assert found[50] == pytest.approx(0.5)
    assert found[99] < 3e-4
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 100)
    for rate in found:
        assert rate == pytest.approx(reference.get_last_lr()[0], abs=1e-9)
        sgd.step()
        reference.step()


@pytest.mark.parametrize("per_epoch", [1, 7])
@pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (4, 0.9), (3, 0.1), (100, 0.1)])
def test_regular_drops_equal_torchs_step_lr(per_epoch, every, factor):
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.StepLR(sgd, every, factor)
    recipe = Recipe(lr_drop_every=every, lr_drop=factor)
    for epoch in range(12):
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            assert lr_at(step, 12 * per_epoch, per_epoch, recipe) == pytest.approx(reference.get_last_lr()[0])
        sgd.step()
        reference.step()


def test_listed_drops_equal_torchs_multi_step_lr():
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(sgd, [2, 5, 50], 0.1)
    recipe = Recipe(lr_drops=(2, 5, 50))
    for epoch in range(8):
        for step in (10 * epoch, 10 * epoch + 9):  # the first and the last step of an epoch
            assert lr_at(step, 80, 10, recipe) == pytest.approx(reference.get_last_lr()[0])
        sgd.step()
        reference.step()


def test_drops_multiply_what_the_schedule_says():
    found = rates(Recipe(schedule="linear", lr_drops=(3,), lr_drop=0.5), 50)
    np.testing.assert_allclose(found[:30], 1 - np.arange(30) / 50)
    np.testing.assert_allclose(found[30:], (1 - np.arange(30, 50) / 50) / 2)


@many
@given(
    total=st.integers(1, 300),
    per_epoch=st.integers(1, 50),
    warmup=st.floats(0, 0.9),
    schedule=st.sampled_from(SCHEDULES),
    drops=st.sets(st.integers(1, 30), max_size=3),
    every=st.integers(0, 5),
    factor=st.floats(0, 1),
)
def test_the_rate_is_a_share_that_never_rises_after_warm_up(total, per_epoch, warmup, schedule, drops, every, factor):
    drops = tuple(sorted(drops)) if not every else ()
    recipe = Recipe(warmup=warmup, schedule=schedule, lr_drops=drops, lr_drop_every=every, lr_drop=factor)
    found = rates(recipe, total, per_epoch)
    assert all(0 <= rate <= 1 for rate in found)
    assert found[0] > 0
    after = found[max(0, round(warmup * total) - 1) :]
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(after))
    if not drops and not every:
        assert max(found) == 1.0
        assert found[-1] > 0, "no update is wasted"
        rise = found[: round(warmup * total)]
        assert all(later > earlier for earlier, later in pairwise(rise))


def tiny(seed=0, layout=torch.channels_last):
    """A whitened_cnn-like model that is quick: every kind of parameter there is."""
    torch.manual_seed(seed)
    network = build_network("whitened_cnn", 4)
    network.features[3] = network.features[4] = nn.Identity()
    network.output = nn.Linear(64, 4, bias=False)
    return Classifier("tiny", network, tuple("abcd"), (16, 16)).to(memory_format=layout)


def some_gradients(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        if p.requires_grad:
            # Laid out in memory as backward() lays them out: like the weight.
            p.grad = torch.empty_like(p).copy_(torch.randn(p.shape, generator=generator))


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.0},
        {"nesterov": True, "weight_decay": 5e-4, "decay_all": True},
        {"weight_decay": 0.1, "decay_all": True, "schedule": "cosine", "warmup": 0.3},
    ],
)
def test_sgd_equals_torchs_own_with_the_same_settings(settings, layout):
    recipe = replace(SGD, **settings)
    model = tiny(layout=layout)
    reference = copy.deepcopy(model)
    optimizer = Optimizer(model, recipe, 8, 2)
    plain = torch.optim.SGD(
        [p for p in reference.parameters() if p.requires_grad],
        lr=1.0,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        foreach=False,
        fused=False,
    )
    for step in range(8):
        some_gradients(model, step)
        some_gradients(reference, step)
        plain.param_groups[0]["lr"] = recipe.peak_lr * lr_at(step, 8, 2, recipe)
        plain.step()
        assert optimizer.step(step) == pytest.approx(plain.param_groups[0]["lr"])
        for (name, p), q in zip(model.named_parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(p, q, atol=1e-6, rtol=1e-5, msg=name)


def test_a_step_clears_the_gradients_and_returns_the_rate_of_the_recipes_peak():
    for recipe in (SGD, MUON):
        model = tiny()
        optimizer = Optimizer(model, recipe, 10, 5)
        some_gradients(model, 0)
        assert optimizer.step(4) == pytest.approx(recipe.peak_lr * lr_at(4, 10, 5, recipe))
        assert all(p.grad is None for p in model.parameters())


def test_weights_that_do_not_train_are_never_touched():
    for recipe in (replace(SGD, weight_decay=0.5, decay_all=True), MUON):
        model = tiny()
        before = weights(model)
        optimizer = Optimizer(model, recipe, 10, 5)
        for step in range(3):
            some_gradients(model, step)
            optimizer.step(step)
        frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
        assert frozen == {
            "network.features.0.weight",
            "network.features.2.norm1.weight",
            "network.features.2.norm2.weight",
        }
        for name, p in model.named_parameters():
            assert torch.equal(p, before[name]) == (name in frozen), name


class Plain(nn.Module):
    """A weight, a bias, a norm and a head, all ones."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2)
        for p in self.parameters():
            nn.init.ones_(p)


def shares_taken(recipe, steps=(0,), total=10):
    """What is left of each parameter of ones after updates without gradients."""
    model = Plain()
    optimizer = Optimizer(model, recipe, total, total)
    for step in steps:
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step(step)
    return {name: float(1 - p.detach().mean()) for name, p in model.named_parameters()}


def test_weight_decay_is_on_weights_alone_unless_all_are_named():
    taken = shares_taken(Recipe(peak_lr=0.1, momentum=0.0, weight_decay=0.5))
    decayed = {name for name, share in taken.items() if share > 0}
    assert decayed == {"conv.weight", "head.weight"}
    assert taken["conv.weight"] == pytest.approx(0.05)
    taken = shares_taken(Recipe(peak_lr=0.1, momentum=0.0, weight_decay=0.5, decay_all=True))
    assert taken == pytest.approx(dict.fromkeys(taken, 0.05))


@pytest.mark.parametrize("settings", [{}, {"head_lr": 7.0}, {"peak_lr": 300.0, "head_lr": 0.01}])
def test_step_decay_takes_its_share_off_every_weight_whatever_its_rate(settings):
    taken = shares_taken(replace(Recipe(peak_lr=0.1, momentum=0.0, weight_decay=0.0, step_decay=0.02), **settings))
    assert taken == pytest.approx(dict.fromkeys(taken, 0.02), rel=1e-4)


def test_step_decay_follows_the_rate_down():
    recipe = Recipe(peak_lr=0.1, momentum=0.0, weight_decay=0.0, step_decay=0.02, schedule="linear")
    taken = shares_taken(recipe, steps=(5,))
    assert taken == pytest.approx(dict.fromkeys(taken, 0.01), rel=1e-4)


def test_step_decay_and_weight_decay_add_up():
    taken = shares_taken(Recipe(peak_lr=0.1, momentum=0.0, weight_decay=0.5, step_decay=0.02))
    assert taken["conv.weight"] == pytest.approx(0.07)
    assert taken["conv.bias"] == pytest.approx(0.02)


def test_step_decay_leaves_muons_filters_alone():
    taken = shares_taken(
        Recipe(optimizer="muon", muon_lr=0.1, peak_lr=0.1, momentum=0.0, weight_decay=0.5, step_decay=0.02)
    )
    assert taken["head.weight"] == pytest.approx(0.07)
    # Filters are only scaled to the norm sqrt(out): from 54 ones to 3 in all.
    assert taken["conv.weight"] == pytest.approx(1 - (3 / 54) ** 0.5)


def test_a_rate_of_zero_changes_nothing():
    model = tiny()
    before = weights(model)
    optimizer = Optimizer(model, Recipe(peak_lr=0.0, step_decay=0.5, weight_decay=0.5), 4, 2)
    some_gradients(model, 0)
    optimizer.step(0)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_head_and_the_whitening_bias_have_rates_of_their_own():
    recipe = replace(MUON, step_decay=0.0, momentum=0.0, nesterov=False)
    for step, short in ((0, 1.0), (2, 0.6), (5, 0.0), (9, 0.0)):
        model = tiny()
        before = weights(model)
        optimizer = Optimizer(model, recipe, 10, 5)
        for p in model.parameters():
            if p.requires_grad:
                p.grad = torch.ones_like(p)
        optimizer.step(step)
        moved = {name: float((before[name] - p.detach()).mean()) for name, p in model.named_parameters()}
        share = 1 - step / 10
        assert moved["network.output.weight"] == pytest.approx(3.0 * share, abs=1e-5)
        assert moved["network.features.2.norm1.bias"] == pytest.approx(2.0 * share, abs=1e-5)
        assert moved["network.features.0.bias"] == pytest.approx(2.0 * short, abs=1e-5), "half as long, in a line to 0"


def test_a_whitening_bias_that_trains_all_the_time_follows_the_schedule():
    model = tiny()
    before = model.network.features[0].bias.detach().clone()
    optimizer = Optimizer(model, replace(SGD, momentum=0.0, schedule="cosine"), 10, 5)
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.ones_like(p)
    rate = optimizer.step(3)
    torch.testing.assert_close(before - model.network.features[0].bias.detach(), torch.full((24,), rate))


def through_a_file(state):
    """As a checkpoint keeps it: contiguous, in a safetensors file."""
    file = io.BytesIO(save({name: value.cpu().contiguous() for name, value in state.items()}))
    return load(file.getvalue())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "recipe", [SGD, replace(SGD, momentum=0.0), replace(SGD, nesterov=True, weight_decay=0.1), MUON]
)
def test_going_on_from_a_saved_state_gives_the_same_bits(recipe, layout):
    model = tiny(layout=layout)
    optimizer = Optimizer(model, recipe, 10, 5)
    for step in range(3):
        some_gradients(model, step)
        optimizer.step(step)
    state, saved = through_a_file(optimizer.state()), through_a_file(model.state_dict())
    other = tiny(seed=1, layout=layout)
    other.load_state_dict(saved)
    resumed = Optimizer(other, recipe, 10, 5)
    resumed.load_state(state)
    for step in range(3, 8):
        some_gradients(model, step)
        some_gradients(other, step)
        assert optimizer.step(step) == resumed.step(step)
        for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(p, q), (name, step)
    assert all(torch.equal(value, resumed.state()[name]) for name, value in optimizer.state().items())


def test_the_state_is_momentum_by_the_name_of_what_trains():
    model = tiny()
    optimizer = Optimizer(model, MUON, 10, 5)
    assert optimizer.state() == {}
    some_gradients(model, 0)
    optimizer.step(0)
    assert optimizer.state().keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_a_loaded_state_is_a_copy():
    model = tiny()
    optimizer = Optimizer(model, MUON, 10, 5)
    some_gradients(model, 0)
    optimizer.step(0)
    state = through_a_file(optimizer.state())
    before = {name: value.clone() for name, value in state.items()}
    other = tiny()
    resumed = Optimizer(other, MUON, 10, 5)
    resumed.load_state(state)
    some_gradients(other, 1)
    resumed.step(1)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


def slow_newton_schulz(matrix, num_steps=3):
    """The same quintic in float64, odd in the singular values: p(s) = 3.4445 s - 4.7750 s^3 + 2.0315 s^5."""
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / np.sqrt((matrix.astype(np.float64) ** 2).sum())
    for _ in range(num_steps):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left, values, right


shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@many
@given(shape=shapes, seed=st.integers(0, 999), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_orthogonalised_is_the_iteration_in_float64_within_bfloat16(shape, seed, scale):
    matrix = np.random.default_rng(seed).normal(size=shape).astype(np.float32) * np.float32(scale)
    left, values, right = slow_newton_schulz(matrix)
    found = orthogonalised(torch.from_numpy(matrix))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), (left * values) @ right, atol=0.1)


@some
@given(rows=st.integers(2, 32), columns=st.integers(2, 32), seed=st.integers(0, 999))
def test_singular_vectors_stay_and_singular_values_come_near_one(rows, columns, seed):
    rng = np.random.default_rng(seed)
    num = min(rows, columns)
    left = np.linalg.qr(rng.normal(size=(rows, num)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, num)))[0]
    matrix = (left * rng.uniform(0.5, 1.5, num)) @ right.T  # well-conditioned
    found = orthogonalised(torch.from_numpy(matrix).float()).double().numpy()
    middle = left.T @ found @ right
    values = np.diag(middle)
    assert (values > 0.5).all(), values
    assert (values < 1.3).all(), values
    assert np.abs(middle - np.diag(values)).max() < 0.05, "diagonal in the same bases: the same singular vectors"


def test_a_matrix_of_zeros_stays_zeros():
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_orthogonalised_leaves_its_input_alone_and_keeps_the_type():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        matrix = torch.randn(4, 6, dtype=torch.float32).to(dtype)
        before = matrix.clone()
        assert orthogonalised(matrix).dtype == dtype
        assert torch.equal(matrix, before)


def test_a_muon_update_equals_the_rule_written_out_in_numpy():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(6, 2, 3, 3)).astype(np.float32)
    weight = nn.Parameter(torch.from_numpy(start).contiguous(memory_format=torch.channels_last))
    muon = Muon([{"params": [weight]}], momentum=0.6)
    expected, buffer = start.astype(np.float64), np.zeros(start.shape)
    for lr in (0.24, 0.12, 0.06):
        gradient = rng.normal(size=start.shape).astype(np.float32)
        weight.grad = torch.from_numpy(gradient).contiguous(memory_format=torch.channels_last)
        muon.param_groups[0]["lr"] = lr
        muon.step()
        buffer = 0.6 * buffer + gradient
        direction = gradient + 0.6 * buffer
        left, values, right = slow_newton_schulz(direction.reshape(6, 18))
        expected = expected * math.sqrt(6) / np.sqrt((expected**2).sum())
        expected = expected - lr * ((left * values) @ right).reshape(start.shape)
        np.testing.assert_allclose(weight.detach().numpy(), expected, atol=0.02)


def test_muon_takes_the_filters_that_train_and_nothing_else():
    model = tiny()
    optimizer = Optimizer(model, MUON, 10, 5)
    (sgd, muon) = optimizer.parts
    assert isinstance(muon, Muon)
    filters = {id(p) for group in muon.param_groups for p in group["params"]}
    assert filters == {id(p) for p in model.parameters() if p.ndim == 4 and p.requires_grad}
    rest = [id(p) for group in sgd.param_groups for p in group["params"]]
    assert len(rest) == len(set(rest))
    assert {*rest} | filters == {id(p) for p in model.parameters() if p.requires_grad}


def test_a_filter_without_a_gradient_waits():
    weight = nn.Parameter(torch.ones(2, 2, 3, 3))
    Muon([{"params": [weight], "lr": 1.0}], 0.6).step()
    assert torch.equal(weight, torch.ones(2, 2, 3, 3))


@pytest.mark.parametrize(("setting", "first", "last"), [("whiten_bias_share", 0, 1), ("first_group_share", 2, 3)])
def test_layers_at_the_end_of_their_training_cost_no_backward_pass_and_change_nothing_else(setting, first, last):
    recipe = replace(MUON, whiten_bias_share=0.25, **({setting: 0.5} if last > 1 else {}))
    images, target = torch.rand(8, 3, 16, 16), torch.arange(8) % 4
    ends = []
    for spared in (True, False):
        model = tiny().train()
        named = model.network.features[first:last].named_parameters()
        early = [p for _, p in named if p.requires_grad]
        assert len(early) == (4 if last > 1 else 1)
        optimizer = Optimizer(model, recipe, 6, 3)
        for step in range(6):
            if not spared:
                for parameter in early:
                    parameter.requires_grad = True
            F.cross_entropy(model(images), target).backward()
            rests = step > (3 if last > 1 else 2)
            assert all((p.grad is None) == (spared and rests) for p in early)
            before = [p.detach().clone() for p in early]
            optimizer.step(step)
            assert all(
                torch.equal(p, old) == (step >= (3 if last > 1 else 2)) for p, old in zip(early, before, strict=True)
            )
        ends.append(weights(model))
    for name, p in ends[0].items():
        assert torch.equal(p, ends[1][name]), name
