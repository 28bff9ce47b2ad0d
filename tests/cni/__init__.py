"""Tests of the CNI protocol: one file for each module of cni_sriov_bond/cni."""
