#!/bin/sh
# Makes a node's USB gadget as one would by hand: what composite-clusterctrl
# start writes, by the programs that every system has.
set -e
. /etc/default/clusterctrl
address=$(printf %02x "$ID")

cd /sys/kernel/config/usb_gadget
mkdir ClusterCTRL
cd ClusterCTRL
echo 0x3171 >idVendor
echo 0x0020 >idProduct
echo 0x0100 >bcdDevice
echo 0x0200 >bcdUSB
echo 0xEF >bDeviceClass
echo 0x02 >bDeviceSubClass
echo 0x01 >bDeviceProtocol

mkdir strings/0x409
echo "8086 Consultancy" >strings/0x409/manufacturer
echo "ClusterCTRL" >strings/0x409/product
echo "$ID" >strings/0x409/serialnumber

mkdir functions/rndis.usb0
echo "00:22:82:ff:fe:$address" >functions/rndis.usb0/host_addr
echo "00:22:82:ff:ff:$address" >functions/rndis.usb0/dev_addr
mkdir functions/acm.usb0

mkdir configs/c.1
echo 250 >configs/c.1/MaxPower

echo 1 >os_desc/use
echo 0xcd >os_desc/b_vendor_code
echo MSFT100 >os_desc/qw_sign
echo RNDIS >functions/rndis.usb0/os_desc/interface.rndis/compatible_id
echo 5162001 >functions/rndis.usb0/os_desc/interface.rndis/sub_compatible_id
ln -s configs/c.1 os_desc/c.1

ln -s functions/rndis.usb0 configs/c.1
ln -s functions/acm.usb0 configs/c.1
ls /sys/class/udc >UDC
