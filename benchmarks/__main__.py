"""Runs the benchmarks that need no outside data, one table each."""

from benchmarks import refine

if __name__ == "__main__":
    refine.main()
