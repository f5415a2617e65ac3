"""Speed, measured side by side: every figure is a ratio of medians from interleaved runs on the same bytes.

Nothing of the package is shipped; `python -m benchmarks` runs it from a checkout.
"""
