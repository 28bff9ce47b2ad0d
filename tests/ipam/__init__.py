"""Tests of our IPAM plugin, a module for each of its modules."""
