"""The kernel's side: netlink, namespaces, sysfs, VFs through their PFs, bonds. It knows no pool and no config."""
