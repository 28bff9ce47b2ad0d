#!/bin/bash
# What the guest does between its boot and the first request: the host around the SR-IOV NICs. Run by virtme-ng's init
# as root, over the machine's own root file system (read-only, with overlays that are thrown away).
#
# usage: init.sh FOLDER-OF-THIS-FILE
set -euo pipefail
inside=$1
trap 'echo "init.sh: line $LINENO failed: $BASH_COMMAND" >&2' ERR

# Programs with a page cache; nobody changes the machine's /usr while it is in use.
modules=$(readlink -f "/lib/modules/$(uname -r)")  # virtme-ng's link goes out of sight
mkdir -p /run/programs/{usr,upper,work}
mount -t 9p -o ro,version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose programs /run/programs/usr
mount -t overlay -o lowerdir=/run/programs/usr,upperdir=/run/programs/upper,workdir=/run/programs/work programs /usr
mkdir -p /lib/modules
ln -sfn "$modules" "/lib/modules/$(uname -r)"

# A plain host: without systemd's parameters for modules (bonding max_bonds=0, dummy numdummies=0), and with no module loaded
# that nothing has asked for yet. The VFs' driver is for udev to load, bonding for the product, the others for the kernel.
rm -f /usr/lib/modprobe.d/systemd.conf /lib/modprobe.d/systemd.conf
# The NICs' own driver; what container runtimes ask the administrator for; and a device type of the tests, without a device.
modprobe -a igb br_netfilter
modprobe dummy numdummies=0

# State of daemons: overlayfs takes no upper directory on 9p or on another overlay.
for folder in /var/lib/containerd /var/lib/cni /var/lib/docker /var/lib/containers /opt/cni /etc/cni /opt/lab; do
    mkdir -p $folder
    mount -t tmpfs -o mode=0755 tmpfs $folder
done
mkdir -p /opt/cni/bin /etc/cni/net.d /usr/local/sbin /usr/local/bin

udevadm settle
mkdir /opt/lab/tools
mount -o ro /dev/disk/by-id/virtio-tools /opt/lab/tools
cp /opt/lab/tools/cni/* /opt/cni/bin/
ln -sf /opt/lab/tools/containerd-1.6/* /usr/bin/
# Packages that are not installed on the machine itself; what it has of them stays as it is.
cp -rsn /opt/lab/tools/debian/. /
if [[ -e /dev/disk/by-id/virtio-product ]]; then
    mkdir /opt/lab/product
    mount -o ro /dev/disk/by-id/virtio-product /opt/lab/product
    for folder in opt/cni/bin usr/local/sbin; do
        [[ ! -d /opt/lab/product/$folder ]] || cp -a /opt/lab/product/$folder/. /$folder/
    done
fi

. "$inside/world.sh"
