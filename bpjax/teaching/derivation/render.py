"""A derivation as text, Markdown, LaTeX and HTML."""

import html as escaping
import itertools
import textwrap

from bpjax.tape.table import as_html, rows_of
from bpjax.teaching.derivation.latex import to_latex

STYLE = (
    "font-family: 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 0.9em; white-space: pre-wrap; "
    "margin: 0.1em 0 0.1em 1.5em"
)


def numbered(steps):
    """(title, step): steps of the algorithm are numbered, layers are not."""
    count = itertools.count(1)
    for step in steps:
        yield (f"{next(count)}. {step.title}" if step.level == 1 else step.title), step


def text(derivation) -> str:
    """Unicode text."""
    if derivation.tape is not None:
        return str(derivation.tape)
    lines = derivation.title.splitlines()
    for title, step in numbered(derivation.steps):
        if step.level == 1:
            lines += ["", title, "─" * len(title)]
        else:
            lines += ["", title]
        lines += textwrap.wrap(step.note, 80)
        lines += [f"    {line}" for line in step.quoted]
        for line in step.lines:
            lines += [f"  {equation}" for equation in line.equations]
            lines += [f"      {worked}" for worked in line.numbers]
            lines += [f"      code: {place}" for place in line.code]
    return "\n".join(lines).strip() + "\n"


def markdown(derivation) -> str:
    """Markdown with display equations."""
    first, *rest = derivation.title.splitlines()
    parts = [f"## {first}", *rest]
    if derivation.tape is not None:
        return "\n\n".join([*parts, f"```text\n{derivation.tape}\n```"])
    for title, step in numbered(derivation.steps):
        parts.append(f"{'###' if step.level == 1 else '####'} {title}")
        parts += [step.note] if step.note else []
        parts += ["```text\n" + "\n".join(step.quoted) + "\n```"] if step.quoted else []
        for line in step.lines:
            parts += [f"$$\n{to_latex(equation)}\n$$" for equation in line.equations]
            if line.numbers:
                worked = " \\\\\n".join(_aligned(row) for row in line.numbers)
                parts.append(f"$$\n\\begin{{aligned}}\n{worked}\n\\end{{aligned}}\n$$")
            parts += ["Code: " + ", ".join(f"`{place}`" for place in line.code)] if line.code else []
    return "\n\n".join(parts) + "\n"


def latex(derivation) -> str:
    """One `aligned` environment; the tape as an `array`."""
    if derivation.tape is not None:
        return _tape_latex(derivation.tape)
    rows = []
    for title, step in numbered(derivation.steps):
        rows.append(rf"& \textbf{{{_latex_text(title)}}}")
        for line in step.lines:
            rows += [_aligned(to_latex(equation), translated=True) for equation in line.equations]
            rows += [_aligned(row) for row in line.numbers]
            rows += [rf"& \texttt{{\small {_latex_text(str(place))}}}" for place in line.code]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def _aligned(equation: str, translated: bool = False) -> str:
    """An equation that is aligned at its first equals sign."""
    body = equation if translated else to_latex(equation)
    left, sign, right = body.partition("=")
    return f"{left}& {sign} {right.lstrip()}" if sign else f"& {body}"


LATEX_TEXT = str.maketrans(
    {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "φ": r"$\varphi$", "′": "$'$", "−": "$-$", "{": r"\{", "}": r"\}"}
)


def _latex_text(words: str) -> str:
    return words.translate(LATEX_TEXT)


def _tape_latex(tape) -> str:
    rows = [r"\text{line} & \text{operation} & \text{value} & \text{adjoint}"]
    for row in rows_of(tape):
        cells = row.cells or ("", "", "", row.heading, "", "")
        rows.append(" & ".join(rf"\texttt{{{_latex_text(cell)}}}" if cell else "" for cell in (cells[1], *cells[3:])))
    return "\\begin{array}{llll}\n" + " \\\\\n".join(rows) + "\n\\end{array}"


def html(derivation) -> str:
    """HTML without scripts."""
    if derivation.tape is not None:
        return as_html(derivation.tape)
    escape = escaping.escape
    first, *rest = derivation.title.splitlines()
    parts = ["<div class='bpjax-derivation'>", f"<h3>{escape(first)}</h3>", *(f"<p>{escape(row)}</p>" for row in rest)]
    for title, step in numbered(derivation.steps):
        heading = "h4" if step.level == 1 else "h5"
        parts.append(f"<{heading}>{escape(title)}</{heading}>")
        parts += [f"<p>{escape(step.note)}</p>"] if step.note else []
        parts += ["<pre>" + escape("\n".join(step.quoted)) + "</pre>"] if step.quoted else []
        for line in step.lines:
            parts += [f'<div style="{STYLE}"><b>{escape(equation)}</b></div>' for equation in line.equations]
            parts += [f'<div style="{STYLE}; padding-left: 1.5em">{escape(row)}</div>' for row in line.numbers]
            places = ", ".join(f"<code>{escape(str(place))}</code>" for place in line.code)
            parts += [f'<div style="margin-left: 3em; opacity: 0.75">{places}</div>'] if places else []
    return "\n".join([*parts, "</div>"])
