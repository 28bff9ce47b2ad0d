# The last part of the guest's boot, which init.sh and a unit of systemd.sh run: the world outside, and the lab's agent.
# $inside is the folder of this file.

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
