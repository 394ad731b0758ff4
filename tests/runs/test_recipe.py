import json
import math
from dataclasses import FrozenInstanceError, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import many, some
from snellen.errors import RecipeError
from snellen.runs.presets import PRESETS
from snellen.runs.recipe import Recipe, show_value

FIELDS = {f.name: f for f in fields(Recipe)}
WRONG_TYPES = {
    int: ["3", 3.0, True, None, [3], (3,), {}],
    float: ["0.1", True, None, [0.1], {}],
    bool: [0, 1, "true", None, []],
    str: [3, None, True, [], b"sgd"],
    tuple: [3, "1,2", None, True],
}


def bounded(kind):
    return [name for name, f in FIELDS.items() if type(f.default) is kind]


def valid_values(f):
    """Every value that the field's own declaration allows."""
    low, high, choices = (f.metadata[key] for key in ("low", "high", "choices"))
    if choices:
        return st.sampled_from(choices)
    return {
        bool: lambda: st.booleans(),
        int: lambda: st.integers(low, high),
        float: lambda: st.floats(low, high, allow_nan=False),
        str: lambda: st.text(max_size=10),
        tuple: lambda: st.sets(st.integers(1, 500), max_size=5).map(lambda drops: tuple(sorted(drops))),
    }[type(f.default)]()


@st.composite
def recipes(draw):
    settings = {name: draw(valid_values(f)) for name, f in FIELDS.items()}
    # The few pairs that exclude each other.
    if settings["lr_drop_every"]:
        settings["lr_drops"] = ()
    if settings["cutmix"]:
        settings["mixup"] = 0.0
    settings["mix_off_epochs"] = min(settings["mix_off_epochs"], math.ceil(settings["epochs"]) - 1)
    most = math.ceil(settings["epochs"])
    settings["average_last"] = 0 if settings["ema"] else min(settings["average_last"], most)
    settings["nesterov"] = settings["nesterov"] and settings["momentum"] > 0
    if settings["small_size"] < 16 or not settings["small_share"]:
        settings |= {"small_size": 0, "small_share": 0.0}
    if not settings["muon_lr"]:
        settings["optimizer"] = "sgd"
    return Recipe(**settings)


def refused(**settings):
    with pytest.raises(RecipeError) as caught:
        Recipe(**settings)
    return caught.value


def test_every_field_has_a_meaning_and_an_allowed_default():
    assert len(FIELDS) > 30
    for name, f in FIELDS.items():
        assert f.metadata["meaning"], name
        if f.metadata["choices"]:
            assert f.default in f.metadata["choices"], name
        elif type(f.default) in (int, float):
            assert f.metadata["low"] <= f.default <= f.metadata["high"], name
            assert math.isfinite(f.metadata["low"]), name
            assert math.isfinite(f.metadata["high"]), f"{name} would take infinity"


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_of_the_wrong_type_is_refused_by_name(name):
    for value in WRONG_TYPES[type(FIELDS[name].default)]:
        assert f"{name}" in refused(**{name: value}).what, value
        assert "must be" in refused(**{name: value}).what, value


@pytest.mark.parametrize("name", bounded(int) + bounded(float))
def test_a_number_out_of_range_is_refused_by_name(name):
    f = FIELDS[name]
    if f.metadata["choices"]:
        assert f"{name}=7: it must be one of" in refused(**{name: 7}).what
        return
    low, high, kind = f.metadata["low"], f.metadata["high"], type(f.default)
    near = (low - 1, high + 1) if kind is int else (low - 1e-9, high * 1.001)
    for value in (*near, -(10**400), 10**400):
        what = refused(**{name: value}).what
        assert what.startswith(f"a setting cannot be used: {name}="), what
        assert f"from {low:,} to {high:,}".replace(".0 ", " ").removesuffix(".0") in what
    for value in (low, high):
        try:
            assert getattr(Recipe(**{name: value}), name) == value
        except RecipeError as problem:
            assert "must be" not in problem.what, "refused beside another setting, not for itself"  # noqa: PT017


@pytest.mark.parametrize("name", bounded(float))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(name, value):
    assert name in refused(**{name: value}).what
    with pytest.raises(RecipeError, match=name):
        Recipe().with_settings([f"{name}={value}"])
    with pytest.raises(RecipeError, match=name):
        Recipe.from_dict(json.loads(json.dumps({name: value})))


@pytest.mark.parametrize("name", [name for name, f in FIELDS.items() if f.metadata["choices"]])
def test_a_choice_that_is_none_names_all_that_are(name):
    wrong = "nope" if type(FIELDS[name].default) is str else 5
    what = refused(**{name: wrong}).what
    assert all(str(choice) in what for choice in FIELDS[name].metadata["choices"])


def test_a_misspelt_choice_is_put_right():
    assert 'did you mean "cosine"?' in refused(schedule="cosin").what
    assert "did you mean" not in refused(schedule="zzz").what


