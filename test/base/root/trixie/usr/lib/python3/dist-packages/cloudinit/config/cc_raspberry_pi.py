"""Stands in for the vendor's module: turns the vendor's gadget on where asked to."""

from cloudinit import subp
from cloudinit.settings import PER_INSTANCE

meta = {
    "id": "cc_raspberry_pi",
    "distros": ["all"],
    "frequency": PER_INSTANCE,
    "activate_by_schema_keys": ["rpi"],
}


def handle(name, cfg, cloud, args):
    if cfg.get("rpi", {}).get("enable_usb_gadget"):
        subp.subp(["/usr/bin/rpi-usb-gadget", "on"])
