"""What folders, tables and columns are for: train, valid or test, by the words in their names."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass


def words(text: str) -> frozenset[str]:
    """Return the words of a list."""
    return frozenset(text.split())


ROLES = {
    "train": {"train", "training", "trainset"},
    "valid": {"valid", "val", "validation", "dev"},
    "test": {"test", "testing", "tests", "testset", "holdout"},
    "all": {"train_valid", "trainvalid", "train_val", "trainval"},  # train and valid once more, as `organize` writes it
    "unlabelled": {"pred", "predict", "prediction", "unlabeled", "unlabelled"},
}
ROLE_OF = {word: role for role, words in ROLES.items() for word in words}
# Words that a folder's name has beside its role, or that name no class: train_images, test_stg1.
GENERIC = words(
    "image images img imgs picture pictures pic pics photo photos frame frames data dataset datasets "
    "set sets folder folders file files jpg jpegs jpeg png tif tiff raw input inputs part parts "
    "batch chunk shard stg stage split public private new resized small full mask masks"
)
# Folders that hold pictures about the data, not the data.
ASIDE = words("doc docs documentation figure figures fig asset assets example examples thumbnail thumbnails misc")


def words_of(text: str) -> set[str]:
    """Return the words in a name, in lower case: "trainLabels_v2" has "train", "labels" and "v"."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)} | (
        {text.lower()} & ROLE_OF.keys()
    )


def role_of(name: str) -> str:
    """Return the role that a name has by its words, or "" if it has none or two."""
    roles = {ROLE_OF[word] for word in words_of(name) & ROLE_OF.keys()}
    if "all" in roles or roles == {"train", "valid"}:
        return "all"
    return roles.pop() if len(roles) == 1 else ""


@dataclass(frozen=True)
class Below:
    """Where a picture lies: the role of its folder, and its path without the folders that state the role."""

    role: str  # a key of ROLES, or ""
    path: str


def folder_roles(paths: Sequence[str]) -> dict[str, Below]:
    """Return the role of each picture by the folders it lies in.

    A folder has a role if its name is one (train, Training), or one with generic words (train_images, test1), or pairs
    with a folder beside it (seg_train, seg_test). A folder called train among others that are no roles, without folders
    of its own, is a class. Doubled folders (seg_train/seg_train) count once.
    """
    found: dict[str, Below] = {}
    _visit([(path, path) for path in paths], "", found)
    return {path: found[path] for path in paths}


def _visit(items: list[tuple[str, str]], above: str, found: dict[str, Below]) -> None:
    """items: (path, its part below `above`)."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, rest in items:
        top, slash, inner = rest.partition("/")
        if slash:
            groups.setdefault(top, []).append((path, inner))
        else:
            found[path] = Below("", above + rest)
    roles = _sibling_roles(groups)
    for name, inside in groups.items():
        if name in roles:
            for path, rest in _undoubled(inside, name, roles[name]):
                found[path] = Below(roles[name], above + rest)
        elif roles:
            for path, rest in inside:
                found[path] = Below("", f"{above}{name}/{rest}")
        else:
            _visit(inside, f"{above}{name}/", found)


def _undoubled(items: list[tuple[str, str]], name: str, role: str) -> list[tuple[str, str]]:
    """Drop the one folder that all lie in, as long as it repeats the role: seg_train/seg_train/."""
    while len(tops := {rest.partition("/")[0] for _, rest in items if "/" in rest}) == 1:
        top = tops.pop()
        if any("/" not in rest for _, rest in items) or (role_of(top) != role and top.lower() != name.lower()):
            break
        items = [(path, rest.partition("/")[2]) for path, rest in items]
    return items


def _sibling_roles(groups: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    """The roles of folders that lie side by side; empty if they have none."""
    roles = {name: role for name in groups if (role := role_of(name))}
    strong = {name for name in roles if _is_plain(name) or _is_paired(name, groups)}
    if len({roles[name] for name in strong}) > 0:
        kinds = {roles[name] for name in strong}
        strong |= {name for name in roles if kinds - {roles[name]}}  # test_final beside train
    roles = {name: role for name, role in roles.items() if name in strong}
    others = [name for name in groups if name not in roles]
    kinds = set(roles.values())
    if "train" in kinds or "all" in kinds:
        inner = {name: {rest.partition("/")[0] for _, rest in groups[name] if "/" in rest} for name in groups}
        if len(kinds) == 1 and others:
            only = [name for name in roles if roles[name] in ("train", "all")]
            shared = {top for name in only for top in inner[name]} & {top for name in others for top in inner[name]}
            if not any(inner[name] for name in only) or shared:
                return {}  # bus, car, train: classes
        return roles
    if "test" in kinds:
        return {name: role for name, role in roles.items() if role in ("test", "unlabelled")}
    return {}


def _is_plain(name: str) -> bool:
    words = words_of(name)
    return words - ROLE_OF.keys() <= GENERIC


def _is_paired(name: str, siblings: Collection[str]) -> bool:
    """Whether a sibling differs in nothing but the word for its role."""

    def frame(text: str) -> str:
        return re.sub("|".join(sorted(ROLE_OF, key=len, reverse=True)), "*", text.lower())

    mine = frame(name)
    return any(frame(other) == mine and role_of(other) not in ("", role_of(name)) for other in siblings)


def column_roles(values: Sequence[str]) -> dict[str, str] | None:
    """For a column whose values are roles (train, val, test; PublicTest): value -> role. None for any other column."""
    counts = Counter(values)
    counts.pop("", None)
    if not counts or len(counts) > 12:
        return None
    roles = {value: role_of(value) for value in counts}
    if not all(role in ("train", "valid", "test") for role in roles.values()):
        return None
    return roles if len(set(roles.values())) > 1 else None
