"""Tests of network configs: one file for each module of cni_sriov_bond/network."""
