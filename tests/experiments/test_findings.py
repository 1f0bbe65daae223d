"""The table of published numbers beside ours."""

import io

import numpy as np
from rich.console import Console

from experiments.common.findings import Finding, finding, one_run, print_findings, share


def test_agreement_is_within_the_tolerance():
    assert finding("a", "q", 1.0, 1.0 + 1e-9, 1e-8).verdict == "agrees"
    assert finding("a", "q", 1.0, 1.1, 1e-8).verdict == "differs"
    assert finding("a", "q", 1.0, float("nan"), 1e-8).verdict == "differs"


def test_the_table_fits_and_counts():
    rows = [
        finding(
            "ship", "time of travel in h/V", 5.4641016, 5.46410162, 1e-6, certainty="8 digits", source="Bryson & Ho"
        ),
        finding("ship", "first angle in degrees", 105.0, 104.0, 1e-6, note="because"),
        Finding("laser", "NMSE", "", "0.04", "", "24 starts", None),
    ]
    stream = io.StringIO()
    print_findings(Console(file=stream, width=80), rows)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "(Bryson & Ho; 8 digits)" in stream.getvalue() and "…" not in stream.getvalue()
    assert lines[-1] == "1 of 2 published numbers agree, 1 differ."
    assert "ship, first angle in degrees: because" in lines


def test_a_share_agrees_if_the_intervals_overlap():
    # Wilson by hand for 5 of 10, z = 1.96: centre ½, half √(0.25/10 + 1.96²/400) · 1.96 / 1.38416 = 0.2634
    row = share("a", "q", 5, 10, (9, 10))
    assert (row.published, row.ours, row.difference, row.agrees) == ("9/10", "5/10", "24 to 76 %", True)
    assert share("a", "q", 5, 100, (9, 10), note="because").note == "because"  # at most 11 %, at least 60 %
    assert share("a", "q", 5, 100).agrees is None


def test_one_run_agrees_within_the_middle_of_ours():
    epochs = np.arange(101)
    solved = np.ones(101, bool)
    row = one_run("a", "q", 97, solved, epochs)  # quantiles 2.5, 50, 97.5
    assert (row.ours, row.difference, row.agrees) == ("median 50", "2 to 98", True)
    assert not one_run("a", "q", 98, solved, epochs).agrees
    solved[51:] = False
    assert not one_run("a", "q", 97, solved, epochs).agrees
    assert one_run("a", "q", 97, epochs < 1, epochs).ours == "none solved"


def test_rows_with_the_same_reason_share_a_line():
    rows = [finding("a", name, 1.0, 2.0, 0.1, note="because") for name in ("p", "q")]
    stream = io.StringIO()
    print_findings(Console(file=stream, width=100), rows)
    assert "a, p; a, q: because" in stream.getvalue()
