"""Write a page for every rule of the registry: equation, sources, deviations, cost, receipt and curve.

    python -m scripts.rule_pages FOLDER                               write the pages, as the build of the site does
    python -m scripts.rule_pages --record results/learning_rules      store what they show of a run of that experiment
                 ... --timed                                          and the times of a step, of a quiet machine
    python -m scripts.rule_pages --receipts                           store receipts of rules that have none

Text comes from the docstring of the function that makes the rule, numbers from `docs/rule_records.json`. A rule without
a record gets a page that says so.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import bpjax as bp
from bpjax.rules.registry import RuleCase
from bpjax.util.files import slug
from scripts.api_source import Entry, entry, public_names
from scripts.docstrings import markdown
from scripts.generated_pages import write_pages
from scripts.rule_records import RECORDS, curve_svg, record, record_receipts

CITATION = re.compile(
    r"[A-Z][\w’'-]+(?:(?:, [A-Z][\w’'-]+)*,? (?:&|and) [A-Z][\w’'-]+| et al\.)? (?:19|20)\d\d|arXiv:\d{4}\.\d{5}"
)
"""A publication in a docstring: "Kolen & Pollack 1994"."""
NO_COST = "not measured on a quiet machine yet"
NOT_RECORDED = "Not measured yet: this rule is newer than the record."
EXPERIMENT = "python -m experiments.learning_rules --no-published"
RECEIPTS = "python -m scripts.rule_pages --receipts"
COMMAND = f"{EXPERIMENT} && python -m scripts.rule_pages --record results/learning_rules"


class Page(NamedTuple):
    """What a page is made of."""

    name: str  # of the row in the registry
    case: RuleCase
    rule: bp.Rule
    entry: Entry | None  # the public function that makes it

    @property
    def file(self) -> str:
        """The name of the page's file, without its ending."""
        return slug(self.name).strip("_")


def pages() -> list[Page]:
    """One for each row of the registry."""
    public, found = public_names("bpjax.rules"), []
    for name, case in bp.rules.RULES.items():
        rule = case.make(case.network, case.loss)
        function = repr(rule).partition("(")[0]
        found.append(Page(name, case, rule, entry("rules", function) if function in public else None))
    return found


def split_docstring(doc: str) -> tuple[str, str]:
    """The text of a docstring without its lists of arguments and errors, and its paragraphs on deviations."""
    text = re.split(r"^(?:Args|Raises|Returns):$", doc, flags=re.MULTILINE)[0]
    paragraphs = text.strip().split("\n\n")
    deviating = [p for p in paragraphs if re.match(r"\s*Deviations?\b", p)]
    return "\n\n".join(p for p in paragraphs if p not in deviating), "\n\n".join(deviating)


def facts(page: Page, found: dict[str, Any]) -> str:
    """A table of what a reader looks up first."""
    doc = page.entry.doc if page.entry else ""
    rows = {
        "made by": f"`bp.rules.{page.entry.name}`" if page.entry else f"`{page.rule!r}`",
        "row of the registry": f"`{page.rule!r}`",
        "answers the objection": page.case.answers or "none: it is backpropagation",
        "sources": "; ".join(dict.fromkeys(CITATION.findall(" ".join(doc.split()))))
        or "none is named in its docstring",
        "direction": "the gradient, to rounding" if page.case.exact else "not the gradient in general",
        "a hyperparameter to sweep first": f"{page.case.hyperparameter:g}" if page.case.hyperparameter else "none",
        "cost of a step": f"{found['cost']:.2f} × a step of backprop, digits 64-100-100-10"
        if "cost" in found
        else NO_COST,
    }
    lines = [f"| {name} | {text} |" for name, text in rows.items() if text]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])


def text_of(page: Page, records: dict[str, Any]) -> str:
    """The page of a rule."""
    found = records["rules"].get(page.name, {})
    text, deviations = split_docstring(page.entry.doc if page.entry else "")
    parts = [
        f"# {page.name[:1].upper()}{page.name[1:]}",
        facts(page, found),
        "## Equations",
        markdown(text),
        "## Deviations from the source",
        markdown(deviations) or "Its docstring names none.",
        "## Receipt",
        "What [`bp.receipt`](../rules.md) found by running the rule on the small network of the registry:",
        f"```text\n{found['receipt']}\n```" if "receipt" in found else f"{NOT_RECORDED} `{RECEIPTS}` stores it.",
        "## Curve",
        curve_text(page, found, records) or f"{NOT_RECORDED} `{COMMAND}` measures it.",
        f"Arguments and errors: `bp.rules.{page.entry.name}`." if page.entry else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def curve_text(page: Page, found: dict[str, Any], records: dict[str, Any]) -> str:
    """The figure, its numbers and how they were made; where there is no curve, the reason."""
    problems = found.get("problems", {})
    if not problems:
        reason = next(iter(found.get("left_out", {}).values()), "")
        return reason and f"Not run by the experiment: {reason}"
    problem, curve = next(iter(problems.items()))
    best = f"At its best rate, {curve['best_rate']:.3g}, chosen by validation: {curve['mean']:.3g} on test data"
    interval = f" (95 % interval {curve['low']:.3g} to {curve['high']:.3g}, {curve['starts']} starts)."
    made = f"Measured by `{records['command']}` with JAX {records['jax']} on {records['device']}."
    about = f"{curve['measure'].capitalize()} on {problem} over learning rate, {page.name} and backprop"
    return f"![{about}]({page.file}.svg)\n\n{best}{interval} {made}"


def overview() -> str:
    """The table of all rules for the page `rules.md`."""
    records = json.loads(RECORDS.read_text())
    rows = ["| rule | answers | step / backprop | digits | receipt |", "|---|---|---|---|---|"]
    for page in pages():
        found = records["rules"].get(page.name, {})
        digits = found.get("problems", {}).get("digits")
        cells = [
            f"[{page.name}](rules/{page.file}.md)",
            page.case.answers,
            f"{found['cost']:.2f}" if "cost" in found else "",
            f"{digits['mean']:.1%}" if digits else "",
            found.get("verdict", "not measured yet"),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n## One page for each rule\n\n" + "\n".join(rows) + "\n"


def write(folder: Path) -> None:
    """Write all pages and curves."""
    records = json.loads(RECORDS.read_text())
    texts: dict[str, str] = {}
    for page in pages():
        texts[f"{page.file}.md"] = text_of(page, records)
        problems = records["rules"].get(page.name, {}).get("problems", {})
        if problems:
            texts[f"{page.file}.svg"] = curve_svg(page.name, next(iter(problems)), records)
    write_pages(folder, texts)


def main() -> None:
    """Write pages, or store what they show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="write the pages there, as the build of the site does")
    parser.add_argument("--record", type=Path, metavar="RESULT", help="store what they show of a run")
    parser.add_argument("--timed", action="store_true", help="with --record: also times of a step, of a quiet machine")
    parser.add_argument("--receipts", action="store_true", help="store receipts of the rules that have none")
    options = parser.parse_args()
    if not (options.folder or options.record or options.receipts):
        parser.error("expected a folder, --record or --receipts")
    if options.record:
        record(options.record, EXPERIMENT, options.timed)
    if options.receipts:
        record_receipts()
    if options.folder:
        write(options.folder)


if __name__ == "__main__":
    main()
