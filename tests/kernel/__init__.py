"""Tests of the kernel interface: one file for each module of cni_sriov_bond/kernel."""
