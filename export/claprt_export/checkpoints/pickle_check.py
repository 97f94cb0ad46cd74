"""What a checkpoint's pickle would do, found out without doing it.

`torch.load(weights_only=True)` runs nothing that a file names, but it does allocate what a file asks for: a few hundred
bytes can ask for gigabytes. So the instructions are followed here first, with sizes in place of values: only what a
checkpoint consists of may be named, every storage must lie in the file, every tensor in its storage, and all that is made
of other things together is bounded.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PICKLE_BYTES = 32_000_000
_INSTRUCTIONS = 2_000_000
"""Of all pickles of a file together; one of 2 GB with the state of an optimiser has a tenth of that."""
_DEEPEST = 100
_BUDGET = 128_000_000
"""Characters, and a hundredth as many items, that calls may take together."""
_ITEM = 100
_TIMES_THE_FILE = 8
"""How often the file's size all tensors together may have: some share a storage."""
_LEGACY_PICKLES = 5
"""Of a file of torch before 1.6: a number, a version, facts of the machine, the content, names of storages."""

_ITEM_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    "ComplexDouble": 16, "ComplexFloat": 8,
}  # fmt: skip
_STORAGES = {f"torch.{name}Storage": size for name, size in _ITEM_BYTES.items()}
_TENSORS = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"}
SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
DTYPE = "numpy.dtype"
NUMBERS = frozenset(["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "b1"])
"""What a `numpy.dtype` may be of."""
_NAMED = {
    "collections.OrderedDict", "collections.Counter", "builtins.set", "__builtin__.set", "builtins.complex",
    "__builtin__.complex", "torch.serialization._get_layout", "torch._utils._rebuild_parameter", "torch.Size",
    "torch.device", "torch.float64", "torch.float32", "torch.float16", "torch.bfloat16", "torch.int64", "torch.int32",
    "torch.int16", "torch.int8", "torch.uint8", "torch.bool", "_codecs.encode", DTYPE, *SCALARS, *_STORAGES, *_TENSORS,
}  # fmt: skip


@dataclass(slots=True)
class _Value:
    """What is known of a value: a number, word, name, or the items of a tuple; and what it weighs."""

    value: Any = None
    weight: int = 1
    depth: int = 0


@dataclass(frozen=True, slots=True)
class _Storage:
    items: int
    item_bytes: int


_MARK = _Value("mark")


def check_pickles(file: Path) -> None:
    """Follow the instructions of a `.pt` file, zipped or not.

    Raises:
        pickle.UnpicklingError: it names what no checkpoint holds.
        ValueError: it is damaged, or asks for more memory than its own size accounts for.
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
        stream.seek(0)
        if not zipped:
            content = io.BytesIO(stream.read(_PICKLE_BYTES))
            check = _Check(size)
            for _ in range(_LEGACY_PICKLES):
                check.follow(content)
            return
    try:
        with zipfile.ZipFile(file) as archive:
            for content in _zipped_pickles(archive):
                _Check(size).follow(io.BytesIO(content))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"its zip archive is damaged or breaks off ({error})") from error


def _zipped_pickles(archive: zipfile.ZipFile) -> list[bytes]:
    members = archive.infolist()
    names = [member.filename.lower() for member in members]
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its zip archive is compressed, which torch.save never does")
    if len(set(names)) < len(names) or min((member.header_offset for member in members), default=0) != 0:
        raise ValueError("its zip archive has two members of one name, or something in front of it")
    pickles = [member for member, name in zip(members, names, strict=True) if name.endswith(".pkl")]
    if sum(member.file_size for member in pickles) > _PICKLE_BYTES:
        raise ValueError(f"it has pickles of more than {_PICKLE_BYTES} bytes beside its weights")
    if not any(member.filename.endswith("data.pkl") for member in pickles):
        raise ValueError("its zip archive holds no data.pkl, as every file of torch.save does")
    return [archive.read(member) for member in pickles]


class _Check:
    """The pickles of one file, followed with sizes in place of values."""

    def __init__(self, file_bytes: int) -> None:
        self._file_bytes = file_bytes
        self._instructions = 0
        self._called = 0
        self._tensors = 0
        self._storages: dict[object, int] = {}
        self._stored = 0
        self._stack: list[_Value] = []
        self._marks = 0

    def follow(self, content: io.BytesIO) -> None:
        """Follow one pickle to its end.

        Raises:
            ValueError: If the pickle is damaged, too long, or does what `torch.save` does not.
        """
        self._stack, memo, self._marks = [], dict[Any, _Value](), 0
        try:
            for opcode, argument, _ in pickletools.genops(content):
                self._instructions += 1
                if self._instructions > _INSTRUCTIONS:
                    raise ValueError(f"it has more than {_INSTRUCTIONS} instructions")
                if opcode.name in ("BINPUT", "LONG_BINPUT"):
                    memo[argument] = self._stack[-1]
                elif opcode.name in ("BINGET", "LONG_BINGET"):
                    self._stack.append(memo[argument])
                else:
                    self._step(opcode.name, argument)
        except (IndexError, KeyError) as error:
            raise ValueError("its pickle is damaged: an instruction of it uses something that is not there") from error

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_Value(argument, len(argument) if isinstance(argument, str | bytes) else 1))
        elif name in _EMPTY:
            stack.append(_Value((), 0) if name == "EMPTY_TUPLE" else _Value())
        elif name == "MARK":
            self._marks += 1
            if self._marks > _DEEPEST:
                raise ValueError(f"it is nested more than {_DEEPEST} deep")
            stack.append(_MARK)
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])][::-1] if name != "TUPLE" else self._to_mark()
            stack.append(self._holding(_Value(tuple(items), 0), items))
        elif name in ("APPEND", "SETITEM"):
            items = [stack.pop() for _ in range(1 if name == "APPEND" else 2)]
            self._holding(stack[-1], items)
        elif name in ("APPENDS", "SETITEMS"):
            items = self._to_mark()
            self._holding(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(_Value(_checked_name(str(argument))))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._call(function, arguments))
        elif name == "BUILD":
            state = stack.pop()
            self._spend(state)
            self._holding(stack[-1], [state])
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name not in ("PROTO", "STOP"):
            raise pickle.UnpicklingError(f"it has the instruction {name}, which torch.save does not write.")

    def _to_mark(self) -> list[_Value]:
        place = next((index for index in range(len(self._stack) - 1, -1, -1) if self._stack[index] is _MARK), None)
        if place is None:
            raise IndexError("no mark")
        items = self._stack[place + 1 :]
        del self._stack[place:]
        self._marks -= 1
        return items

    def _holding(self, holder: _Value, items: list[_Value]) -> _Value:
        holder.weight = min(holder.weight + sum(item.weight + _ITEM for item in items), 2**62)
        holder.depth = max([holder.depth, *(item.depth + 1 for item in items)])
        if holder.depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} deep")
        return holder

    def _spend(self, value: _Value) -> None:
        self._called += value.weight
        if self._called > _BUDGET:
            raise ValueError("it copies its own parts over and over")

    def _call(self, function: _Value, arguments: _Value) -> _Value:
        self._spend(arguments)
        if function.value in _TENSORS:
            self._tensor(arguments.value)
        if function.value == DTYPE and not (arguments.value and arguments.value[0].value in NUMBERS):
            raise pickle.UnpicklingError("it holds numbers of a type that no checkpoint holds.")
        return _Value(None, arguments.weight, arguments.depth)

    def _storage(self, key: _Value) -> _Value:
        parts = [part.value for part in key.value] if isinstance(key.value, tuple) else []
        if len(parts) < 5 or parts[1] not in _STORAGES or not isinstance(parts[4], int) or parts[4] < 0:
            raise ValueError("it names weights otherwise than torch.save does")
        item_bytes = _STORAGES[parts[1]]
        known = self._storages.get(parts[2], 0)
        self._storages[parts[2]] = max(known, parts[4] * item_bytes)
        self._stored += self._storages[parts[2]] - known
        if self._stored > self._file_bytes:
            raise ValueError(f"it states more weights than its {self._file_bytes} bytes can hold")
        return _Value(_Storage(parts[4], item_bytes))

    def _tensor(self, arguments: Any) -> None:
        """Check that a tensor lies in its storage.

        Raises:
            ValueError: If the tensor is not within its storage, or too large for the file.
        """
        found: list[Any] = [part.value for part in arguments] if isinstance(arguments, tuple) else []
        storage, offset, of_sizes, of_strides = [*found, None, None, None, None][:4]
        sizes, strides, numbers = _numbers(of_sizes), _numbers(of_strides), _numbers((_Value(offset),))
        if not isinstance(storage, _Storage) or sizes is None or strides is None or numbers is None:
            raise ValueError("it builds a tensor otherwise than torch.save does")
        items = math.prod(sizes)
        last = numbers[0] + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=False))
        if len(sizes) != len(strides) or items > storage.items or (items and last >= storage.items):
            raise ValueError("it has a tensor that is larger than the weights that it is made of")
        self._tensors += items * storage.item_bytes
        if self._tensors > _TIMES_THE_FILE * self._file_bytes:
            raise ValueError("its tensors are many times as large as the file")


def _numbers(values: Any) -> list[int] | None:
    """The numbers of a tuple; None where it is none, or holds anything but numbers from 0 on."""
    if not isinstance(values, tuple):
        return None
    numbers: list[int] = [value.value for value in values]
    return numbers if all(isinstance(number, int) and number >= 0 for number in numbers) else None


_CONSTANTS = frozenset(
    ["NONE", "NEWFALSE", "NEWTRUE", "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"]
)
_EMPTY = frozenset(["EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"])
_TUPLES = {"TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _checked_name(argument: str) -> str:
    name = argument.replace(" ", ".")
    if name not in _NAMED:
        raise pickle.UnpicklingError(f"it names {name:.80}.")
    return name
