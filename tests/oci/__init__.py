"""Tests of the OCI hook and the runtime wrapper: one file for each module of cni_sriov_bond/oci."""
