"""Benchmarks: every figure stands beside a reference that ran in the same minute on the same machine."""
