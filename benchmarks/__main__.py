"""Runs the benchmarks that need no outside data, one table each."""

from benchmarks import blink, clip, error_bars, per_frame, refine, rendering, trouble

if __name__ == "__main__":
    for benchmark in (refine, per_frame, clip, blink, error_bars, trouble, rendering):
        benchmark.main([])
        print()