def test_all_bad_settings_are_named_in_one_message():
    problem = refused(epochs=0, peak_lr=-1.0, flip="sideways", lr_drops=(1.5,), model=7, nesterov=1)
    assert problem.what.startswith("6 settings cannot be used:")
    for name in ("epochs", "peak_lr", "flip", "lr_drops", "model", "nesterov"):
        assert name in problem.what
    assert problem.do


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr_drops": (3,), "lr_drop_every": 2}, ["lr_drops", "lr_drop_every", "one of them"]),
        ({"lr_drops": (3, 2)}, ["lr_drops=3,2", "increase"]),
        ({"lr_drops": (2, 2)}, ["lr_drops=2,2", "increase"]),
        ({"lr_drops": (0, 2)}, ["lr_drops=0,2", "must increase"]),
        ({"lr_drops": (-1,)}, ["lr_drops=-1", "must increase"]),
        ({"optimizer": "muon"}, ["muon_lr above 0"]),
        ({"mixup": 0.2, "cutmix": 1.0}, ["mixup and cutmix"]),
        ({"nesterov": True, "momentum": 0.0}, ["momentum above 0"]),
        ({"small_size": 24}, ["small_size and small_share"]),
        ({"small_share": 0.5}, ["small_size and small_share"]),
        ({"mixup": 0.2, "epochs": 5, "mix_off_epochs": 5}, ["mix_off_epochs=5", "5 epochs"]),
        ({"cutmix": 0.2, "epochs": 5, "mix_off_epochs": 9}, ["mix_off_epochs=9", "5 epochs"]),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, words):
    what = refused(**settings).what
    assert all(word in what for word in words), what


def test_settings_that_only_look_contradictory_are_taken():
    Recipe(mix_off_epochs=50, epochs=5)
    Recipe(lr_drops=(1, 2, 300), epochs=5)
    Recipe(momentum=0.0)
    Recipe(muon_lr=0.1)


def test_a_whole_number_may_stand_for_a_number_and_gives_the_same_file():
    assert Recipe(peak_lr=1) == Recipe(peak_lr=1.0)
    assert json.dumps(Recipe(peak_lr=1).to_dict()) == json.dumps(Recipe(peak_lr=1.0).to_dict())


def test_a_recipe_cannot_be_changed_only_replaced():
    recipe = Recipe()
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 3
    assert replace(recipe, epochs=3).epochs == 3
    with pytest.raises(RecipeError, match="epochs"):
        replace(recipe, epochs=0)


@some
@given(recipe=recipes())
def test_json_gives_the_recipe_back_exactly(recipe, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "recipe.json"
    recipe.save(path)
    again = Recipe.open(path)
    assert again == recipe
    assert type(again.lr_drops) is tuple
    assert list(json.loads(path.read_text(encoding="utf-8"))) == list(FIELDS), (
        "every setting, in the order of the class"
    )


@many
@given(recipe=recipes())
def test_what_str_shows_can_be_given_back_by_set(recipe):
    assignments = [f"{name}={show_value(getattr(recipe, name))}" for name in FIELDS if name not in ("model", "start")]
    assert replace(Recipe().with_settings(assignments), model=recipe.model, start=recipe.start) == recipe


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("epochs=30", "epochs", 30),
        ("peak_lr=1e-3", "peak_lr", 1e-3),
        ("peak_lr=2", "peak_lr", 2.0),
        ("nesterov=true", "nesterov", True),
        ("nesterov=False", "nesterov", False),
        ("decay_all=TRUE", "decay_all", True),
        ("lr_drops=80,160", "lr_drops", (80, 160)),
        ("lr_drops=80", "lr_drops", (80,)),
        ("lr_drops=none", "lr_drops", ()),
        ("lr_drops=", "lr_drops", ()),
        ("model=a=b", "model", "a=b"),
        ("flip=off", "flip", "off"),
        ("seed=4294967295", "seed", 2**32 - 1),
    ],
)
def test_set_reads_each_type(text, name, value):
    changed = getattr(Recipe().with_settings([text]), name)
    assert changed == value
    assert type(changed) is type(FIELDS[name].default)


def test_one_setting_need_not_be_in_a_list():
    assert Recipe().with_settings("epochs=3") == Recipe(epochs=3)


def test_set_takes_the_last_of_two_and_leaves_the_recipe_alone():
    recipe = Recipe()
    assert recipe.with_settings(["epochs=3", "epochs=4", "seed=1"]) == Recipe(epochs=4, seed=1)
    assert recipe == Recipe()
    assert recipe.with_settings([]) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs", ['"epochs" is not a setting', "field=value"]),
        ("", ["is not a setting"]),
        ("epoch=3", ['unknown setting "epoch"', 'did you mean "epochs"?']),
        (" epochs=3", ["unknown setting", 'did you mean "epochs"?']),
        ("=3", ['unknown setting ""', "check the spelling"]),
        ("batch_size=", ['"" is not a value for batch_size', "a whole number", "--set batch_size=128"]),
        ("batch_size=3.5", ['"3.5" is not a value for batch_size', "a whole number"]),
        ("batch_size=" + "9" * 5000, ["is not a value for batch_size"]),
        ("peak_lr=fast", ['"fast" is not a value for peak_lr', "a number"]),
        ("nesterov=1", ['"1" is not a value for nesterov', "true or false", "--set nesterov=false"]),
        ("lr_drops=8;9", ["comma-separated whole numbers"]),
        ("lr_drops=1.5", ["is not a value for lr_drops"]),
        ("epochs=0", ["epochs=0", "from 0.001 to"]),
        ("peak_lr=1e7", ["from 0 to 1,000,000"]),
        ("seed=4294967296", ["from 0 to 4,294,967,295"]),
        ("flip=sideways", ["flip=sideways", "off, random, alternating"]),
    ],
)
def test_a_set_that_cannot_be_read_says_so(text, words):
    with pytest.raises(RecipeError) as caught:
        Recipe().with_settings([text])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@some
