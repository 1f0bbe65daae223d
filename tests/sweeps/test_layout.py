"""The choice of a layout: work counted by hand, and the order of the layouts as it was measured."""

import jax
import jax.numpy as jnp
import pytest

from bpjax.sweeps.lanes.counts import count_work
from bpjax.sweeps.lanes.layout import choose_layout

W = jnp.ones((64, 100))


def chosen(f, *shapes, name="auto", shared=0):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return choose_layout(name, arguments, jax.make_jaxpr(f)(*arguments), shared)


def test_work_is_counted_per_iteration_and_without_what_runs_share():
    def f(data, x):
        shared = jnp.tanh(data) @ data.T
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ W) @ W.T, None), x + shared.sum(), None, length=3)[0]

    jaxpr = jax.make_jaxpr(f)(jnp.ones((5, 7)), jnp.ones((2, 64)))
    work = count_work(jaxpr, [False, True])
    assert work.iterations == 3 and work.expensive == 3 * 2 * 100
    assert work.large_products == work.shared_products == 3 * 2 * 2 * 64 * 100
    assert work.elementwise == 2 * 64 and count_work(jaxpr).expensive == 3 * 2 * 100 + 5 * 7


def test_small_programs_run_in_lanes_and_large_products_elsewhere():
    assert chosen(lambda x: jnp.tanh(x) * 2, (9,)).layout[:2] == ("lanes", 256)
    large = chosen(lambda a, b: a @ b, (1000, 500), (500, 300))
    assert large.layout.name in ("vmap", "single") and "µs" in large.why


@pytest.mark.parametrize("name", ["lanes", "vmap", "single"])
def test_a_layout_by_name(name):
    choice = chosen(lambda a, b: a @ b, (1000, 500), (500, 300), name=name)
    assert choice.layout.name == name and choice.why == "asked for by name"
    assert choice.layout.feed == choice.layout.width  # a run's state is large: no more are prepared than trained
    assert chosen(lambda x: x + 1, (9,), name=name).layout.feed == 1024


def test_no_such_layout():
    with pytest.raises(ValueError, match="one of auto, lanes, vmap, single"):
        chosen(lambda x: x, (2,), name="rows")
