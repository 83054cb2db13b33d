#!/bin/busybox sh
# The lab's stand-in for Nutanix' installer, run by the agent once every check has passed: it writes a prepared system to the
# boot drive, what the node is to be behind it, and a mark to every other drive that was chosen. The first sector, which makes
# the drive bootable, comes last: a machine that loses its power before boots over the network again.
set -u
export PATH=/bin
fail() { echo "$*"; exit 1; }

boot="$(sed -n 's/.*"boot": *"\([^"]*\)".*/\1/p' "$METALFORM_DISKS")"
[ -b "$boot" ] || fail "no boot drive was chosen: $(cat "$METALFORM_DISKS")"
system="$METALFORM_FILES/system.img.gz"

echo "progress 20 Writing the system to $boot"
zcat "$system" | dd of="$boot" bs=1M iflag=fullblock skip=1 seek=1 conv=notrunc,fsync 2>/dev/null || fail "$boot can't be written"

echo "progress 70 Writing what the node is to be"
install="$(cat /proc/sys/kernel/random/uuid)"
{ echo "metalform-lab $install"; cat "$METALFORM_CONFIG"; } | dd of="$boot" bs=64k seek=512 conv=notrunc,fsync 2>/dev/null ||
    fail "$boot can't be written"
for drive in $(grep -o '/dev/[a-z0-9]*' "$METALFORM_DISKS" | sort -u); do
    [ "$drive" = "$boot" ] && continue
    echo "metalform-lab data drive of $METALFORM_NODE_ID" | dd of="$drive" bs=64k seek=512 conv=notrunc,fsync 2>/dev/null ||
        fail "$drive can't be written"
    echo "marked $drive"
done

echo "progress 90 Making $boot bootable"
zcat "$system" 2>/dev/null | dd of="$boot" bs=512 count=1 iflag=fullblock conv=notrunc,fsync 2>/dev/null || fail "$boot can't be written"
sync
echo "progress 100 Written"
