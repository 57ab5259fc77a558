# SPDX-License-Identifier: Apache-2.0
#
# Process 1 of the head unit until it becomes systemd. Its root is the host's file system beneath a layer of
# memory: what is written is gone with the machine, but for what goes to FOLDER and to the disk.
#
#   FOLDER     the machine's own, the same path inside and outside
#   PROJECT    the project's folder, read only
#   ADDRESS    of eth0
#   MODULES    of the kernel, to be loaded
#   SERVICES   of units/, to be started
#   PYTHON     which runs the tests

set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
for module in $MODULES; do modprobe -d "$FOLDER" "$module"; done
ip link set lo up
ip address add "$ADDRESS" dev eth0
ip link set eth0 up

mount -t tmpfs -o size=75% tmpfs "$FOLDER/top"
cd "$FOLDER/top"
mkdir upper work root
mount -t overlay -o "lowerdir=/,upperdir=$PWD/upper,workdir=$PWD/work" overlay root
cd root
system=etc/systemd/system

# Of the host's own nothing is configured and nothing is started; and what its files say of a container is not true of
# the unit: systemd would leave out mounts that credentials need.
rm -rf .dockerenv $system etc/systemd/network etc/sysctl.d etc/canferry etc/credstore opt/canferry var/lib/canferry \
    var/log/journal usr/sbin/policy-rc.d
mkdir -p $system/multi-user.target.wants etc/systemd/system-generators var/lib/canferry
: >etc/fstab
echo headunit >etc/hostname
for generator in usr/lib/systemd/system-generators/*; do
    ln -s /dev/null "etc/systemd/system-generators/${generator##*/}"
done

# Of systemd's own only what a service needs around it.
for unit in systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer \
    systemd-sysusers.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-user-sessions.service systemd-logind.service systemd-random-seed.service \
    systemd-machine-id-commit.service systemd-modules-load.service systemd-remount-fs.service \
    systemd-journal-flush.service systemd-journald-audit.socket systemd-initctl.socket getty.target \
    systemd-firstboot.service systemd-repart.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
    cryptsetup.target integritysetup.target veritysetup.target dev-hugepages.mount dev-mqueue.mount \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
    kmod-static-nodes.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
    systemd-ask-password-console.path systemd-ask-password-wall.path; do
    ln -s /dev/null "$system/$unit"
done
cp "$PROJECT"/tests/headunit/box/units/* $system
for service in $SERVICES; do ln -s "../$service" $system/multi-user.target.wants; done
ln -s /lib/systemd/system/multi-user.target $system/default.target
printf 'FOLDER=%s\nPROJECT=%s\nPYTHON=%s\n' "$FOLDER" "$PROJECT" "$PYTHON" >etc/headunit

ip link add vcan0 mtu 72 up type vcan
ip link add vcan1 mtu 72 up type vcan
mount -t ext4 /dev/ubda var/lib/canferry
mount -t tmpfs tmpfs tmp
for folder in "$PROJECT" "$FOLDER"; do
    mkdir -p "./$folder"
    mount -t hostfs -o "$folder" hostfs "./$folder"
done
mount --move /proc proc
mount --move /sys sys
mount --move /run run
mkdir -p tmp/host
pivot_root . tmp/host
exec chroot . /lib/systemd/systemd --show-status=false
