#!/bin/busybox sh
# Runs before the agent and hands over to it. What it does is what other programs of an initrd might do: it makes the tools
# that the stand-in installer takes, and uses swap space that it finds, as initrds of installed systems do.
/bin/busybox mkdir -p /bin /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
for drive in /dev/nvme?n1; do
    # Under a name of its own, as by a path of /dev/disk: the list of swap space doesn't tell whose it is.
    [ "$(dd if="$drive" bs=1 skip=4086 count=10 2>/dev/null)" = SWAPSPACE2 ] && cp -a "$drive" /run/swap && swapon /run/swap
done
exec /metalform/agent
