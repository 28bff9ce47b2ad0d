"""Hostile calls of the built executables: what is sent, how it is run without harm, and what an answer may be."""
