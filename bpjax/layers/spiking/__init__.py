"""Spiking neurons: surrogate derivatives, reset conventions, leaky integrate-and-fire cells for `unroll`."""
