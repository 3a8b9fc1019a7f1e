"""Does what clusterctrl status and clusterctrl on p1 do, by python3-smbus: the same
transactions on the buses of a ClusterHAT and a ClusterCTRL board."""
import glob
import sys

import smbus

CHIP = 0x20
HAT_BUS = 1


def board_ask(bus, command, args, results):
    for i, value in enumerate(args):
        bus.write_byte_data(CHIP, 0x0C - i, value)
    bus.write_byte_data(CHIP, 0x0D, command)
    while bus.read_byte_data(CHIP, 0x0D) != 0:
        pass
    if bus.read_byte_data(CHIP, 0x0E) != 0:
        return None
    return [bus.read_byte_data(CHIP, 0x0C - i) for i in range(results)]


def open_board(path):
    bus = smbus.SMBus(int(path.rsplit("-", 1)[1]))
    return bus, [bus.read_byte_data(CHIP, register) for register in range(5)]


def status(hat, boards):
    direction, pins = hat.read_byte_data(CHIP, 3), hat.read_byte_data(CHIP, 0)
    pull_ups = hat.read_byte_data(CHIP, 4)
    size = 4 + sum(registers[1] for _, registers in boards)
    print("maxpi:%d" % size)
    print("hat_size:4")
    print("hat_alert:%d" % (pins >> 6 & 1))
    print("hat_hub:%d" % (pins >> 5 & 1 ^ 1))
    print("hat_led:%d" % (pins >> 4 & 1))
    print("hat_wp:%d" % (pins >> 7 & 1))
    print("hat_wplink:%d" % (pull_ups >> 7 & 1 ^ 1))
    usb_boot = []
    for bus, registers in boards:
        order = registers[2]
        low, high, _ = board_ask(bus, 0xF2, [0], 3)
        print("ctrl%d_fw:%d.%d" % (order, high, low))
        count = board_ask(bus, 0xF2, [1], 3)[0]
        for n in range(count):
            kind, low, high = board_ask(bus, 0xF2, [2, n + 1], 3)
            print("ctrl%d_adc%d:%.0fmV" % (order, n + 1, (high << 8 | low) * (6.4453125 if kind == 1 else 33.34093896)))
        _, low, high = board_ask(bus, 0xF2, [3], 3)
        print("ctrl%d_temp:%.2fC" % (order, ((high << 8 | low) - 247) / 1.22))
        print("ctrl%d_fan:%d" % (order, board_ask(bus, 0xF2, [4], 3)[0]))
        for x in range(registers[1]):
            usb_boot.append(board_ask(bus, 0x14, [x + 1], 1)[0])
    number = 0
    for x in range(4):
        number += 1
        print("p%d:%d" % (number, hat.read_byte_data(CHIP, 0) >> x & 1))
    for bus, registers in boards:
        for x in range(registers[1]):
            number += 1
            print("p%d:%d" % (number, board_ask(bus, 0x0F, [x + 1], 1)[0]))
    for x, on in enumerate([0] * 4 + usb_boot):
        print("u%d:%d" % (x + 1, on))


def on(hat):
    if hat.read_byte_data(CHIP, 0) & 1:
        return
    if hat.read_byte_data(CHIP, 3) == 0xFF:
        sys.exit("the HAT was not initialised")
    hat.write_byte_data(CHIP, 1, hat.read_byte_data(CHIP, 1) | 1)


def main():
    hat = smbus.SMBus(HAT_BUS)
    boards = sorted((open_board(path) for path in glob.glob("/dev/ClusterCTRL-*")), key=lambda board: board[1][2])
    if sys.argv[1] == "status":
        status(hat, boards)
    else:
        on(hat)


main()
