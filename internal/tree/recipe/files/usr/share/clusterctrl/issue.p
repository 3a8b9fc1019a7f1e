Node \n on \l
USB network: \4{usb0} \6{usb0}