@given(st.text(max_size=30))
def test_no_set_text_gets_past_as_another_error(text):
    for assignment in (text, *(f"{name}={text}" for name in FIELDS)):
        try:
            Recipe().with_settings([assignment])
        except RecipeError as problem:
            assert problem.what  # noqa: PT017 (either outcome is right)


def test_an_unknown_name_in_a_file_is_refused_with_the_near_one(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"epohcs": 3}')
    with pytest.raises(RecipeError) as caught:
        Recipe.open(path)
    assert 'unknown setting "epohcs"' in caught.value.what
    assert caught.value.where == str(path)
    assert caught.value.do == 'did you mean "epochs"?'


def test_what_a_file_leaves_out_has_its_default(tmp_path):
    (tmp_path / "mine.json").write_text('{"epochs": 3, "lr_drops": [1, 2]}')
    assert Recipe.open(tmp_path / "mine.json") == Recipe(epochs=3, lr_drops=(1, 2))


@pytest.mark.parametrize("text", ["[]", "3", "null", '"epochs"', "{", "", '{"epochs": 1', "[" * 9999])
def test_a_file_that_is_no_recipe_is_refused_by_its_name(tmp_path, text):
    (tmp_path / "mine.json").write_text(text)
    with pytest.raises(RecipeError, match=r"mine\.json"):
        Recipe.open(tmp_path / "mine.json")


def test_a_bad_value_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"epochs": [[1]], "seed": NaN, "lr_drops": [[1]]}')
    with pytest.raises(RecipeError) as caught:
        Recipe.open(path)
    assert "3 settings" in caught.value.what
    assert caught.value.where == str(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@many
@given(st.dictionaries(st.sampled_from([*FIELDS, "else"]), json_values, max_size=6))
def test_any_json_is_a_recipe_or_a_recipe_error(values):
    try:
        recipe = Recipe.from_dict(json.loads(json.dumps(values)))
    except RecipeError as problem:
        assert problem.what  # noqa: PT017 (either outcome is right)
    else:
        assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_differences_name_what_differs_and_no_more():
    assert Recipe().differences(Recipe()) == {}
    assert Recipe(epochs=3, seed=1).differences(Recipe(epochs=4, seed=1)) == {"epochs": (3, 4)}


def test_str_marks_what_is_not_the_default():
    lines = {line.split()[-len(line.split()) + (line[0] == "*")]: line for line in str(Recipe(epochs=3)).splitlines()}
    assert len(lines) == len(FIELDS)
    assert lines["epochs"].startswith("* epochs ")
    assert "passes over the training images" in lines["epochs"]
    assert lines["seed"].startswith("  seed ")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_a_file(name, tmp_path):
    PRESETS[name].save(tmp_path / "a.json")
    assert Recipe.open(tmp_path / "a.json") == PRESETS[name]


@pytest.mark.parametrize(
    ("name", "epochs", "drops", "every"),
    [
        ("gluoncv_resnet20_v2", 24, (8, 16), 0),
        ("gluoncv_resnet20_v2", 2.4, (1, 2), 0),
        ("gluoncv_resnet20_v2", 0.3, (1,), 0),
        ("gluoncv_wideresnet28_10", 100, (30, 60, 80), 0),
        ("d2l", 40, (), 8),
        ("d2l", 2, (), 1),
    ],
)
def test_a_recipe_of_another_length_drops_its_rate_at_the_same_shares(name, epochs, drops, every):
    found = PRESETS[name].lasting(epochs)
    assert (found.epochs, found.lr_drops, found.lr_drop_every) == (epochs, drops, every)
    assert (
        replace(found, **{f: getattr(PRESETS[name], f) for f in ("epochs", "lr_drops", "lr_drop_every")})
        == PRESETS[name]
    )


def test_a_recipe_of_another_length_averages_and_mixes_for_the_same_shares():
    long = Recipe(epochs=20, average_last=5, mixup=1, mix_off_epochs=10)
    assert (long.lasting(4).average_last, long.lasting(4).mix_off_epochs) == (1, 2)
    assert (long.lasting(0.5).average_last, long.lasting(0.5).mix_off_epochs) == (1, 0)
    assert (long.lasting(1.2).average_last, long.lasting(1.2).mix_off_epochs) == (1, 1)
    assert long.lasting(20) == long
