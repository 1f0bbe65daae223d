"""The function that trains: epochs of W runs in one loop, with the exchange of runs that have stopped.

train(scratch, lanes, control, constants)

control     int64: [next row, end of the rows, most epochs, whether no more rows come, live runs after the call]
            and from `FIRST` on the address of the row of each lane, 0 where there is none
"""

import numpy as np
from llvmlite import ir

from bpjax.sweeps.lanes.llvm.arrays import Array, in_memory, put
from bpjax.sweeps.lanes.llvm.dtypes import I32, I64, POINTER, Value, stored_size
from bpjax.sweeps.lanes.llvm.elementwise import convert
from bpjax.sweeps.lanes.llvm.emitter import Emitter, Memory
from bpjax.sweeps.lanes.llvm.program import Layouts, Parts, inputs_of, write_all
from bpjax.sweeps.lanes.llvm.rules import evaluate

NEXT, END, EPOCHS, LAST, LIVE, FIRST = 0, 1, 2, 3, 4, 8
"""Places in `control`."""
NEVER = -(2**31)
"""An epoch that no run reaches."""


class State:
    """The memory of `train`: how its parts are addressed."""

    def __init__(self, emitter: Emitter, layouts: Layouts, lanes: Value, control: Value):
        """Memory that two arguments of the function point to."""
        self.emitter, self.layouts, self.lanes, self.control = emitter, layouts, lanes, control
        self.memory = Memory(lanes)
        self.extra = layouts.run.bytes * emitter.width  # where the three vectors of int32 begin

    def slot(self, place) -> Value:
        """The address of an entry of `control`."""
        return self.emitter.b.gep(self.control, [self.emitter.index(place)], source_etype=I64)

    def entry(self, place) -> Value:
        """An entry of `control`."""
        return self.emitter.b.load(self.slot(place), typ=I64)

    def set_entry(self, place, value: Value) -> None:
        """Write an entry of `control`."""
        self.emitter.b.store(value, self.slot(place))

    def lane(self, offset: int, lane: Value, size: int) -> Value:
        """The address of a lane of the vector that begins `offset` bytes behind the lanes' begin."""
        e = self.emitter
        return e.address(self.lanes, e.add(e.times(lane, size), offset))

    def vector(self, number: int, lane: Value) -> Value:
        """The address of a lane of the extra vectors: 0 live, 1 due, 2 place."""
        return self.lane(self.extra + 4 * number * self.emitter.width, lane, 4)

    def whole(self, number: int) -> Value:
        """One of the extra vectors."""
        return in_memory(
            self.emitter, (), np.int32, self.memory, self.extra + 4 * number * self.emitter.width
        ).get(())  # fmt: skip


def swap_function(emitter: Emitter, layouts: Layouts, at: Value, count: int) -> ir.Function:
    """`swap(lanes, control)`: stopped runs return to their rows, waiting ones take their places.

    Args:
        emitter: writes the code.
        layouts: of the state.
        at: the epochs of the curves, in state.
        count: how many they are.
    """
    module = emitter.module
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER, POINTER]), "swap")
    function.linkage = "internal"
    function.attributes.add("noinline")
    outside, emitter.b = emitter.b, ir.IRBuilder(function.append_basic_block("start"))
    state, b, width = State(emitter, layouts, *function.args), emitter.b, emitter.width
    zero = ir.Constant(I64, 0)

    def exchange(lane, carried):
        row = state.entry(emitter.add(lane, FIRST))
        reason = b.load(state.lane(layouts.reason.offset * width, lane, 4), typ=I32)
        has_stopped = b.and_(b.icmp_signed("!=", row, zero), b.icmp_signed("!=", reason, ir.Constant(I32, 0)))
        with b.if_then(has_stopped):
            copy_entries(state, lane, b.inttoptr(row, POINTER), is_out=True)
            state.set_entry(emitter.add(lane, FIRST), zero)
        is_free = b.or_(has_stopped, b.icmp_signed("==", row, zero))
        waits = b.icmp_signed("!=", state.entry(NEXT), state.entry(END))
        with b.if_then(b.and_(is_free, waits)):
            new = state.entry(NEXT)
            state.set_entry(NEXT, b.add(new, ir.Constant(I64, layouts.run.stride)))
            state.set_entry(emitter.add(lane, FIRST), new)
            copy_entries(state, lane, b.inttoptr(new, POINTER), is_out=False)
            start_curves(state, lane, at, count)
        is_live = b.icmp_signed("!=", state.entry(emitter.add(lane, FIRST)), zero)
        b.store(b.sext(is_live, I32), state.vector(0, lane))
        return [b.add(carried[0], b.zext(is_live, I64))]

    (live,) = emitter.loop(width, exchange, [zero])
    state.set_entry(LIVE, live)
    b.ret_void()
    emitter.b = outside
    return function


