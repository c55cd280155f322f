"""One rank of the PyTorch side of the pipeline bench: python pipeline_torch.py RANK RANKS HOST PORT.

torch.distributed.pipelining over Gloo, with stages that do nothing but take their time: a pass sleeps, tensors and messages are real. Says
{"ready": true, "schedules": [...]}; then answers lines of standard input:

    connect                    joins the others
    run NAME STEPS {"microbatches": 8, "elems": 32768, "forward": 20, "inputGrad": 20, "weightGrad": 20}
                               -> {"ms": [...]}: per step from the meeting of all ranks to the end of this rank's part
    quit

Times are of one microbatch on the stages of one rank, in ms; of two stages each takes half. The first step, in which shapes are found out,
is not counted. Where a schedule splits the backward pass, PyTorch's first stage does nothing in B and both in W: it has no use for the
gradient of its input.
"""
import json
import os
import sys
import time

rank, ranks, host, port = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = host, port

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch.distributed.pipelining import PipelineStage, schedules  # noqa: E402

# Names of ours, and what they are called there. The last two split the backward pass.
KNOWN = {
    "gpipe": "ScheduleGPipe",
    "1f1b": "Schedule1F1B",
    "interleaved": "ScheduleInterleaved1F1B",
    "breadth-first": "ScheduleLoopedBFS",
    "zb-v": "ScheduleZBVZeroBubble",
    "interleaved-zb": "ScheduleInterleavedZeroBubble",
}
SINGLE = ("gpipe", "1f1b")
HERE = {name: getattr(schedules, known) for name, known in KNOWN.items() if hasattr(schedules, known)}


def say(line):
    print(json.dumps(line), flush=True)


class Paced(torch.autograd.Function):
    """Passes x on; forward and backward take as long as told."""

    @staticmethod
    def forward(ctx, x, forward_ms, backward_ms):
        ctx.ms = backward_ms
        time.sleep(forward_ms / 1000)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(ctx.ms / 1000)
        return gradient.clone(), None, None


class PacedStage(torch.nn.Module):
    """The way to the input takes the input gradient's time, that to the weight the weight gradient's: either may be gone alone."""

    def __init__(self, forward, input_grad, weight_grad):
        super().__init__()
        self.ms = forward, input_grad, weight_grad
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x):
        forward, input_grad, weight_grad = self.ms
        return Paced.apply(x, forward, input_grad) + Paced.apply(self.weight, 0, weight_grad)


def places(name):
    """Which stages this rank has, and how many there are."""
    if name in SINGLE:
        return [rank], ranks
    last = 2 * ranks - 1 - rank if name == "zb-v" else ranks + rank
    return [rank, last], 2 * ranks


def run(name, steps, options):
    mine, num_stages = places(name)
    times = [options[key] * ranks / num_stages for key in ("forward", "inputGrad", "weightGrad")]
    stages = [PipelineStage(PacedStage(*times), index, num_stages, torch.device("cpu")) for index in mine]
    loss = lambda y, target: (y - target).mean()  # noqa: E731
    schedule = HERE[name](stages[0] if name in SINGLE else stages, options["microbatches"], loss_fn=loss)
    # The input asks for its gradient so that the first stage's input gradient takes its time, too.
    x = torch.ones(options["microbatches"], options["elems"], requires_grad=True)
    target = torch.zeros(options["microbatches"], options["elems"])
    given = {"args": (x,) if 0 in mine else (), "target": target if num_stages - 1 in mine else None}
    ms = []
    for step in range(steps + 1):
        for stage in stages:
            stage.submod.zero_grad()
        dist.barrier()
        start = time.perf_counter()
        schedule.step(*given["args"], target=given["target"], return_outputs=False)
        if step > 0:
            ms.append((time.perf_counter() - start) * 1000)
    # The mean over microbatches of a loss in which every weight is added once.
    for stage in stages:
        assert abs(stage.submod.weight.grad.item() - 1) < 1e-3, stage.submod.weight.grad
    say({"ms": ms})


torch.set_num_threads(1)
say({"ready": True, "version": torch.__version__, "schedules": list(HERE)})
for line in sys.stdin:
    words = line.split(maxsplit=3)
    if words[0] == "connect":
        dist.init_process_group("gloo", rank=rank, world_size=ranks)
        say({"connected": True})
    elif words[0] == "run":
        run(words[1], int(words[2]), json.loads(words[3]))
    else:
        break
if dist.is_initialized():
    dist.destroy_process_group()
