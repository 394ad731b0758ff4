"""Spaces written with --set, and the region around a recipe."""

import pytest

from snellen.errors import RecipeError
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe
from snellen.training.search_space import (
    LOG_SCALE,
    REACH,
    Choices,
    Range,
    default_space,
    parse_space,
    size_of,
    start_of,
)

BASE = PRESETS["fast"]


def test_ranges_and_lists_vary_and_single_values_are_fixed():
    recipe, space = parse_space(
        ["peak_lr=1..100", "crop_pad=0..4", "flip=off,random", "nesterov=true,false", "epochs=3", "mixup=0..1"], BASE
    )
    assert recipe == BASE.with_settings(["epochs=3"])
    assert space == {
        "peak_lr": Range(1.0, 100.0, log=True),
        "crop_pad": Range(0, 4),
        "flip": Choices(("off", "random")),
        "nesterov": Choices((True, False)),
        "mixup": Range(0.0, 1.0),
    }
    assert type(space["peak_lr"].low) is float
    assert type(space["crop_pad"].low) is int


def test_a_range_from_zero_is_not_drawn_on_a_log_scale():
    assert parse_space(["weight_decay=0..0.1"], BASE)[1]["weight_decay"] == Range(0.0, 0.1, log=False)


def test_the_last_word_on_a_setting_counts():
    assert parse_space(["epochs=2..9", "epochs=4"], BASE) == (BASE.with_settings(["epochs=4"]), {})


def test_a_value_named_twice_is_one_choice():
    assert parse_space(["crop_pad=2,4,2"], BASE)[1]["crop_pad"] == Choices((2, 4))


def test_commas_belong_to_lists_of_epochs():
    recipe, space = parse_space(["lr_drops=2,4"], Recipe())
    assert recipe.lr_drops == (2, 4)
    assert not space


def test_spaces_are_written_as_set_takes_them():
    texts = ["peak_lr=1.5..100", "crop_pad=0..4", "flip=off,random", "nesterov=true,false"]
    assert [f"{name}={values}" for name, values in parse_space(texts, BASE)[1].items()] == texts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("peek_lr=1..2", ['unknown setting "peek_lr"', 'did you mean "peak_lr"?']),
        ("peek_lr=1,2", ['unknown setting "peek_lr"', 'did you mean "peak_lr"?']),
        ("peak_lr=a..2", ['"a" is not a value for peak_lr', "a number"]),
        ("peak_lr=..2", ['"" is not a value']),
        ("peak_lr=2..1", ["2..1 is not a range", "--set peak_lr=1..2"]),
        ("peak_lr=2..2", ["2..2 is not a range", "--set peak_lr=2"]),
        ("momentum=0..1", ["momentum=1:", "from 0 to 0.9999"]),
        ("momentum=nan..1", ["momentum"]),
        ("batch_size=1.5..3", ['"1.5" is not a value for batch_size', "a whole number"]),
        ("flip=off..random", ["flip cannot have a range", "with commas"]),
        ("flip=off,rndom", ["flip=rndom", 'did you mean "random"?']),
        ("epochs", ["is not a setting"]),
        ("epochs=0", ["epochs=0"]),
    ],
)
def test_mistakes_are_named(text, words):
    with pytest.raises(RecipeError) as caught:
        parse_space([text], BASE)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_region_of_valid_recipes_around_it(name):
    recipe = PRESETS[name]
    space = default_space(recipe)
    assert len(space) >= (1 if recipe.optimizer == "lbfgs" else 4)
    assert start_of(recipe, space) == {field: getattr(recipe, field) for field in space}
    assert not {"seed", "model", "epochs", "precision"} & set(space)
    for field, values in space.items():
        ends = values.values if isinstance(values, Choices) else (values.low, values.high)
        for value in ends:
            recipe.with_settings([f"{field}={value}"])


def test_settings_drawn_on_a_log_scale_exist():
    assert set(LOG_SCALE) | set(REACH) <= set(Recipe().to_dict())


def test_only_values_inside_are_tried_first():
    space = {"crop_pad": Range(0, 1), "flip": Choices(("off", BASE.flip))}
    assert start_of(BASE, space) == {"flip": BASE.flip}


def test_size_counts_recipes_if_they_can_be_counted():
    assert size_of({"crop_pad": Range(0, 4), "flip": Choices(("off", "random"))}) == 10
    assert size_of({"peak_lr": Range(0.1, 0.2), "flip": Choices(("off", "random"))}) == 0
