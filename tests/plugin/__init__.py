"""Tests of the plugin's verbs: one file for each module of cni_sriov_bond/plugin."""
