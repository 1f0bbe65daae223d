"""The equations of the forward pass and of the error."""

import numpy as np

from bpjax.losses import Loss
from bpjax.teaching.derivation.blocks import Block, is_elementwise
from bpjax.teaching.derivation.formulas import Activation, LossFormula, activation_formula
from bpjax.teaching.derivation.places import docstring_equations, formula_place, place_of
from bpjax.teaching.derivation.steps import Line, Numbers, Step, Values
from bpjax.teaching.derivation.symbols import entry, factor, number, of_layer, products, vector

NOT_EXPANDED = "Its equations are not expanded here; its docstring says:"


def output_symbol(blocks: tuple[Block, ...], number: int) -> str:
    """Of block `number`: x for 0, o for the last."""
    return "x" if number == 0 else "o" if number == len(blocks) else of_layer("o", number)


def forward_steps(blocks: tuple[Block, ...], numbers: Numbers | None) -> list[Step]:
    """One step for each block."""
    return [_forward(blocks, block, numbers) for block in blocks]


def _forward(blocks: tuple[Block, ...], block: Block, numbers: Numbers | None) -> Step:
    x, o = output_symbol(blocks, block.number - 1), output_symbol(blocks, block.number)
    values = numbers.blocks[block.number - 1] if numbers else None
    title = f"Layer {block.number}: {block}"
    if not block.is_dense:
        return _not_expanded(title, block, x, o, values)
    w, b, a = (of_layer(symbol, block.number) for symbol in ("W", "b", "a"))
    small = of_layer("w", block.number)
    bias = (f" + {b}", f" + {b}ⱼ") if block.use_bias else ("", "")
    equation = f"{a} = {x} {w}{bias[0]}   {a}ⱼ = Σᵢ {x}ᵢ {small}ᵢⱼ{bias[1]}"
    worked = _net_inputs(a, values, numbers) if numbers and values else ()
    lines = [Line((equation,), (place_of(block.layer.forward),), worked), _activation(block, a, o, values, numbers)]
    formula = block.activation and activation_formula(block.activation)
    return Step(title, tuple(lines), f"{formula.constants}." if formula and formula.constants else "")


def _not_expanded(title: str, block: Block, x: str, o: str, values: Values | None) -> Step:
    layer = block.layer
    formula = activation_formula(layer) if is_elementwise(layer) else None
    function = _function(formula, x) if formula else f"f({x})   f = {layer!r}"
    worked = () if values is None else (f"{o} of shape {_shape(values.output)} from {_shape(values.input)}",)
    line = Line((f"{o} = {function}",), (place_of(layer.forward),), worked)
    if formula:
        return Step(title, (line,), f"{formula.constants}." if formula.constants else "")
    return Step(title, (line,), NOT_EXPANDED, tuple(docstring_equations(layer)))


def _shape(array) -> str:
    return str(tuple(np.shape(array)))


def _function(formula: Activation | None, x: str) -> str:
    return f"φ({x})" + (f"   φ(a) = {formula.phi}" if formula else "")


def _net_inputs(a: str, values: Values, numbers: Numbers) -> tuple[str, ...]:
    n, worked = numbers.example, []
    for j in range(min(values.net_input.shape[1], numbers.most)):
        terms = products(values.input[n], values.params.w[:, j], numbers.most)
        bias = "" if values.params.b is None else f" + {factor(values.params.b[j])}"
        worked.append(f"{entry(a, j)} = {terms}{bias} = {number(values.net_input[n, j])}")
    return tuple(worked)


def _activation(block: Block, a: str, o: str, values: Values | None, numbers: Numbers | None) -> Line:
    layer = block.activation
    if layer is None:
        return Line((f"{o} = {a}",))
    if block.is_softmax:
        equation = f"{o} = softmax({a})   {o}ⱼ = e^({a}ⱼ) / Σₖ e^({a}ₖ)"
    else:
        equation = f"{o} = {_function(activation_formula(layer), a)}"
    worked = []
    if numbers and values:
        n, name = numbers.example, "softmax" if block.is_softmax else "φ"
        for j in range(min(values.output.shape[1], numbers.most)):
            argument = (
                vector(values.net_input[n]) + entry("", j)
                if block.is_softmax
                else f"({number(values.net_input[n, j])})"
            )
            worked.append(f"{entry(o, j)} = {name}{argument} = {number(values.output[n, j])}")
    code = formula_place(layer.forward, "phi", f"{layer.name}: φ") if is_elementwise(layer) else place_of(layer.forward)
    return Line((equation,), (code,), tuple(worked))


def error_step(loss: Loss, formula: LossFormula | None, numbers: Numbers | None) -> Step:
    """Compare with the target."""
    equation = f"E = {formula.value}" if formula else f"E = {loss!r}(o, t)".replace("_", " ")
    worked = ()
    if numbers:
        n = numbers.example
        output, target = numbers.output[n], numbers.target[n]
        worked = (
            f"o = {vector(np.ravel(output))}   t = {vector(np.ravel(target))}",
            f"E = {number(numbers.value)} for the {numbers.examples} examples",
        )
    code = formula_place(loss.value, "value", f"{loss!r}: value")
    note = formula.note if formula else f"The formula of {loss!r} is not expanded here."
    return Step("Compare with the target", (Line((equation,), (code,), worked),), note, level=1)
