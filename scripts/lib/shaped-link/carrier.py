"""Carries IP packets between network namespaces in user space, with a rate and a delay: what netem does, where the kernel has none.

    carrier.py '[{"namespace": …, "address": "10.201.0.1", "rateMbit": 1000, "delayMs": 0.25, "queueMs": 50}, …]'

Opens a TUN device `link0` in each namespace (Node has no ioctl, hence Python), prints `made`, carries until its stdin ends, then prints
its counters as JSON. The devices live no longer than this process, and its stdin no longer than its parent.

Each node has one full-duplex link to a hub. A packet is sent at its sender's rate, travels that link's delay, is sent again at its
receiver's rate and travels that link's delay. Where the queue of a link holds `queueMs` of its rate, packets are dropped.

The kernel hands over and takes back whole bursts of one TCP stream (`IFF_VNET_HDR` and segmentation offload, as virtual machines have it),
so a system call moves up to 64 KiB; rates count the bytes of all segments, with their IP headers.
"""

import ctypes
import fcntl
import heapq
import json
import math
import os
import resource
import select
import struct
import sys
import time

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
CAN_CHECKSUM, CAN_TSO4 = 1, 2
VNET_HEADER_BYTES = 10
PR_SET_TIMERSLACK = 29
# Read from one device before the others have their turn.
BURST = 64
LARGEST = 65536 + VNET_HEADER_BYTES

libc = ctypes.CDLL(None, use_errno=True)


class Node:
    """One namespace's device, and when each direction of its link is free again (seconds of the monotonic clock)."""

    def __init__(self, spec, device):
        self.device = device
        self.address = bytes(int(part) for part in spec["address"].split("."))
        self.bytes_per_s = spec["rateMbit"] * 1e6 / 8
        self.delay_s = spec["delayMs"] / 1e3
        self.queue_s = spec["queueMs"] / 1e3
        self.up_free = 0.0
        self.down_free = 0.0


def open_tun(namespace):
    """The kernel makes a device in the namespace of whoever asks, so this process goes there and comes back."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        enter(there)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(device, TUNSETOFFLOAD, CAN_CHECKSUM | CAN_TSO4)
    finally:
        enter(home)
        os.close(there)
        os.close(home)
    return device


def enter(namespace):
    if libc.setns(namespace, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def bytes_on_the_wire(packet):
    """IP bytes of all segments that this burst stands for."""
    length = len(packet) - VNET_HEADER_BYTES
    gso_type, header_bytes, segment_bytes = struct.unpack_from("=xBHH", packet)
    if gso_type == 0 or segment_bytes == 0:
        return length
    segments = -(-(length - header_bytes) // segment_bytes)
    return length + (segments - 1) * header_bytes


def carry(nodes):
    """Returns the counters when stdin ends."""
    by_device = {node.device: node for node in nodes}
    by_address = {node.address: node for node in nodes}
    stdin = sys.stdin.fileno()
    watched = [stdin, *by_device]
    # On the way to the hub and from it: (due, a number that keeps equal ones in order, receiver, wire bytes, packet).
    to_hub, from_hub = [], []
    number, carried, dropped, unroutable = 0, 0, 0, 0
    clock = time.monotonic
    while True:
        now = clock()
        while to_hub and to_hub[0][0] <= now:
            due, _, receiver, wire, packet = heapq.heappop(to_hub)
            free = max(receiver.down_free, due)
            if free - due > receiver.queue_s:
                dropped += 1
                continue
            receiver.down_free = free + wire / receiver.bytes_per_s
            number += 1
            heapq.heappush(from_hub, (receiver.down_free + receiver.delay_s, number, receiver, packet))
        while from_hub and from_hub[0][0] <= now:
            _, _, receiver, packet = heapq.heappop(from_hub)
            try:
                os.write(receiver.device, packet)
                carried += 1
            except OSError:
                dropped += 1
        for readable in select.select(watched, [], [], until_due(to_hub, from_hub, clock()))[0]:
            if readable == stdin:
                if not os.read(stdin, 4096):
                    return {"carried": carried, "dropped": dropped, "unroutable": unroutable}
                continue
            sender = by_device[readable]
            for _ in range(BURST):
                try:
                    packet = os.read(readable, LARGEST)
                except BlockingIOError:
                    break
                receiver = by_address.get(packet[VNET_HEADER_BYTES + 16 : VNET_HEADER_BYTES + 20])
                if receiver is None or packet[VNET_HEADER_BYTES] >> 4 != 4:
                    unroutable += 1
                    continue
                now = clock()
                free = max(sender.up_free, now)
                if free - now > sender.queue_s:
                    dropped += 1
                    continue
                wire = bytes_on_the_wire(packet)
                sender.up_free = free + wire / sender.bytes_per_s
                number += 1
                heapq.heappush(to_hub, (sender.up_free + sender.delay_s, number, receiver, wire, packet))


def until_due(to_hub, from_hub, now):
    """Seconds to sleep. At the hub a packet only changes links: that is soon enough when the delay behind it is over."""
    due = min(to_hub[0][0] + to_hub[0][2].delay_s if to_hub else math.inf, from_hub[0][0] if from_hub else math.inf)
    return None if due == math.inf else max(0.0, due - now)


def main():
    specs = json.loads(sys.argv[1])
    # A wait ends up to 50 µs late by default: too much beside delays of a quarter of a millisecond.
    libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    nodes = [Node(spec, open_tun(spec["namespace"])) for spec in specs]
    print("made", flush=True)
    counters = carry(nodes)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**counters, "cpuS": round(used.ru_utime + used.ru_stime, 3)}), flush=True)


if __name__ == "__main__":
    main()
