"""The pool of bonds on disk: leases, inventory, quarantine, pending IPAM DELs. It knows files, not the kernel."""
