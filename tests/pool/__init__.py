"""Tests of the pool on disk: one file for each module of cni_sriov_bond/pool."""
