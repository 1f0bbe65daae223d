"""Spiking networks on digits: surrogates, resets, silent layers, and the exact derivative of spike times."""
