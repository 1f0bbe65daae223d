"""The equations of the backward pass: δ of every layer, expanded back to the error."""

import re

import jax
import numpy as np

from bpjax.losses import Loss
from bpjax.teaching.derivation.blocks import Block, is_elementwise
from bpjax.teaching.derivation.formulas import Activation, LossFormula, activation_formula
from bpjax.teaching.derivation.forward import NOT_EXPANDED, output_symbol
from bpjax.teaching.derivation.places import docstring_equations, formula_place, place_of
from bpjax.teaching.derivation.steps import Line, Numbers, Step
from bpjax.teaching.derivation.symbols import entry, factor, number, of_layer, products, vector

USES_OUTPUT = re.compile("(?<![a-z])o(?![a-z])")


class Backward:
    """The backward pass of one network: short and expanded expressions for the errors, layer by layer."""

    def __init__(self, blocks: tuple[Block, ...], loss: Loss, formula: LossFormula | None, numbers: Numbers | None):
        self.blocks, self.loss, self.formula, self.numbers = blocks, loss, formula, numbers
        self.deltas: dict[int, str] = {}  # δ of each dense block, expanded
        self.steps = self._steps()

    def _steps(self) -> list[Step]:
        gradient = self.formula.gradient if self.formula else "∂E/∂o"
        steps, short, expanded = [self._loss()], gradient, gradient
        for block in reversed(self.blocks):
            if block.is_dense:
                delta = of_layer("δ", block.number)
                step = self._delta(block, short, expanded)
                short = f"{delta} {of_layer('W', block.number)}ᵀ"
                expanded = f"{_wrapped(self.deltas[block.number])} {of_layer('W', block.number)}ᵀ"
            else:
                step, short, expanded = self._through(block, short, expanded)
            steps.append(step)
        return steps

    def may_have_weights(self, block: Block) -> bool:
        """Whether a layer has params, where they are known."""
        return self.numbers is None or bool(jax.tree.leaves(self.numbers.blocks[block.number - 1].params))

    def _loss(self) -> Step:
        equation = f"∂E/∂o = {self.formula.gradient}" if self.formula else f"∂E/∂o of {self.loss!r}".replace("_", " ")
        code = formula_place(self.loss.gradient, "gradient", f"{self.loss!r}: gradient")
        return Step("At the output", (Line((equation,), (code,), self._loss_numbers()),))

    def _loss_numbers(self) -> tuple[str, ...]:
        numbers = self.numbers
        if numbers is None:
            return ()
        n = numbers.example
        o, t, e = (np.ravel(array[n]) for array in (numbers.output, numbers.target, numbers.blocks[-1].error))
        gradient = self.formula.gradient if self.formula else ""
        left = _probabilities(o, self.formula.probabilities) if self.formula and gradient == "p − t" else o
        worked = []
        for k in range(min(len(e), numbers.most)):
            inside = f"{number(left[k])} − {factor(t[k])} = " if gradient in ("o − t", "p − t") else ""
            worked.append(f"{entry('∂E/∂o', k)} = {inside}{number(e[k])}")
        return tuple(worked)

    def _delta(self, block: Block, short: str, expanded: str) -> Step:
        delta, a = of_layer("δ", block.number), of_layer("a", block.number)
        layer, last = block.activation, block.number == len(self.blocks)
        formula = activation_formula(layer) if layer else None
        if layer is None:
            first, full = f"{delta} = {short}", expanded
            codes = []
        elif block.is_softmax:
            o = output_symbol(self.blocks, block.number)
            first = f"{delta} = {o} ⊙ (e − Σₖ eₖ {o}ₖ)   e = {short}"
            full, codes = f"{o} ⊙ (e − Σₖ eₖ {o}ₖ)", [place_of(layer.backward)]
        else:
            first = f"{delta} = φ′({a}) ⊙ {_wrapped(short)}{_slope(formula)}"
            full = f"φ′({a}) ⊙ {_wrapped(expanded)}"
            codes = [formula_place(layer.backward, "derivative", f"{layer.name}: φ′")]
        self.deltas[block.number] = full
        equations = [first]
        if not last and self.blocks[block.number].is_dense:
            equations.append(self._component(block, delta, a, layer is not None and not block.is_softmax))
            later = place_of(self.blocks[block.number].layer.backward)
            codes.append(later._replace(name=f"{later.name} of layer {block.number + 1}"))
        if full != first.split(" = ", 1)[1].split("   ")[0]:
            equations.append(f"{delta} = {full}")
        return Step(
            f"Layer {block.number}: {block}", (Line(tuple(equations), tuple(codes), self._delta_numbers(block)),)
        )

    def _component(self, block: Block, delta: str, a: str, slope: bool) -> str:
        """The sum over the units of the next layer."""
        later = block.number + 1
        total = f"Σₖ {of_layer('w', later)}ⱼₖ {of_layer('δ', later)}ₖ"
        return f"{delta}ⱼ = φ′({a}ⱼ) {total}" if slope else f"∂E/∂{output_symbol(self.blocks, block.number)}ⱼ = {total}"

    def _delta_numbers(self, block: Block) -> tuple[str, ...]:
        numbers = self.numbers
        if numbers is None:
            return ()
        values, n = numbers.blocks[block.number - 1], numbers.example
        later = self.blocks[block.number] if block.number < len(self.blocks) else None
        worked = []
        for j in range(min(values.delta.shape[1], numbers.most)):
            error = number(values.error[n, j])
            if later is not None and later.is_dense:
                after = numbers.blocks[later.number - 1]
                error = products(after.params.w[j], after.delta[n], numbers.most)
                error = f"({error})" if values.slope is not None else error
            elif values.slope is not None:
                error = factor(values.error[n, j])
            if block.is_softmax:
                inner = float(np.sum(values.error[n] * values.output[n]))
                error = f"{number(values.output[n, j])} · ({number(values.error[n, j])} − {factor(inner)})"
            slope = f"{factor(values.slope[n, j])} · " if values.slope is not None else ""
            result = number(values.delta[n, j])
            inside = "" if f"{slope}{error}" == result else f"{slope}{error} = "
            worked.append(f"{entry(of_layer('δ', block.number), j)} = {inside}{result}")
        return tuple(worked)

    def _through(self, block: Block, short: str, expanded: str) -> tuple[Step, str, str]:
        """The error passes a layer that is not expanded: ∂E by its input."""
        layer, number_ = block.layer, block.number
        x, o = output_symbol(self.blocks, number_ - 1), output_symbol(self.blocks, number_)
        formula = activation_formula(layer) if is_elementwise(layer) else None
        title = f"Layer {number_}: {block}"
        if formula:
            first, full = f"φ′({x}) ⊙ {_wrapped(short)}", f"φ′({x}) ⊙ {_wrapped(expanded)}"
            equations = [f"∂E/∂{x} = {first}{_slope(formula)}"]
            code = formula_place(layer.backward, "derivative", f"{layer.name}: φ′")
        else:
            jacobian = of_layer("J", number_)
            first, full = f"{_wrapped(short)} {jacobian}", f"{_wrapped(expanded)} {jacobian}"
            equations = [f"∂E/∂{x} = {first}   {jacobian} = ∂{o}/∂{x}"]
            code = place_of(layer.backward)
        worked = ()
        if self.numbers is not None:
            back = np.asarray(self.numbers.blocks[number_ - 1].back[self.numbers.example], np.float64)
            worked = (f"∂E/∂{x} = {vector(np.ravel(back))}",) if np.issubdtype(back.dtype, np.floating) else ()
        quoted = () if formula else tuple(docstring_equations(layer))
        line = Line(tuple(equations), (code,), worked)
        return Step(title, (line,), "" if formula else NOT_EXPANDED, quoted), first, full


