"""Is this network fit to learn: dead, saturated and equal units, vanishing signals, inputs without effect."""

from bpjax.analysis.health.health import health
from bpjax.analysis.health.monitor import HealthMonitor, health_monitor
from bpjax.analysis.health.report import Finding, Health, LayerHealth

__all__ = ["Finding", "Health", "HealthMonitor", "LayerHealth", "health", "health_monitor"]
