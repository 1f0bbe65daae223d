"""Which primitives of JAX the table covers, and why it leaves out the others."""

import re

import jax.lax
import jax.lax.linalg
from elementwise_cases import CASES

from bpjax.tape.control_flow import STRUCTURES
from bpjax.tape.derivatives import DERIVATIVES, ZERO_DERIVATIVE, complex, selection

WITHOUT_ENTRY = {
    "their results are integers or booleans": """
        and or xor not eq ne lt le gt ge eq_to lt_to le_to is_finite clz population_count mulhi argmax argmin
        reduce_and reduce_or reduce_xor shift_left shift_right_arithmetic shift_right_logical
        lu_pivots_to_permutation axis_index rng_bit_generator""",
    "they have no inputs, or tokens": "iota after_all create_token dce_sink",
    "JAX has no derivative either": """
        igamma_grad_a rng_uniform cholesky_update hessenberg householder_product ormqr schur tridiagonal
        select_and_scatter""",
    "communication between devices, left to jax.vjp": """
        psum pmax pmin ppermute all_gather all_to_all ragged_all_to_all sharding_constraint device_put""",
    "a function inside, left to jax.vjp": "reduce",
    "removed when JAX traces": "stage",
}
"""Reason -> names of primitives of `jax.lax` without an entry."""

LISTED = {name for names in WITHOUT_ENTRY.values() for name in names.split()}
COVERED = DERIVATIVES.keys() | ZERO_DERIVATIVE | STRUCTURES.keys()


def primitives_of_jax() -> set[str]:
    members = [getattr(module, name) for module in (jax.lax, jax.lax.linalg) for name in dir(module)
               if name.endswith("_p")]  # fmt: skip
    return {member.name for member in members if hasattr(member, "multiple_results")}


def test_every_primitive_of_jax_has_an_entry_or_a_reason():
    assert primitives_of_jax() - COVERED - LISTED == set()


def test_no_primitive_has_both():
    assert LISTED & COVERED == set()


def test_the_table_has_the_entries_that_were_promised():
    assert len(DERIVATIVES.keys() & primitives_of_jax()) >= 100


def test_every_elementwise_entry_has_a_case():
    modules = {complex.__name__, selection.__name__}
    entries = {name for name, d in DERIVATIVES.items() if d.elementwise or d.backward.__module__ in modules}
    entries |= ZERO_DERIVATIVE
    tested = {case.primitive for case in CASES.cases.values()}
    only_in_newer_jax = {"log2", "one_minus_square", "polynomial"} - primitives_of_jax()
    assert entries - tested - only_in_newer_jax == set()


def test_the_first_line_of_an_elementwise_entry_is_its_operation_and_derivative():
    lines = [d.equation.splitlines()[0] for d in DERIVATIVES.values() if d.elementwise]
    assert [line for line in lines if not re.match(r"\w = .+      (d\w/d|∂\w/∂)", line)] == []


def test_every_entry_has_an_equation():
    assert [name for name, d in DERIVATIVES.items() if "=" not in d.equation] == []
