"""Cases of spiking neurons: with soft spikes, whose derivative exists, every line of their backward pass is checked."""

from bpjax.gradcheck.cases.case import LayerCase
from bpjax.layers.recurrent.recurrent import unroll
from bpjax.layers.spiking.convention import Convention
from bpjax.layers.spiking.integrator import leaky_integrator
from bpjax.layers.spiking.neuron import leaky_integrate_and_fire
from bpjax.layers.spiking.steps import Adaptation
from bpjax.layers.spiking.surrogates import soft_spike


def _neurons(reset: str, order: str, adapted: bool = False, **options) -> LayerCase:
    """Two time constants apart, so that a mistaken one is seen."""
    convention = Convention(reset, order, True, adapted)
    cell = leaky_integrate_and_fire(2, 4.0, 2.0, fire=soft_spike(3.0), convention=convention, **options)
    return LayerCase(unroll(cell), (4, 2))


CASES: dict[str, LayerCase] = {
    "soft_spike(2.0)": LayerCase(soft_spike(2.0), (5,)),
    "soft_spike(2.0, 'fast sigmoid')": LayerCase(soft_spike(2.0, "fast sigmoid"), (5,)),
    "soft_spike(2.0, 'arctan')": LayerCase(soft_spike(2.0, "arctan"), (5,)),
    "soft_spike(0.7, 'triangular')": LayerCase(soft_spike(0.7, "triangular"), (5,)),
    "soft_spike(1.0, 'straight-through')": LayerCase(soft_spike(1.0, "straight-through"), (5,)),
    "unroll(leaky_integrate_and_fire), all learnt": _neurons(
        "subtract_before_leak",
        "current-potential-spike",
        recurrent="orthogonal",
        learnt=("membrane", "synapse", "threshold"),
    ),
    "unroll(leaky_integrate_and_fire), adaptive": _neurons(
        "subtract_after_leak",
        "spike-current-potential",
        True,
        adaptation=Adaptation(0.6, 3.0),
        learnt=("threshold",),
        use_bias=True,
    ),
    "unroll(leaky_integrate_and_fire), zero": _neurons(
        "zero_after_leak", "spike-potential-current", refractory=1.0, learnt=("membrane",)
    ),
    "unroll(leaky_integrate_and_fire), zero first": _neurons("zero_before_leak", "current-potential-spike"),
    "unroll(leaky_integrator), learnt": LayerCase(
        unroll(leaky_integrator(2, 4.0, 2.0, learnt=("membrane", "synapse"))), (4, 2)
    ),
    "unroll(leaky_integrator), current first": LayerCase(
        unroll(leaky_integrator(2, 4.0, 2.0, order="current-potential-spike", use_bias=True)), (4, 2)
    ),
}
