"""The interface to the kernel: netlink, namespaces, sysfs, VFs and bonds. It uses no pool and no config."""
