"""Tests of ``sriov-bondctl``, a module for each of its modules that has logic to test on the host."""
