"""One rank of the Gloo side of the collectives bench: python allreduce_gloo.py RANK RANKS HOST PORT [IFACE].

Says {"ready": true}; then answers lines of standard input: "run BYTES ROUNDS" -> {"ms": [...]}, "quit" ends.
"""
import json
import os
import sys
import time

rank, ranks, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'] = host, port
if len(sys.argv) > 5:
    os.environ['GLOO_SOCKET_IFNAME'] = sys.argv[5]

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402


def say(line):
    print(json.dumps(line), flush=True)


torch.set_num_threads(1)
say({'ready': True})
dist_ready = False
for line in sys.stdin:
    words = line.split()
    if words[0] == 'connect':
        dist.init_process_group('gloo', rank=rank, world_size=ranks)
        say({'connected': True})
    elif words[0] == 'run':
        size, rounds = int(words[1]) // 4, int(words[2])
        x = torch.ones(size)
        dist.all_reduce(x)
        assert bool((x == ranks).all())
        x.zero_()
        dist.barrier()
        ms = []
        for _ in range(rounds):
            start = time.perf_counter()
            dist.all_reduce(x)
            ms.append((time.perf_counter() - start) * 1000)
        say({'ms': ms})
    else:
        break
if dist.is_initialized():
    dist.destroy_process_group()
