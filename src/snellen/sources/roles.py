"""Detect the role of folders, tables and columns (train, valid or test) from the words in their names."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass


def words(text: str) -> frozenset[str]:
    """Return the words in a text."""
    return frozenset(text.split())


ROLES = {
    "train": {"train", "training", "trainset"},
    "valid": {"valid", "val", "validation", "dev"},
    "test": {"test", "testing", "tests", "testset", "holdout"},
    "all": {"train_valid", "trainvalid", "train_val", "trainval"},  # train and valid again, as written by `organize`
    "unlabelled": {"pred", "predict", "prediction", "unlabeled", "unlabelled"},
}
ROLE_OF = {word: role for role, words in ROLES.items() for word in words}
# Generic words, which appear next to a role or are not classes: train_images, test_stg1.
GENERIC = words(
    "image images img imgs picture pictures pic pics photo photos frame frames data dataset datasets "
    "set sets folder folders file files jpg jpegs jpeg png tif tiff raw input inputs part parts "
    "batch chunk shard stg stage split public private new resized small full "
    "mask masks"
)
# Folders of pictures about the data, such as figures.
ASIDE = words("doc docs documentation figure figures fig asset assets example examples thumbnail thumbnails misc")
# Folders with another picture of each image.
MASKS = words("mask masks segmentation segmentations annotation annotations overlay overlays heatmap heatmaps")


def words_of(text: str) -> set[str]:
    """Return the words in a name, in lower case: "trainLabels_v2" has "train", "labels" and "v"."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)} | (
        {text.lower()} & ROLE_OF.keys()
    )


def role_of(name: str) -> str:
    """Return the role in the words of a name, or "" if there is none or more than one."""
    roles = {ROLE_OF[word] for word in words_of(name) & ROLE_OF.keys()}
    if "all" in roles or roles == {"train", "valid"}:
        return "all"
    return roles.pop() if len(roles) == 1 else ""


@dataclass(frozen=True)
class Below:
    """The location of a picture: the role of its folder, and the path without the folders that give the role."""

    role: str  # a key of ROLES, or ""
    path: str


def folder_roles(paths: Sequence[str]) -> dict[str, Below]:
    """Return the role of each picture, from its folders.

    A folder has a role if its name is a role (train, Training), a role with generic words (train_images, test1), or
    one of a pair (seg_train, seg_test). A folder called train without subfolders, among folders that are not roles, is
    a class. Repeated folders (seg_train/seg_train) count once.
    """
    found: dict[str, Below] = {}
    _visit([(path, path) for path in paths], "", found)
    return {path: found[path] for path in paths}


def _visit(items: list[tuple[str, str]], above: str, found: dict[str, Below]) -> None:
    """Fill `found` with the roles below a folder. items: (path, its part below `above`)."""
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
    """Drop the common folder while it repeats the role: seg_train/seg_train/."""
    while len(tops := {rest.partition("/")[0] for _, rest in items if "/" in rest}) == 1:
        top = tops.pop()
        if any("/" not in rest for _, rest in items) or (role_of(top) != role and top.lower() != name.lower()):
            break
        items = [(path, rest.partition("/")[2]) for path, rest in items]
    return items


def _sibling_roles(groups: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    """Return the roles of sibling folders; empty if they have none."""
    roles = {name: role for name in groups if (role := role_of(name))}
    strong = {name for name in roles if _is_plain(name) or _is_paired(name, groups)}
    if len({roles[name] for name in strong}) > 0:
        kinds = {roles[name] for name in strong}
        strong |= {name for name in roles if kinds - {roles[name]}}  # test_final next to train
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
    """Return whether a sibling differs only in the word for its role."""

    def frame(text: str) -> str:
        return re.sub("|".join(sorted(ROLE_OF, key=len, reverse=True)), "*", text.lower())

    mine = frame(name)
    return any(frame(other) == mine and role_of(other) not in ("", role_of(name)) for other in siblings)


def column_roles(values: Sequence[str]) -> dict[str, str] | None:
    """Return the role of each value of a column of roles (train, val, test; PublicTest). None for other columns."""
    counts = Counter(values)
    counts.pop("", None)
    if not counts or len(counts) > 12:
        return None
    roles = {value: role_of(value) for value in counts}
    if not all(role in ("train", "valid", "test") for role in roles.values()):
        return None
    return roles if len(set(roles.values())) > 1 else None
