"""The skeleton files of docs/adding.md pass the laws of layers, rules and optimizers: a copy of one begins green."""

import importlib.util
from pathlib import Path

import pytest
from layers import test_layers as layer_laws  # pyright: ignore[reportMissingImports]
from optimizers import test_optimizer_laws as optimizer_laws  # pyright: ignore[reportMissingImports]
from rules import test_rule_laws as rule_laws  # pyright: ignore[reportMissingImports]

from bpjax.optimizers import static_part
from bpjax.optimizers.registry import OPTIMIZERS
from bpjax.rules.registry import RULES

FOLDER = Path(__file__).parents[1] / "docs" / "skeletons"
LAYER_LAWS = (
    "init_returns_the_shape_of_the_output",
    "backward_is_the_vjp_of_forward",
    "backward_is_the_central_difference_of_forward",
    "backward_is_the_adjoint_of_the_jacobian",
    "gradient_of_a_sum_is_the_sum_of_gradients",
    "jit_equals_eager",
    "gradients_have_the_structure_and_shapes_of_params_and_x",
    "every_dtype_agrees_with_the_truth_in_float64",
    "residuals_hold_no_parameters",
)
RULE_LAWS = (
    "gradients_have_the_structure_of_params_and_the_value_is_the_loss",
    "jit_is_the_eager_rule",
    "only_exact_rules_give_the_gradient",
    "params_and_state_never_share_an_array",
    "the_rule_has_its_network_and_loss_and_a_readable_repr",
    "vmapped_scans_are_separate_loops_and_change_all_params",
    "the_hyperparameter_changes_the_run_and_may_be_traced",
)
OPTIMIZER_LAWS = (
    "it_learns_a_quadratic",
    "bfloat16_follows_float32",
    "eager_jit_and_scan_agree_and_the_step_compiles_once",
    "it_works_in_a_chain_behind_a_clip",
    "a_mask_leaves_the_rest_unchanged",
)


def case_of(skeleton):
    """The row that a skeleton would add to its registry."""
    spec = importlib.util.spec_from_file_location(f"skeleton_{skeleton}", FOLDER / f"{skeleton}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASE


@pytest.mark.thorough
@pytest.mark.parametrize("law", LAYER_LAWS)
def test_the_layer_passes_the_laws(law):
    getattr(layer_laws, f"test_{law}")(CASES["layer"])


@pytest.mark.thorough
@pytest.mark.parametrize("law", RULE_LAWS)
def test_the_rule_passes_the_laws(law, monkeypatch):
    monkeypatch.setitem(RULES, "skeleton", CASES["rule"])
    getattr(rule_laws, f"test_{law}")("skeleton")


@pytest.mark.thorough
@pytest.mark.parametrize("law", OPTIMIZER_LAWS)
def test_the_optimizer_passes_the_laws(law, monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "skeleton", CASES["optimizer"])
    getattr(optimizer_laws, f"test_{law}")("skeleton")


CASES = {skeleton: case_of(skeleton) for skeleton in ("layer", "rule", "optimizer")}


def test_there_is_a_row_in_every_skeleton():
    assert {file.stem for file in FOLDER.glob("*.py")} == set(CASES)


def test_other_values_of_the_optimizer_are_the_same_program():
    case = CASES["optimizer"]
    assert static_part(case.make(0.1)) == static_part(case.make(0.2))
