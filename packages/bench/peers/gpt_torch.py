"""The PyTorch peer of the train-step bench: the same GPT-2, data, AdamW and thread count.

    python gpt_torch.py --data DIR [--threads N] [--bf16]

DIR holds model.json (sizes, AdamW settings, name, shape and offset of each tensor), params.bin (float32) and tokens.bin
(int32 [batches, samples, context + 1]), as packages/bench/src/train-step.ts writes them. Prints a JSON line when ready, then
answers each line of standard input: "run K" trains K steps and prints {"ms": [...], "loss": [...]}; "quit" ends.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class Conv1D(nn.Module):
    """GPT-2's linear layer, in its usual form: y = x·w + b with w [in, out]."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({"c_attn": Conv1D(width, 3 * width), "c_proj": Conv1D(width, width)})
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(width, 4 * width), "c_proj": Conv1D(4 * width, width)})

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.attn["c_attn"](self.ln_1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn["c_proj"](mixed.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, layers, width, heads, context, vocab):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(vocab, width), "wpe": nn.Embedding(context, width),
            "h": nn.ModuleList(Block(width, heads) for _ in range(layers)), "ln_f": nn.LayerNorm(width),
        })

    def forward(self, ids, targets):
        t = self.transformer
        x = t["wte"](ids) + t["wpe"].weight
        for block in t["h"]:
            x = block(x)
        logits = F.linear(t["ln_f"](x), t["wte"].weight)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    facts = json.loads((options.data / "model.json").read_text())
    sizes, adamw = facts["sizes"], facts["adamw"]
    model = Gpt2(**sizes)
    flat = torch.from_numpy(np.fromfile(options.data / "params.bin", dtype=np.float32))
    params = dict(model.named_parameters())
    with torch.no_grad():
        for tensor in facts["tensors"]:
            p = params[tensor["name"]]
            p.copy_(flat[tensor["offset"]:tensor["offset"] + p.numel()].view(tensor["shape"]))
    tokens = torch.from_numpy(np.fromfile(options.data / "tokens.bin", dtype=np.int32)).long()
    tokens = tokens.view(-1, facts["samples"], sizes["context"] + 1)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in params.values() if p.dim() > 1], "weight_decay": adamw["weightDecay"]},
            {"params": [p for p in params.values() if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=adamw["lr"], betas=(adamw["beta1"], adamw["beta2"]), eps=adamw["eps"],
    )

    step = 0

    def train_step():
        nonlocal step
        batch = tokens[step % len(tokens)]
        step += 1
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            loss = model(batch[:, :-1], batch[:, 1:])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    print(json.dumps({"ready": True, "version": torch.__version__}), flush=True)
    for line in sys.stdin:
        command = line.split()
        if command[0] == "quit":
            break
        ms, losses = [], []
        for _ in range(int(command[1])):
            started = time.perf_counter()
            losses.append(train_step())
            ms.append((time.perf_counter() - started) * 1e3)
        print(json.dumps({"ms": ms, "loss": losses}), flush=True)


main()
