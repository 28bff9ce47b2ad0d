"""``sriov-bondctl doctor``: checks of the host, a module a subject, and what repairs it."""
