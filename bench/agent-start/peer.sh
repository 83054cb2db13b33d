#!/bin/busybox sh
# What the agent does until its first report, with the tools of an ordinary initrd: the peer in this comparison.
/bin/busybox mkdir -p /bin /proc /sys /dev /tmp
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
now_ms() { read -r up _ </proc/uptime; echo "${up%.*}${up#*.}0"; }
start="$(now_ms)"
for word in $(cat /proc/cmdline); do
    case "$word" in
        node_id=*) node_id="${word#*=}" ;;
        config_url=*) config_url="${word#*=}" ;;
        boot_token=*) boot_token="${word#*=}" ;;
    esac
done
while read -r module; do insmod "$module"; done </metalform/modules/order
cat >/leased <<'S'
#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
ip route add default via "${router%% *}"
S
chmod +x /leased
ip link set lo up
ip link set eth0 up
udhcpc -i eth0 -s /leased -n -q -t 10 -T 2
host="${config_url#http://}"
facts="{\"agent_start_ms\":$start,\"first_report_ms\":$(now_ms)}"
wget -q -O /dev/null --header 'Content-Type: application/json' \
    --post-data "{\"seq\":1,\"phase\":\"booting\",\"status\":\"running\",\"message\":\"peer\",\"facts\":$facts}" \
    "http://${host%%/*}/boot/report/$node_id?t=$boot_token"
while :; do sleep 3600; done
