"""The static arguments of an attention layer, checked."""

from typing import NamedTuple

from bpjax.layers.attention.positions import check_even
from bpjax.layers.initializers import Initializer, initializer
from bpjax.util.call_text import call_text, shown
from bpjax.util.checks import check_choice, check_count, check_flag, check_number, is_concrete

ALIGNMENTS = ("top_left", "bottom_right")


class Form(NamedTuple):
    """The static arguments of an attention layer."""

    who: str
    heads: int
    head_features: int | None
    causal: bool | str
    rotary: bool
    use_bias: bool
    weights: Initializer
    biases: Initializer
    block: int | None
    key_heads: int
    window: int | None
    bias: str | None
    dropout: float

    @property
    def is_causal(self) -> bool:
        """Whether a query sees no later keys."""
        return self.causal is not False

    def offset(self, queries: int, keys: int) -> int:
        """The key that stands at the place of the first query."""
        return keys - queries if self.causal == "bottom_right" else 0

    def text(self) -> str:
        """The arguments of the call, for `repr`."""
        return call_text(
            self.heads,
            head_features=(self.head_features, None),
            causal=(self.causal, False),
            rotary=(self.rotary, False),
            use_bias=(self.use_bias, True),
            block=(self.block, None if self.block is None else 128),
            key_heads=(self.key_heads, self.heads),
            window=(self.window, None),
            bias=(self.bias, None),
            dropout=(self.dropout, 0.0),
        )


def make_form(
    who: str,
    heads: int,
    head_features: int | None,
    use_bias: bool,
    weights: str | Initializer,
    biases: str | Initializer,
    block: int | None,
    *,
    causal: bool | str = False,
    rotary: bool = False,
    key_heads: int | None = None,
    window: int | None = None,
    bias: str | None = None,
    dropout: float = 0.0,
) -> Form:
    """The static arguments of a layer `who`, checked, or a `ValueError`; the arguments are those of `attention`."""
    heads = check_count(who, "heads", heads)
    use_bias, rotary = check_flag(who, "use_bias", use_bias), check_flag(who, "rotary", rotary)
    causal = check_choice_of_alignment(who, causal)
    if head_features is not None:
        head_features = check_count(who, "head_features", head_features)
    if rotary and head_features is not None:
        check_even(who, "number of features of a head with `rotary`", head_features)
    key_heads = heads if key_heads is None else check_count(who, "key_heads", key_heads)
    if heads % key_heads:
        raise ValueError(f"`{who}` expected `key_heads` to divide the {heads} heads, got {key_heads}.")
    window = None if window is None else check_count(who, "window", window)
    if bias is not None:
        check_choice(who, "bias", bias, ("alibi", "relative"))
    check_number(who, "dropout", dropout, least=0.0)
    if not is_concrete(dropout) or not float(dropout) < 1:
        raise ValueError(f"`{who}` expected `dropout` to be a number below 1, got {shown(dropout)}.")
    block = None if block is None else check_count(who, "block", block)
    return Form(
        who, heads, head_features, causal, rotary, use_bias, initializer(weights), initializer(biases), block,
        key_heads, window, bias, float(dropout),
    )  # fmt: skip


def check_choice_of_alignment(who: str, causal) -> bool | str:
    """`causal` itself, a flag, or for T ≠ S the name of an alignment, or a `ValueError`."""
    if isinstance(causal, str):
        check_choice(who, "causal", causal, ALIGNMENTS)
        return causal
    return check_flag(who, "causal", causal)
