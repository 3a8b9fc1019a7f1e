auto usb0
iface usb0 inet dhcp
	metric 1000
