"""Measures the kernels and the pipeline against their limits and their peers.

``python -m benchmarks --help`` lists the commands; docs/benchmarks.md explains a result.
"""
