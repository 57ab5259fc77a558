# SPDX-License-Identifier: Apache-2.0
#
# Process 1 of a unit without systemd: the host's file system is its root; the disk, the link and the buses are as in
# boot.sh. The agent's log goes to the first line, the car has the second.
#
#   FOLDER, PROJECT, ADDRESS, MODULES, PYTHON   as in boot.sh
#   CONFIG                                      of the agent

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $MODULES; do modprobe -d "$FOLDER" "$module"; done
ip link set lo up
ip address add "$ADDRESS" dev eth0
ip link set eth0 up
ip link add vcan0 mtu 72 up type vcan
ip link add vcan1 mtu 72 up type vcan
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/canferry
mount -t ext4 /dev/ubda /var/lib/canferry
stty -F /dev/tty1 raw -echo
cd "$PROJECT"
"$PYTHON" -m tests.headunit.box.car /dev/tty2 &
"$PYTHON" -m agent run --config "$CONFIG" 2>/dev/tty1
exec sleep infinity
