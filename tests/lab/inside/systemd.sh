#!/bin/bash
# The guest with systemd as its first process: what virtme-ng's init and init.sh do for the other guests, then systemd.
# A host as an operator sets it up: the product unpacked, its units enabled, the state directory on a disk. The NICs' driver
# comes late: a unit loads it some seconds after the boot.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
set -euo pipefail
trap 'echo "systemd.sh: line $LINENO failed: $BASH_COMMAND" >&2' ERR
inside=${0%/*}

# The machine's root, writable, under an overlay that is thrown away: again the first process, in that root.
if [[ ${1:-} != inside ]]; then
    mount -t tmpfs -o mode=0755 run /run
    mkdir -p /run/{upper,work,root,programs}
    mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work root /run/root
    # What would tell systemd that it runs in a container, if the machine is one.
    rm -f /run/root/.dockerenv /run/root/run/.containerenv
    # Programs with a page cache, as in init.sh.
    mkdir -p /run/usr-{upper,work}
    mount -t 9p -o ro,version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose programs /run/programs
    mount -t overlay -o lowerdir=/run/programs,upperdir=/run/usr-upper,workdir=/run/usr-work programs /run/root/usr
    cd /run/root
    mount --move . /
    exec chroot . "$0" inside
fi
mount -t proc -o nosuid,noexec,nodev proc /proc
mount -t sysfs -o nosuid,noexec,nodev sys /sys
mountpoint -q /dev || mount -t devtmpfs -o mode=0755,nosuid devtmpfs /dev
mount -t tmpfs -o mode=0755 run /run
# Mounted, not linked: services with ProtectHome do not see what is below /root.
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$virtme_link_mods" "/lib/modules/$(uname -r)"
modprobe -a virtio_pci virtio_blk virtio_console

# Disks, before udev names them.
disk() {
    local serial
    for serial in /sys/block/vd*/serial; do
        [[ $(<"$serial") != "$1" ]] || echo "/dev/$(cut -d/ -f4 <<<"$serial")"
    done
}
mkdir -p /run/product /var/lib/cni /etc/cni/net.d /opt/cni/bin /var/lib/prometheus/node-exporter
mount -o ro "$(disk product)" /run/product
mount "$(disk state)" /var/lib/cni
for folder in opt/cni/bin usr/local/sbin usr/local/lib; do
    mkdir -p "/$folder"
    cp -a "/run/product/$folder/." "/$folder/"
done
printf '[pools.db]\npfs = ["enp1s0", "enp2s0"]\nvfs = 4\n' > /etc/cni/sriov-bond.toml

# Of the machine's own units only systemd's: nothing that it has enabled itself, and nothing that a bare host lacks.
units=/etc/systemd/system
rm -rf $units
mkdir -p $units
[[ -s /etc/machine-id ]] || echo 0123456789abcdef0123456789abcdef > /etc/machine-id  # else systemd would enable every unit
: > /etc/fstab
for unit in getty.target systemd-logind.service dbus.service dbus.socket systemd-binfmt.service systemd-pstore.service \
    systemd-random-seed.service systemd-firstboot.service systemd-update-utmp.service systemd-timesyncd.service \
    systemd-user-sessions.service systemd-journal-flush.service cryptsetup.target integritysetup.target veritysetup.target \
    proc-sys-fs-binfmt_misc.automount dev-hugepages.mount systemd-sysusers.service systemd-tmpfiles-clean.timer \
    systemd-update-utmp-runlevel.service systemd-networkd.service systemd-machine-id-commit.service remote-fs.target \
    systemd-tmpfiles-setup.service; do
    ln -s /dev/null $units/$unit
done
ln -s /lib/systemd/system/multi-user.target $units/default.target

mkdir -p /etc/modprobe.d
echo 'blacklist igb' > /etc/modprobe.d/late.conf  # for udev; modprobe by name loads it
cat > $units/late-driver.service <<'END'
[Unit]
Description=The driver of the NICs, loaded late
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sleep 5; exec modprobe igb'
END
# What a runtime of containers finds when it starts.
cat > $units/containerd.service <<'END'
[Unit]
Description=Stands for a runtime of containers
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'sriov-bondctl status --json > /run/found-by-containerd.json'
END
cat > $units/lab-agent.service <<END
[Unit]
Description=The lab's agent
After=systemd-udev-trigger.service
[Service]
Environment=PATH=$PATH HOME=/root LANG=C.UTF-8
StandardError=journal+console
ExecStart=/bin/bash -euo pipefail -c 'inside=$inside; udevadm settle; . $inside/world.sh'
END
mkdir -p $units/multi-user.target.wants
for unit in late-driver containerd lab-agent; do
    ln -s ../$unit.service $units/multi-user.target.wants/
done
# As the operator does, offline.
systemctl enable sriov-bond-up.service sriov-bond-gc.service sriov-bond-gc.timer sriov-bond-metrics.timer
umount /run/product
exec /lib/systemd/systemd --show-status=error
