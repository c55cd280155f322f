"""Recovery of torchft after a kill, beside ours: three replica groups train a small model by DDP over Gloo with a step of some 50 ms, the third
is killed in the middle of the run, the survivors go on. Prints one JSON object: {"stallMs": [...]}: per round the longest step of a survivor
after the kill, less its median step. Heartbeat and tick of the lighthouse are tuned as low as it takes them.

    python recovery_torchft.py ROUNDS
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from datetime import timedelta

KILL_AT, STEPS, GROUPS = 20, 60, 3


def lighthouse(port, env):
    program = os.path.join(os.path.dirname(sys.executable), "torchft_lighthouse")
    options = {"min_replicas": 2, "bind": f"127.0.0.1:{port}", "quorum_tick_ms": 100, "join_timeout_ms": 1000, "heartbeat_timeout_ms": 1000}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return subprocess.Popen([program, *flags], env=env, stderr=subprocess.DEVNULL)


def one_round(number):
    port = 29510 + 10 * number
    env = dict(os.environ, TORCHFT_LIGHTHOUSE=f"http://127.0.0.1:{port}", OMP_NUM_THREADS="1", NUM_REPLICA_GROUPS=str(GROUPS), RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1")
    house = lighthouse(port, env)
    time.sleep(2)
    groups = [
        subprocess.Popen(
            [sys.executable, __file__, "group", str(group), str(port + 1 + group)],
            env=dict(env, REPLICA_GROUP_ID=str(group), MASTER_PORT=str(port + 1 + group)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for group in range(GROUPS)
    ]
    try:
        out, _ = groups[0].communicate(timeout=120)
    finally:
        for process in [*groups, house]:
            process.kill()
    seconds = [float(line) for line in out.split()]
    after = seconds[KILL_AT - 2 :]
    return 1000 * (max(after) - statistics.median(seconds))


def run_group(group, store_port):
    import torch
    from torchft import DistributedDataParallel, Manager, Optimizer, ProcessGroupGloo

    store = torch.distributed.TCPStore("127.0.0.1", store_port, is_master=True, wait_for_workers=False)
    model = torch.nn.Linear(256, 256)
    limit = timedelta(seconds=10)
    manager = Manager(
        pg=ProcessGroupGloo(timeout=limit),
        min_replica_size=2,
        load_state_dict=model.load_state_dict,
        state_dict=model.state_dict,
        replica_id=f"g{group}",
        timeout=limit,
        hostname="127.0.0.1",
    )
    parallel = DistributedDataParallel(manager, model)
    optimizer = Optimizer(manager, torch.optim.AdamW(model.parameters()))
    last = time.monotonic()
    for step in range(STEPS):
        optimizer.zero_grad()
        parallel(torch.randn(32, 256)).pow(2).mean().backward()
        optimizer.step()
        time.sleep(0.05)
        now = time.monotonic()
        # The first step waits for everyone to start.
        if step > 0:
            print(now - last, flush=True)
        last = now
        if group == GROUPS - 1 and step == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
    del store


if __name__ == "__main__":
    if sys.argv[1] == "group":
        run_group(int(sys.argv[2]), int(sys.argv[3]))
    else:
        print(json.dumps({"stallMs": [one_round(number) for number in range(int(sys.argv[1]))]}))
