"""The pool of bonds on disk: leases, inventory, quarantine and pending IPAM DELs. It uses files only, never the kernel."""