def copy_entries(state: State, lane: Value, row: Value, is_out: bool) -> None:
    """Copy all entries of a run between its lane and its row."""
    emitter, rows, b = state.emitter, state.layouts.run, state.emitter.b
    for start, count, size in ((0, rows.doubles, 8), (8 * rows.doubles, rows.singles, 4)):
        if not count:
            continue
        kind = I64 if size == 8 else I32

        def copy(k, carry, start=start, size=size, kind=kind):
            in_row = emitter.address(row, emitter.add(emitter.times(k, size), start))
            entry = emitter.add(emitter.times(k, size * emitter.width), start * emitter.width)
            in_lane = emitter.address(state.lanes, emitter.add(entry, emitter.times(lane, size)))
            source, target = (in_lane, in_row) if is_out else (in_row, in_lane)
            b.store(b.load(source, typ=kind), target)
            return carry

        emitter.loop(count, copy)


def start_curves(state: State, lane: Value, table: Value, count: int) -> None:
    """The place in the curves at which a run continues, and the epoch of that place."""
    emitter, b = state.emitter, state.emitter.b
    epoch = b.load(state.lane(state.layouts.epoch.offset * emitter.width, lane, 4), typ=I32)
    passed = ir.Constant(I64, 0)

    def count_passed(k, carried):
        at = b.load(b.gep(table, [k], source_etype=I32), typ=I32)
        return [b.add(carried[0], b.zext(b.icmp_signed("<=", at, epoch), I64))]

    if count:
        (passed,) = emitter.loop(count, count_passed, [passed], is_dynamic=True)
    b.store(b.trunc(passed, I32), state.vector(2, lane))
    b.store(b.load(b.gep(table, [passed], source_etype=I32), typ=I32), state.vector(1, lane))


def train_function(emitter: Emitter, layouts: Layouts, parts: Parts, curve_epochs: tuple[int, ...]) -> None:
    """Write `train`."""
    at = emitter.table(ir.ArrayType(I32, len(curve_epochs) + 1), [*curve_epochs, NEVER])
    swap = swap_function(emitter, layouts, at, len(curve_epochs))
    _, lanes, control, constants = emitter.begin("train", 4)
    state = State(emitter, layouts, lanes, control)
    start, epoch, after_swap, end = (
        emitter.b.append_basic_block(name) for name in ("start", "epoch", "after_swap", "end")
    )
    emitter.b.branch(start)
    b = emitter.b
    b.position_at_end(start)
    b.call(swap, [lanes, control])
    most, is_last = state.entry(EPOCHS), b.icmp_signed("!=", state.entry(LAST), ir.Constant(I64, 0))

    def goes_on() -> Value:
        live = state.entry(LIVE)
        is_full = b.icmp_signed("==", live, ir.Constant(I64, emitter.width))
        is_some = b.icmp_signed(">", live, ir.Constant(I64, 0))
        return b.or_(is_full, b.and_(is_last, is_some))

    b.cbranch(b.and_(goes_on(), b.icmp_signed(">", most, ir.Constant(I64, 0))), epoch, end)
    b.position_at_end(epoch)
    done = b.phi(I64)
    done.add_incoming(ir.Constant(I64, 0), start)
    reason = one_epoch(state, parts, at if curve_epochs else None, constants)
    following = b.add(done, ir.Constant(I64, 1))
    has_time = b.icmp_signed("<", following, most)
    zeros = emitter.constant(0, np.int32)
    has_stopped = b.and_(b.icmp_signed("!=", reason, zeros), b.icmp_signed("!=", state.whole(0), zeros))
    exchange, next_epoch = b.append_basic_block("exchange"), b.append_basic_block("next_epoch")
    b.cbranch(emitter.any(has_stopped), exchange, next_epoch)
    b.position_at_end(next_epoch)
    b.cbranch(has_time, epoch, end)
    done.add_incoming(following, next_epoch)
    b.position_at_end(exchange)
    b.call(swap, [lanes, control])
    b.branch(after_swap)
    b.position_at_end(after_swap)
    b.cbranch(b.and_(has_time, goes_on()), epoch, end)
    done.add_incoming(following, after_swap)
    b.position_at_end(end)
    emitter.end()


