"""The error function, its complement and its inverse, in float64; float32 goes through float64.

|x| < 1    erf x = x P(x²)
x ≥ 1      erfc x = exp(-x²) P(t) / (1 + 2 x),  t = (x - 3) / (x + 3);  x² in two parts, of which the second is small
erf⁻¹ x = x P(w),  w = -log((1 - x) (1 + x)):  Giles 2012, "Approximating the erfinv function"
"""

from bpjax.sweeps.lanes.llvm.ops import Ops
from bpjax.sweeps.lanes.llvm.special import exp, log, signed_zero

NEAR = (
    -7.795898827002142e-10, 1.3720064546777686e-08, -1.6208483801871705e-07, 1.6447424703317362e-06,
    -1.492473690741966e-05, 0.00012055294904839707, -0.0008548325975389692, 0.0052239776071164225,
    -0.02686617064323777, 0.11283791670945006, -0.37612638903183543, 1.1283791670955126,
)  # fmt: skip
FAR = (
    -3.2215454126896157e-08, 1.6922104311629109e-07, -1.0425332375933421e-07, -6.980919198660508e-07,
    3.683670480885635e-07, 3.509495046643492e-06, -7.458670822417818e-07, -2.0109199475872425e-05,
    4.954478425105755e-06, 0.00012510044378773126, -0.00010516070283555895, -0.0007798323430030741,
    0.001888690452369902, 0.0025293918178601756, -0.02377051492403122, 0.06830802734398803, -0.11927366341515207,
    0.1296451587027601, -0.047562294353452515, -0.13562110612458117, 1.2530080582697296,
)  # fmt: skip
INVERSE_NEAR = (
    -3.6444120640178196996e-21, -1.685059138182016589e-19, 1.2858480715256400167e-18, 1.115787767802518096e-17,
    -1.333171662854620906e-16, 2.0972767875968561637e-17, 6.6376381343583238325e-15, -4.0545662729752068639e-14,
    -8.1519341976054721522e-14, 2.6335093153082322977e-12, -1.2975133253453532498e-11, -5.4154120542946279317e-11,
    1.051212273321532285e-09, -4.1126339803469836976e-09, -2.9070369957882005086e-08, 4.2347877827932403518e-07,
    -1.3654692000834678645e-06, -1.3882523362786468719e-05, 0.0001867342080340571352, -0.00074070253416626697512,
    -0.0060336708714301490533, 0.24015818242558961693, 1.6536545626831027356,
)  # fmt: skip
INVERSE_MIDDLE = (
    2.2137376921775787049e-09, 9.0756561938885390979e-08, -2.7517406297064545428e-07, 1.8239629214389227755e-08,
    1.5027403968909827627e-06, -4.013867526981545969e-06, 2.9234449089955446044e-06, 1.2475304481671778723e-05,
    -4.7318229009055733981e-05, 6.8284851459573175448e-05, 2.4031110387097893999e-05, -0.0003550375203628474796,
    0.00095328937973738049703, -0.0016882755560235047313, 0.0024914420961078508066, -0.0037512085075692412107,
    0.005370914553590063617, 1.0052589676941592334, 3.0838856104922207635,
)  # fmt: skip
INVERSE_FAR = (
    -2.7109920616438573243e-11, -2.5556418169965252055e-10, 1.5076572693500548083e-09, -3.7894654401267369937e-09,
    7.6157012080783393804e-09, -1.4960026627149240478e-08, 2.9147953450901080826e-08, -6.7711997758452339498e-08,
    2.2900482228026654717e-07, -9.9298272942317002539e-07, 4.5260625972231537039e-06, -1.9681778105531670567e-05,
    7.5995277030017761139e-05, -0.00021503011930044477347, -0.00013871931833623122026, 1.0103004648645343977,
    4.8499064014085844221,
)  # fmt: skip


def erf_near(ops: Ops, x):
    """The error function for |x| ≤ 1."""
    return ops.mul(x, ops.polynomial(ops.mul(x, x), NEAR))


def erfc_far(ops: Ops, x):
    """1 - erf(x) for x ≥ 1."""
    x = ops.at_most(x, ops.c(27.5))
    square = ops.mul(x, x)
    lost = ops.fma(x, x, ops.neg(square))
    decay = exp(ops, ops.neg(square))
    decay = ops.fma(decay, ops.neg(lost), decay)
    t = ops.div(ops.sub(x, ops.c(3.0)), ops.add(x, ops.c(3.0)))
    return ops.div(ops.mul(decay, ops.polynomial(t, FAR)), ops.fma(x, ops.c(2.0), ops.c(1.0)))


def erf(ops: Ops, x):
    """The error function."""
    size = ops.abs(x)
    far = ops.with_sign(ops.sub(ops.c(1.0), erfc_far(ops, size)), x)
    return ops.where(ops.compare(">", size, ops.c(1.0)), far, erf_near(ops, x))


def erfc(ops: Ops, x):
    """1 - erf(x)."""
    one, size = ops.c(1.0), ops.abs(x)
    far = erfc_far(ops, size)
    far = ops.where(ops.compare("<", x, ops.c(0.0)), ops.sub(ops.c(2.0), far), far)
    return ops.where(ops.compare(">", size, one), far, ops.sub(one, erf_near(ops, x)))


def erf_inv(ops: Ops, x):
    """The inverse of the error function; ±inf at ±1, NaN beyond."""
    one = ops.c(1.0)
    w = ops.neg(log(ops, ops.mul(ops.sub(one, x), ops.add(one, x))))
    root = ops.emitter.vector_call("sqrt", w)
    value = ops.polynomial(ops.sub(w, ops.c(3.125)), INVERSE_NEAR)
    middle = ops.polynomial(ops.sub(root, ops.c(3.25)), INVERSE_MIDDLE)
    far = ops.polynomial(ops.sub(root, ops.c(5.0)), INVERSE_FAR)
    value = ops.where(ops.compare(">=", w, ops.c(6.25)), middle, value)
    value = ops.where(ops.compare(">=", w, ops.c(16.0)), far, value)
    value = ops.where(ops.compare("==", ops.abs(x), one), ops.c(float("inf")), value)
    return signed_zero(ops, ops.mul(x, value), x)
