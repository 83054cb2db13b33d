#!/bin/busybox sh
# The system that the lab's installer leaves on a boot drive: it takes the addresses of its node and lets the simulated
# controller VM speak for it.
/bin/busybox mkdir -p /bin /proc /sys /dev /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
echo "lab: the installed system is up"
while read -r module; do
    insmod "$module" || echo "lab: $module can't be loaded"
done </metalform/modules/order

for drive in /dev/nvme?n1; do
    dd if="$drive" bs=64k skip=512 count=1 2>/dev/null | tr -d '\000' >/written
    install="$(sed -n '1s/^metalform-lab \([0-9a-f-]*\)$/\1/p' /written)"
    [ -n "$install" ] && break
done
sed 1d /written >/config.json
value() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" /config.json; }
# One line: the last one of a name that stands twice would be taken, and these stand once, or twice with one value.
address="$(value mgmt_ip)"
prefix="$(value cidr)"
prefix="${prefix#*/}"
gateway="$(value gateway)"
echo "lab: installed as $install, $address/$prefix behind $gateway"

ip link set lo up
ip link set eth0 up
ip address add "$address/$prefix" dev eth0
ip route add default via "$gateway"
while :; do
    /metalform/simulated-cvm "http://$gateway:41901" "$install" /config.json eth0 "$prefix"
    echo "lab: the simulated controller VM has ended"
    sleep 1
done