def one_epoch(state: State, parts: Parts, at: Value | None, constants: Value) -> Value:
    """The code of an epoch of all lanes; the reasons after it.

    Args:
        state: of the function.
        parts: of the trial.
        at: the epochs of the curves, in memory, if there are any.
        constants: where the arrays lie that the trial closes over.
    """
    emitter, layouts, b = state.emitter, state.layouts, state.emitter.b
    inputs = inputs_of(emitter, layouts, state.memory, Memory(constants))
    epoch_of, reason_of = (
        in_memory(emitter, (), np.int32, state.memory, field.offset * emitter.width)
        for field in (layouts.epoch, layouts.reason)
    )
    was_running = b.icmp_signed("==", reason_of.get(()), emitter.constant(0, np.int32))
    *after, error = evaluate(emitter, parts.epoch, inputs.all)
    seen = error.get(()) if at is not None else None
    write_all(emitter, after, inputs.state, state.memory)
    if at is not None:
        is_due = b.and_(b.icmp_signed("==", epoch_of.get(()), state.whole(1)), was_running)
        with b.if_then(emitter.any(is_due)):
            enter_curves(state, parts, at, inputs.all, is_due, Array((), error.dtype, lambda _: seen))
    return reason_of.get(())


def enter_curves(state: State, parts: Parts, at: Value, arguments: list, is_due: Value, error: Array) -> None:
    """Write the error and the watched values of the lanes that are due into the curves of their rows."""
    emitter, layouts, b = state.emitter, state.layouts, state.emitter.b
    values = [error, *(evaluate(emitter, parts.watch, arguments) if parts.watch else [])]
    sources = []
    for value, field in zip(values, layouts.curves.values(), strict=True):
        memory = emitter.allocate(value.size, field.dtype)
        target = in_memory(emitter, value.shape, field.dtype, memory)
        emitter.nest(value.shape, lambda i, t=target, v=value: store_as(emitter, t, i, v))
        sources.append((memory, value.size, field))
    flags = emitter.allocate(1, np.int32)
    emitter.store(b.sext(is_due, emitter.vector("int32")), flags.base, 0, "int32")

    def enter(lane, carry):
        flag = b.load(b.gep(flags.base, [lane], source_etype=I32), typ=I32)
        with b.if_then(b.icmp_signed("!=", flag, ir.Constant(I32, 0))):
            row = b.inttoptr(state.entry(emitter.add(lane, FIRST)), POINTER)
            place = b.zext(b.load(state.vector(2, lane), typ=I32), I64)
            for memory, size, field in sources:
                copy_to_curve(emitter, memory.base, size, field, lane, row, place)
            following = b.add(place, ir.Constant(I64, 1))
            b.store(b.trunc(following, I32), state.vector(2, lane))
            b.store(b.load(b.gep(at, [following], source_etype=I32), typ=I32), state.vector(1, lane))
        return carry

    emitter.loop(emitter.width, enter)


def store_as(emitter: Emitter, target: Array, indices, value: Array) -> None:
    """Write an entry, in the dtype of the target where that is wider."""
    put(emitter, target, indices, convert(emitter, value.dtype, target.dtype, value.get(indices)))


def copy_to_curve(emitter: Emitter, base, size: int, field, lane, row, place) -> None:
    """Copy the entries of a lane to a place of a curve in a row."""
    if not size:
        return
    b, nbytes = emitter.b, stored_size(field.dtype)
    kind = I64 if nbytes == 8 else I32
    start = emitter.add(emitter.times(place, size * nbytes), field.offset)

    def copy(k, carry):
        entry = emitter.add(emitter.times(k, nbytes * emitter.width), emitter.times(lane, nbytes))
        value = b.load(emitter.address(base, entry), typ=kind)
        b.store(value, emitter.address(row, emitter.add(emitter.times(k, nbytes), start)))
        return carry

    emitter.loop(size, copy)
