"""Latency of a network as a function of its group widths, learnt from profiled variants (given as data)."""
