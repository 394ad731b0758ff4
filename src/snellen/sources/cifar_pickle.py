"""Read the pickles of CIFAR without unpickling: no code in a file can run, and only a few operations are allowed.

A pickle is a program for a stack machine. `pickletools` lists its operations; those that build dicts, lists, tuples,
strings, numbers and uint8 arrays are carried out here. Names from numpy map to the few steps below, never to code.
Source of the operations: https://docs.python.org/3/library/pickletools.html and `pickletools.opcodes`.
"""

import pickletools
from typing import Any

import numpy as np

CORES = ("numpy.core", "numpy._core")  # before numpy 2, and since
RECONSTRUCT = {f"{core}.multiarray _reconstruct" for core in CORES}
FROM_BUFFER = {f"{core}.numeric _frombuffer" for core in CORES}
ENCODE = "_codecs encode"  # how Python 3 writes bytes into an old pickle
DTYPE = "numpy dtype"
KNOWN = {*RECONSTRUCT, *FROM_BUFFER, ENCODE, DTYPE, "numpy ndarray"}


class Name(str):
    """A module and a name in it, separated by a space."""


class Array:
    """An array that has no values yet."""

    pixels: np.ndarray | None = None


class Dtype:
    """The type of an array's values."""

    def __init__(self, code: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else code


def load_pickle(data: bytes) -> Any:
    """Return the object in a pickle. A damaged or unexpected pickle can raise almost any exception."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any

    def above_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for operation, argument, _ in pickletools.genops(data):
        match operation.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation.name])
            case "BININT" | "BININT1" | "BININT2" | "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                stack.append(argument)
            case "BINBYTES" | "SHORT_BINBYTES" | "BINBYTES8" | "BYTEARRAY8":
                stack.append(argument)
            case "BINSTRING" | "SHORT_BINSTRING":  # a string of Python 2
                stack.append(argument.encode("latin1"))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[operation.name]())
            case "TUPLE":
                stack.append(tuple(above_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                num = int(operation.name[-1])
                stack[-num:] = [tuple(stack[-num:])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = above_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                items = above_mark()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_name(argument))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_name(f"{module} {name}"))
            case "REDUCE":
                arguments, name = stack.pop(), stack.pop()
                stack.append(_reduced(name, arguments))
            case "BUILD":
                state = stack.pop()
                _fill(stack[-1], state)
            case _:
                raise ValueError(f"it contains the operation {operation.name}")
    raise ValueError("it does not end")


def _name(text: str) -> Name:
    if text not in KNOWN:
        raise ValueError(f"it refers to {text.replace(' ', '.')}")
    return Name(text)


def _reduced(name: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the result of a call in the pickle."""
    if not isinstance(name, Name):
        raise ValueError("it calls an object")
    if name in RECONSTRUCT:
        return Array()
    if name == DTYPE:
        return Dtype(arguments[0])
    if name == ENCODE:
        return arguments[0].encode("latin1")
    if name in FROM_BUFFER:
        raw, dtype, shape, order = arguments
        array = Array()
        array.pixels = _uint8(raw, dtype, shape, order)
        return array
    raise ValueError(f"it calls {name.replace(' ', '.')}")


def _fill(target: Any, state: Any) -> None:
    if isinstance(target, Array):
        _, shape, dtype, is_fortran, raw = state
        target.pixels = _uint8(raw, dtype, shape, "F" if is_fortran else "C")
    elif not isinstance(target, Dtype):
        raise ValueError("it changes an object that is not an array")


def _uint8(raw: bytes, dtype: Dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    if dtype.code not in ("u1", "|u1", "uint8"):
        raise ValueError(f"its pixels are of type {dtype.code}")
    return np.frombuffer(raw, dtype=np.uint8).reshape(shape, order=order)  # type: ignore[call-overload]
