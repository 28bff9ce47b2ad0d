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

# The world outside: one bridge with a port on each switch, in a namespace of its own, so that no packet gets there
# but through a NIC. VLANs 100 and 200 each have an address that answers.
ip netns add world
port_of() {
    grep -lx "$1" /sys/class/net/*/address | cut -d/ -f5
}
ip -n world -batch - <<'END'
link set lo up
link add br0 type bridge stp_state 0 forward_delay 0
END
for switch in A B C D; do
    port=$(port_of "52:54:00:00:00:${switch,}2" || true)
    [[ -n $port ]] || continue  # most guests have two switches
    ip link set "$port" netns world name "port$switch"
    ip -n world link set "port$switch" master br0 up
done
ip -n world -batch - <<'END'
link set br0 up
link add link br0 name br0.100 type vlan id 100
link add link br0 name br0.200 type vlan id 200
link set br0.100 up
link set br0.200 up
addr add 10.100.0.1/24 dev br0.100
addr add fd00:100::1/64 dev br0.100 nodad
addr add 10.200.0.1/24 dev br0.200
addr add fd00:200::1/64 dev br0.200 nodad
END

# virtme-ng names it in XDG_RUNTIME_DIR, and runc wants it to be there.
mkdir -p -m 0700 /run/user/0

# containerd 2 comes first; Debian's own is /usr/bin/containerd.
export PATH=/opt/lab/tools/bin:/opt/lab/tools/containerd-2:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root LANG=C.UTF-8
exec /usr/bin/python3 -I "$inside/agent.py" /dev/virtio-ports/lab.agent
