#!/bin/sh
# What clusterctrl's first boot does to a node's card, as one would write it as a
# script, for the base that is measured with: Bookworm with ifupdown. It is what
# the benchmark compares with, and must lead to the same card.
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin

boot=/boot/firmware
share=/usr/share/clusterctrl
role=$1
id=${role#p}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount $boot
mount -o remount,rw /

case $id in
'' | *[!0-9]* | 0*) echo "$role is no node" >&2 && exit 1 ;;
esac
[ "$id" -le 252 ] || { echo "$role is no node" >&2 && exit 1; }

cp $boot/cmdline.txt $boot/cmdline.old
[ -f /etc/default/clusterctrl ] || cp $share/default-clusterctrl /etc/default/clusterctrl

cp $share/interfaces.bookworm.p /etc/network/interfaces.d/clusterctrl
cp $share/issue.p /etc/issue
echo "$role" >/etc/hostname
sed -i -e "s/^127\.0\.1\.1\t.*/127.0.1.1\t$role/" -e "/^172\.19\.181\.$id\t/d" -e 's/\tcontroller$/& cbridge cnat/' /etc/hosts
sed -i -e '/^# START ClusterCTRL/,/^# END ClusterCTRL/ {
	s/^dtoverlay=dwc2,dr_mode=host$/dtoverlay=dwc2,dr_mode=peripheral/
	s/^otg_mode=/#otg_mode=/
}' $boot/config.txt
sed -i "s/fixed-address .*; # ClusterCTRL Px/fixed-address 172.19.181.$id; # ClusterCTRL Px/" /etc/dhcp/dhclient.conf
cat >/etc/dhcp/dhclient-exit-hooks.d/clusterctrl <<EOF
# Written by clusterctrl: the fixed address, beside one that DHCP gives.
if [ "\$interface" = usb0 ]; then
	case "\$reason" in
	BOUND | RENEW | REBIND | REBOOT) ip -4 address replace 172.19.181.$id/24 brd + dev usb0 || true ;;
	esac
fi
EOF
for file in /etc/exports /etc/hosts.allow /etc/hosts.deny; do
	sed -i '/^# START ClusterCTRL/,/^# END ClusterCTRL/d' $file
done
sed -i 's/^net\.ipv4\.ip_forward=1/#&/' /etc/sysctl.d/90-clusterctrl.conf

cd /etc/systemd/system
mkdir -p getty.target.wants multi-user.target.wants
ln -sf /usr/lib/systemd/system/serial-getty@.service getty.target.wants/serial-getty@ttyGS0.service
ln -sf /usr/lib/systemd/system/clusterctrl-composite.service multi-user.target.wants/clusterctrl-composite.service
rm -f multi-user.target.wants/clusterctrl-init.service multi-user.target.wants/clusterctrl-rpiboot.service
ln -sf /dev/null nfs-server.service
ln -sf /dev/null rpi-usb-gadget.service
cd /
sed -i -e "s/^TYPE=.*/TYPE=node/" -e "s/^ID=.*/ID=$id/" /etc/default/clusterctrl

sync
sed -i -e 's# init=\(/usr\)\?/sbin/reconfig-clusterctrl [a-z0-9]*##g' -e 's/ console=ttyGS0[^ ]*//g' $boot/cmdline.txt
if [ -f /usr/lib/raspberrypi-sys-mods/firstboot ]; then
	sed -i 's# clusterctrl.vendor# init=/usr/lib/raspberrypi-sys-mods/firstboot#' $boot/cmdline.txt
fi
sync
umount $boot
mount -o remount,ro /
# Here a Pi would restart.
