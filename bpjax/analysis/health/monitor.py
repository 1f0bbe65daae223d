"""The health of a network during a training."""

from collections.abc import Callable

import jax

from bpjax.analysis.health.health import as_data, health
from bpjax.analysis.health.report import Health
from bpjax.analysis.units import SATURATED
from bpjax.layers.layer import Layer
from bpjax.losses import Loss
from bpjax.util.checks import check_function, check_number


class HealthMonitor:
    """Examines the network after each chunk of a training; `health_monitor` makes it."""

    def __init__(self, network: Layer, data, loss: Loss | None, fraction: float, report: Callable[[str], object]):
        """See `health_monitor`."""
        self.network, self.data, self.loss, self.fraction, self.report = network, data, loss, fraction, report
        self.reports: list[tuple[int, Health]] = []
        """(epoch, health) for each chunk."""
        self._known: set = set()

    def __call__(self, run) -> None:
        """Examine `run.params`, and report what was not found at the chunk before."""
        found = health(self.network, jax.device_get(run.params), self.data, self.loss, self.fraction)
        epoch = int(run.epoch)
        self.reports.append((epoch, found))
        for finding in found.findings:
            if (finding.kind, finding.layer) not in self._known:
                self.report(f"epoch {epoch}: {finding}")
        self._known = {(finding.kind, finding.layer) for finding in found.findings}


def health_monitor(
    network: Layer,
    data,
    loss: Loss | None = None,
    fraction: float = SATURATED,
    report: Callable[[str], object] = print,
) -> HealthMonitor:
    """Make a callback for `fit` that reports what begins to hinder learning while the training runs.

        monitor = bp.analysis.health_monitor(network, data, loss)
        bp.fit(rule, optimizer, params, data, key=key, chunk=100, on_chunk=monitor)
        monitor.reports[-1]  # (epoch, health) of the last chunk

    A finding is reported when it appears, and again if it had gone.

    Args:
        network: of the training.
        data: as for `health`; a part of the training data suffices.
        loss: of the training; without one only the forward pass is examined.
        fraction: as for `health`.
        report: is called with each sentence.

    Raises:
        ValueError: not a network, data without the targets of a loss, `fraction` not between 0 and 1, or `report` not a
            function.
    """
    check_number("health_monitor", "fraction", fraction, above=0.0, most=1.0)
    check_function("health_monitor", "report", report)
    as_data("health_monitor", network, data, loss)
    return HealthMonitor(network, data, loss, fraction, report)
