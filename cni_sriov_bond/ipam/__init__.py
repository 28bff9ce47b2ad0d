"""The IPAM plugin ``sriov-bond-ipam``: a CNI plugin of its own that takes host-local's config and reservations."""
