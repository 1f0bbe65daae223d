"""Equations in Unicode as LaTeX: one text is the source of both."""

import re

RAISED = dict(zip("⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵃᵒ", "()0123456789-ao", strict=True)) | {"ᵀ": r"\top"}
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖₙ", "0123456789ijkn", strict=True))

SIGNS = {
    "½": r"\tfrac{1}{2} ", "⊙": r"\odot ", "·": r"\cdot ", "−": "-", "∂": r"\partial ", "δ": r"\delta ",
    "Δ": r"\Delta ", "η": r"\eta ", "φ": r"\varphi ", "σ": r"\sigma ", "Φ": r"\Phi ", "θ": r"\theta ", "π": r"\pi ",
    "Σ": r"\sum", "′": "'", "…": r"\dots ", "≤": r"\le ", "≥": r"\ge ", "∞": r"\infty ", "×": r"\times ",
}  # fmt: skip

WORDS = {
    r"\bsoftmax\b": r"\\operatorname{softmax}",
    r"\b(clip|sign)\b": r"\\operatorname{\1}",
    r"\bNaN\b": r"\\mathrm{NaN}",
    r"\b(where|else|more|examples)\b": r"\\text{ \1 }",
    r"\b(ln|tanh|max|min)\b": r"\\\1 ",
}


def to_latex(equation: str) -> str:
    """A Unicode equation as LaTeX, for math mode."""
    text = re.sub(r" {2,}", "\0", equation)
    text = re.sub(r"√\(([^()]*)\)", r"\\sqrt{\1}", text)
    text = re.sub(r"e\^\(([^()]*)\)", r"e^{\1}", text)
    text = re.sub(f"[{''.join(RAISED)}]+", lambda run: _run("^", run[0], RAISED), text)
    text = re.sub(f"[{''.join(LOWERED)}]+", lambda run: _run("_", run[0], LOWERED), text)
    for pattern, word in WORDS.items():
        text = re.sub(pattern, word, text)
    for sign, command in SIGNS.items():
        text = text.replace(sign, command)
    return re.sub(r" +", " ", text).replace("\0", r" \quad ").strip()


def _run(mark: str, run: str, letters: dict[str, str]) -> str:
    return f"{mark}{{{''.join(letters[sign] for sign in run)}}}"
