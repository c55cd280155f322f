#!/usr/bin/env python3
"""Network namespaces joined by links with a rate and a delay, for kernels without netem.

    scripts/shaped-link.py --nodes 2 --rate-mbit 100 --rtt-ms 40 [--mtu 9000] [--seconds 900]

Makes the namespaces, prints one line of JSON when they are up,
    {"nodes": [{"namespace": "skein4711-0", "address": "10.201.0.1", "interface": "sk0"}, ...]}
and carries the packets between them until it is ended (SIGTERM, SIGINT, the end of its standard input, or --seconds). Then, and at its
next start after it was killed, the namespaces are removed. Run a program inside with `ip netns exec NAMESPACE ...`.

Every node has a link of its own to a hub: at most --rate-mbit out and as much in, and half of --rtt-ms on the way between any two nodes.
A queue holds what the rate takes 50 ms to carry (at least 256 KiB) beyond what is on its way; what is more is dropped, as a router
does. One core of this process carries about 1 Gbit/s in all with an MTU of 9000. Needs root and /dev/net/tun.
"""
import argparse
import ctypes
import fcntl
import heapq
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
INTERFACE = 'sk0'
QUEUE_SECONDS, MIN_QUEUE_BYTES = 0.05, 256 * 1024

libc = ctypes.CDLL(None, use_errno=True)


def ip(*words):
    subprocess.run(['ip', *words], check=True)


class Node:
    """One namespace with a TUN device, whose packets come to this process."""

    def __init__(self, index, mtu):
        self.namespace = f'skein{os.getpid()}-{index}'
        self.address = f'10.201.0.{index + 1}'
        self.out_free = self.in_free = 0.0
        self.queued = 0
        ip('netns', 'add', self.namespace)
        ip('-n', self.namespace, 'link', 'set', 'lo', 'up')
        self.tun = self.open_tun()
        ip('-n', self.namespace, 'addr', 'add', f'{self.address}/24', 'dev', INTERFACE)
        ip('-n', self.namespace, 'link', 'set', INTERFACE, 'mtu', str(mtu), 'txqueuelen', '2000', 'up')

    def open_tun(self):
        """The device is made while this process is in the namespace for a moment."""
        home = os.open('/proc/self/ns/net', os.O_RDONLY)
        there = os.open(f'/var/run/netns/{self.namespace}', os.O_RDONLY)
        try:
            if libc.setns(there, 0) != 0:
                raise OSError(ctypes.get_errno(), 'setns')
            tun = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(tun, TUNSETIFF, struct.pack('16sH22x', INTERFACE.encode(), IFF_TUN | IFF_NO_PI))
            return tun
        finally:
            libc.setns(home, 0)
            os.close(home)
            os.close(there)


def remove(namespace):
    subprocess.run(['ip', 'netns', 'del', namespace], stderr=subprocess.DEVNULL)


def remove_leftovers():
    """Namespaces of a process like this one that was killed."""
    listed = subprocess.run(['ip', 'netns', 'list'], capture_output=True, text=True).stdout
    for line in listed.splitlines():
        match = re.match(r'(skein(\d+)-\d+)\b', line)
        if match and not os.path.exists(f'/proc/{match[2]}'):
            remove(match[1])


def carry(nodes, bytes_per_second, delay, until):
    by_tun = {node.tun: node for node in nodes}
    by_address = {bytes(map(int, node.address.split('.'))): node for node in nodes}
    limit = max(MIN_QUEUE_BYTES, bytes_per_second * (delay + QUEUE_SECONDS))
    watched = [*by_tun, sys.stdin.fileno()]
    due, count = [], 0
    while time.monotonic() < until:
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, _, source, target, packet = heapq.heappop(due)
            source.queued -= len(packet)
            try:
                os.write(target.tun, packet)
            except BlockingIOError:
                pass
        wait = max(0.0, min(1.0, due[0][0] - time.monotonic())) if due else 1.0
        for readable in select.select(watched, [], [], wait)[0]:
            source = by_tun.get(readable)
            if source is None:
                if os.read(readable, 4096) == b'':
                    return
                continue
            for _ in range(64):
                try:
                    packet = os.read(readable, 65535)
                except BlockingIOError:
                    break
                target = by_address.get(packet[16:20])
                # What is not for a node of ours is IPv6 chatter; what does not fit the queue is lost.
                if target is None or source.queued + len(packet) > limit:
                    continue
                now = time.monotonic()
                takes = len(packet) / bytes_per_second
                source.out_free = max(source.out_free, now) + takes
                target.in_free = max(target.in_free + takes, source.out_free)
                source.queued += len(packet)
                count += 1
                heapq.heappush(due, (target.in_free + delay, count, source, target, packet))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--nodes', type=int, default=2)
    parser.add_argument('--rate-mbit', type=float, required=True)
    parser.add_argument('--rtt-ms', type=float, required=True)
    parser.add_argument('--mtu', type=int, default=9000)
    parser.add_argument('--seconds', type=float, default=900)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit('shaped-link: namespaces need root')
    remove_leftovers()
    nodes = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    try:
        for index in range(options.nodes):
            nodes.append(Node(index, options.mtu))
        listed = [{'namespace': n.namespace, 'address': n.address, 'interface': INTERFACE} for n in nodes]
        print(json.dumps({'ready': True, 'nodes': listed}), flush=True)
        carry(nodes, options.rate_mbit * 1e6 / 8, options.rtt_ms / 2e3, time.monotonic() + options.seconds)
    finally:
        for node in nodes:
            remove(node.namespace)


main()