def _slope(formula: Activation | None) -> str:
    """The formula of φ′, and what its o is."""
    if formula is None:
        return ""
    return f"   φ′(a) = {formula.derivative}" + ("   o = φ(a)" if USES_OUTPUT.search(formula.derivative) else "")


def _wrapped(expression: str) -> str:
    """The expression, in parentheses where it is a sum, a product or a difference."""
    return f"({expression})" if " " in expression else expression


def _probabilities(o, kind: str):
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-o))
    powers = np.exp(o - o.max())
    return powers / powers.sum()


def change_steps(backward: Backward) -> list[Step]:
    """Change the weights: one step for each dense layer, those of other layers in their docstrings' words."""
    steps = []
    for block in backward.blocks:
        if block.is_dense:
            steps.append(_change(backward, block))
        elif not is_elementwise(block.layer) and backward.may_have_weights(block):
            sentence = "If it has weights they change by −η ∂E/∂w, with the ∂E/∂w that its backward pass returns."
            line = Line(
                (f"Δ{of_layer('θ', block.number)} = −η ∂E/∂{of_layer('θ', block.number)}",),
                (place_of(block.layer.backward),),
            )
            steps.append(Step(f"Layer {block.number}: {block}", (line,), sentence))
    return steps


def _change(backward: Backward, block: Block) -> Step:
    blocks, numbers = backward.blocks, backward.numbers
    x, delta = output_symbol(blocks, block.number - 1), of_layer("δ", block.number)
    w, b, small = (of_layer(symbol, block.number) for symbol in ("W", "b", "w"))
    code = (place_of(block.layer.backward),)
    weights = [
        f"Δ{w} = −η {x}ᵀ {delta}   Δ{small}ᵢⱼ = −η Σₙ {delta}ⱼ {x}ᵢ",
        f"Δ{w} = −η {x}ᵀ {_wrapped(backward.deltas[block.number])}",
    ]
    lines = [Line(tuple(weights), code, _weight_numbers(block, numbers))]
    if block.use_bias:
        lines.append(Line((f"Δ{b} = −η Σₙ {delta}",), code, _bias_numbers(block, numbers)))
    return Step(f"Layer {block.number}: {block}", tuple(lines))


def _weight_numbers(block: Block, numbers: Numbers | None) -> tuple[str, ...]:
    if numbers is None:
        return ()
    values, eta, worked = numbers.blocks[block.number - 1], numbers.learning_rate, []
    change = -eta * values.input.T @ values.delta
    for i, j in np.ndindex(min(change.shape[0], numbers.most), min(change.shape[1], numbers.most)):
        terms = products(values.delta[:, j], values.input[:, i], numbers.most)
        name = entry(of_layer("Δw", block.number), i, j)
        worked.append(f"{name} = −{number(eta)} · ({terms}) = {number(change[i, j])}")
    return tuple(worked)


def _bias_numbers(block: Block, numbers: Numbers | None) -> tuple[str, ...]:
    if numbers is None:
        return ()
    values, eta, worked = numbers.blocks[block.number - 1], numbers.learning_rate, []
    for j in range(min(values.delta.shape[1], numbers.most)):
        column = values.delta[:, j]
        shown = [factor(value) for value in column[: numbers.most]]
        terms = " + ".join(shown) if len(column) > 1 else number(column[0])
        terms += f" + … {len(column) - numbers.most} more" if len(column) > numbers.most else ""
        name = entry(of_layer("Δb", block.number), j)
        worked.append(f"{name} = −{number(eta)} · ({terms}) = {number(-eta * column.sum())}")
    return tuple(worked)
