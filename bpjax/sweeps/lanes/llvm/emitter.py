"""Writing LLVM code: types, constants, memory and loops. A value of W runs is a vector with one entry per run."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.dtypes import (
    I1,
    I8,
    I32,
    I64,
    POINTER,
    WIDENED,
    Value,
    element_of,
    in_memory_dtype,
    name_of,
    scalar_constant,
    stored_size,
)
from bpjax.sweeps.lanes.llvm.scratch import Scratch

ALIGNED = 64
"""Bytes at a multiple of which all memory begins."""
UNROLL = {False: 16, True: 4}
"""Entries up to which a loop nest is written out, in programs of small arrays alone and in others."""
SMALL = 64
"""Entries up to which arrays are small."""
FLUSHING = "llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr", 0x8040
"""Intrinsics that read and write the floating-point mode, and the bits for subnormal numbers as 0."""


@functools.lru_cache(maxsize=64)
def vector_type(element: ir.Type, count: int) -> ir.VectorType:
    """A type of vectors; its text is made once."""
    return ir.VectorType(element, count)


class Repeated(ir.Constant):
    """A constant whose text is made once."""

    @functools.cached_property
    def text(self) -> str:
        """As it stands in an instruction."""
        return super().get_reference()

    def get_reference(self) -> str:
        """See `text`."""
        return self.text


class Processor(NamedTuple):
    """What the code depends on beside the width; no number does, but for subnormal ones."""

    flushes: bool  # whether it has the mode of x86 in which subnormal numbers count as 0
    registers: int  # vectors that it holds


class Memory:
    """Where an array begins. Its scratch memory is free again when no array refers to it."""

    def __init__(self, base: Value):
        """Memory at an address."""
        self.base = base


class Emitter:
    """The state of writing one module: the builder of the current function, and its scratch memory."""

    def __init__(self, width: int, processor: Processor, largest: int = 1):
        """Start a module.

        Args:
            width: W, runs side by side.
            largest: entries of the largest array.
            processor: for which code is written.
        """
        self.width, self.flushes, self.unroll = width, processor.flushes, UNROLL[largest > SMALL]
        self.accumulators = processor.registers // 2
        self.module = ir.Module()
        self.b: Any = ir.IRBuilder()
        self.entry: Any
        self.scratch: Value
        self.constants: dict[tuple[str, str], ir.Constant] = {}
        self.scratch_bytes = 0  # that the functions of this module need
        self.pieces = Scratch(ALIGNED)

    def begin(self, name: str, arguments: int) -> list[ir.Argument]:
        """Start a function of so many pointers, which do not overlap; the first is scratch memory."""
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [POINTER] * arguments), name)
        for argument in function.args:
            argument.add_attribute("noalias")
        self.entry = function.append_basic_block("entry")
        self.b = ir.IRBuilder(function.append_basic_block("body"))
        self.scratch, self.pieces = function.args[0], Scratch(ALIGNED)
        self.mode = self.flushed()
        return list(function.args)

    def end(self) -> None:
        """Return from the function."""
        if self.mode is not None:
            self.call(FLUSHING[1], ir.VoidType(), [self.mode])
        self.b.ret_void()
        first = self.b.function.blocks[1]
        ir.IRBuilder(self.entry).branch(first)

    def flushed(self) -> Value | None:
        """Let subnormal numbers count as 0, as XLA does on CPUs; where the mode before is kept."""
        if not self.flushes:
            return None
        before, now = self.alloca(I32), self.alloca(I32)
        self.call(FLUSHING[0], ir.VoidType(), [before])
        self.b.store(self.b.or_(self.b.load(before, typ=I32), ir.Constant(I32, FLUSHING[2])), now)
        self.call(FLUSHING[1], ir.VoidType(), [now])
        return before

    # types and constants

    def vector(self, dtype) -> ir.VectorType:
        """The type of a value of W runs."""
        return vector_type(element_of(dtype), self.width)

    def constant(self, value, dtype) -> ir.Constant:
        """The same number for all runs; its text is made once."""
        element = element_of(dtype)
        scalar = scalar_constant(value, element)
        key = name_of(dtype), str(scalar)
        if key not in self.constants:
            self.constants[key] = Repeated(ir.VectorType(element, self.width), [scalar] * self.width)
        return self.constants[key]

    def index(self, value) -> Value:
        """An index as a value of LLVM."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, a, b):
        """The sum of two indices, folded where both are known."""
        a, b = (int(i) if isinstance(i, np.integer) else i for i in (a, b))
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if isinstance(a, int) and a == 0:
            return b
        if isinstance(b, int) and b == 0:
            return a
        return self.b.add(self.index(a), self.index(b), flags=("nsw",))

    def times(self, a, factor: int):
        """An index times a number."""
        if isinstance(a, int):
            return a * factor
        return a if factor == 1 else self.b.mul(a, ir.Constant(I64, factor), flags=("nsw",))

    def call(self, name: str, result: ir.Type, arguments: list) -> Value:
        """An intrinsic or external function, declared at its first use."""
        function = self.module.globals.get(name)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(result, [a.type for a in arguments]), name)
        return self.b.call(function, arguments)

    def vector_call(self, name: str, *arguments) -> Value:
        """An intrinsic on vectors of one type, such as "sqrt"."""
        kind = arguments[0].type
        suffix = {"float": "f32", "double": "f64"}.get(str(kind.element), str(kind.element))
        return self.call(f"llvm.{name}.v{kind.count}{suffix}", kind, list(arguments))

    def any(self, condition: Value) -> Value:
        """Whether a condition holds for any run."""
        return self.call(f"llvm.vector.reduce.or.v{self.width}i1", I1, [condition])

    # memory

    def address(self, base: Value, offset) -> Value:
        """`offset` bytes behind `base`."""
        return (
            base if isinstance(offset, int) and offset == 0 else self.b.gep(base, [self.index(offset)], source_etype=I8)
        )

    def alignment(self, dtype) -> int:
        """Bytes at a multiple of which a value of W runs lies."""
        return min(ALIGNED, stored_size(dtype) * self.width)

    def load(self, base: Value, offset, dtype) -> Value:
        """The value of W runs that lies `offset` bytes behind `base`."""
        kind = self.vector(in_memory_dtype(dtype))
        value = self.b.load(self.address(base, offset), typ=kind, align=self.alignment(dtype))
        return self.narrowed(value, dtype)

    def narrowed(self, value: Value, dtype) -> Value:
        """A value, or a scalar, that was read from memory, in its dtype."""
        if name_of(dtype) not in WIDENED:
            return value
        is_vector = isinstance(value.type, ir.VectorType)
        if name_of(dtype) == "bool":
            zero = ir.Constant(value.type, [0] * self.width if is_vector else 0)
            return self.b.icmp_signed("!=", value, zero)
        return self.b.trunc(value, self.vector(dtype) if is_vector else element_of(dtype))

    def widened(self, value: Value, dtype) -> Value:
        """A value as it lies in memory."""
        if name_of(dtype) not in WIDENED:
            return value
        return (self.b.sext if name_of(dtype) == "int8" else self.b.zext)(value, self.vector("int32"))

    def store(self, value: Value, base: Value, offset, dtype) -> None:
        """Write a value of W runs."""
        value = self.widened(value, dtype)
        self.b.store(value, self.address(base, offset), align=self.alignment(dtype))

    def splat(self, scalar: Value) -> Value:
        """A scalar repeated for all runs."""
        kind = ir.VectorType(scalar.type, self.width)
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
        places = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        return self.b.shuffle_vector(one, ir.Constant(kind, ir.Undefined), places)

    def alloca(self, kind: ir.Type) -> ir.AllocaInstr:
        """Memory of the current function."""
        place = self.b.alloca(kind)
        place.type = POINTER  # llvmlite still gives it a type that LLVM no longer has
        return place

    def table(self, kind: ir.ArrayType, values: list) -> ir.GlobalVariable:
        """Constants in memory."""
        variable: Any = ir.GlobalVariable(self.module, kind, self.module.get_unique_name("table"))
        variable.global_constant, variable.linkage = True, "internal"
        variable.initializer = ir.Constant(kind, values)
        variable.type = POINTER
        return variable

    def allocate(self, entries: int, dtype) -> "Memory":
        """Memory for so many values of W runs: registers where it is small, else scratch memory."""
        size = stored_size(dtype) * self.width
        if entries <= self.unroll:
            with self.b.goto_block(self.entry):
                place: Any = self.alloca(ir.ArrayType(I8, max(1, entries) * size))
                place.align = ALIGNED
            return Memory(place)
        offset = self.pieces.take(entries * size)
        self.scratch_bytes = max(self.scratch_bytes, self.pieces.most)
        with self.b.goto_block(self.entry):
            memory = Memory(self.b.gep(self.scratch, [ir.Constant(I64, offset)], source_etype=I8))
        self.pieces.keep_for(memory, offset)
        return memory

    # loops

    def loop(
        self,
        count: int,
        body: Callable,
        carry: Iterable[Value] = (),
        written_out: bool = False,
        is_dynamic: bool = False,
    ) -> list[Value]:
        """`carry = body(i, carry)` for i = 0, 1, … `count` - 1, at least once; the last carry."""
        carry = list(carry)
        if written_out or (count == 1 and not is_dynamic):
            for i in range(count):
                carry = list(body(i, carry))
            return carry
        before, head, after = self.b.block, self.b.append_basic_block("loop"), self.b.append_basic_block("after")
        self.b.branch(head)
        self.b.position_at_end(head)
        i = self.b.phi(I64)
        i.add_incoming(ir.Constant(I64, 0), before)
        carried = []
        for value in carry:
            phi = self.b.phi(value.type)
            phi.add_incoming(value, before)
            carried.append(phi)
        results = list(body(i, carried))
        following = self.b.add(i, ir.Constant(I64, 1), flags=("nsw",))
        i.add_incoming(following, self.b.block)
        for phi, result in zip(carried, results, strict=True):
            phi.add_incoming(result, self.b.block)
        self.b.cbranch(self.b.icmp_signed("<", following, self.index(count)), head, after)
        self.b.position_at_end(after)
        return results

    def nest(self, shape, body: Callable, prefix: tuple = ()) -> None:
        """`body(indices)` for every entry of `shape`, the last axis fastest."""
        if len(prefix) == len(shape):
            body(prefix)
            return
        left = math.prod(shape[len(prefix) :])
        if left == 0:
            return

        def inner(i, carry):
            self.nest(shape, body, (*prefix, i))
            return carry

        self.loop(shape[len(prefix)], inner, written_out=left <= self.unroll)
