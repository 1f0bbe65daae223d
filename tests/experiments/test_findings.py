"""The table of published numbers beside ours."""

import io

from rich.console import Console

from experiments.common.findings import Finding, finding, print_findings


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
    print_findings(Console(file=stream, width=100), rows)
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "1 of 2 published numbers agree, 1 differ."
    assert "ship, first angle in degrees: because" in lines
