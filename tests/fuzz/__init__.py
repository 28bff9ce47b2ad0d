"""Hostile calls of the built executables: how they are generated, run in a sandbox, and judged."""
