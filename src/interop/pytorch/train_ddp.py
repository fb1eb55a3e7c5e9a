"""Goes on with the training of this folder's model, on one process or many, on one machine or many.

    torchrun --nproc-per-node 2 train_ddp.py --data TEXT --steps 2000 --out DIR
    python3 train_ddp.py --data TEXT --steps 2000 --out DIR

It is Gatewise's own training: the same windows of the text, carried state, loss, clipping, optimizer, schedule and
evaluation. N processes take a share of the batch each, and together do what one does. DIR is in the end a folder like this
one, which `gatewise import` makes a run of again. Run the same command once more where it was stopped or killed: it goes on
from the last snapshot, as torchrun --max-restarts does by itself.
"""
import argparse
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import model as models

HERE = Path(__file__).parent
SNAPSHOT = "snapshot.safetensors"
IGNORE = -100


def word(a, b, c, d):
    """pcg4d's first word (Jarzynski & Olano 2020), which Gatewise draws windows with."""
    v = [(each * 1664525 + 1013904223) & 0xFFFFFFFF for each in (a, b, c, d)]

    def mix():
        for i, j, k in ((0, 1, 3), (1, 2, 0), (2, 0, 1), (3, 1, 2)):
            v[i] = (v[i] + v[j] * v[k]) & 0xFFFFFFFF

    mix()
    v[:] = [each ^ (each >> 16) for each in v]
    mix()
    return v[0]


class Windows:
    """What each step reads, a function of its number alone: `rows` of the batch, [T, B] in and out."""

    def __init__(self, tokens, options, rows):
        self.tokens, self.options, self.rows = tokens, options, rows
        B, T = options["batchSize"], options["seqLen"]
        self.carried = options["state"] == "carry"
        self.stream = (len(tokens) - 1) // B
        self.count = self.stream // T if self.carried else len(tokens) - T
        if self.count < 1:
            raise SystemExit(f"the text is too short for a batch of {B} and windows of {T}")

    def at(self, step):
        """Inputs, targets, and whether the state begins from zero."""
        T, window = self.options["seqLen"], step % self.count
        if self.carried:
            starts = [row * self.stream + window * T for row in self.rows]
        else:
            starts = [word(self.options["seed"], step, row, 4) * self.count >> 32 for row in self.rows]
        cut = torch.stack([self.tokens[start : start + T + 1] for start in starts], 1)
        return cut[:-1], cut[1:], not self.carried or window == 0


def learning_rate(step, options):
    """Of a step, from 0: a linear warm-up, then constant, half a cosine down to a tenth, or halved after each quarter."""
    rate, warmup, start = options["learningRate"], options["warmupSteps"], options["scheduleStart"]
    done = step - start
    if done < warmup:
        return rate * (done + 1) / warmup
    progress = min(1, (done - warmup) / max(1, options["totalSteps"] - start - warmup))
    if options["schedule"] == "cosine":
        return rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * progress)))
    return rate * 0.5 ** min(3, math.floor(4 * progress)) if options["schedule"] == "step" else rate


def evaluate(model, tokens, options, rank, world, device):
    """Mean nats and share of right guesses over every next token once, or over an even selection, in streams that are dealt
    out to the ranks. All but the first read the end of the one before them first, for a state to predict from."""
    targets, most = len(tokens) - 1, options.get("evalTokens") or math.inf
    streams = max(1, min(options["batchSize"], int(min(len(tokens), most)) // 1024))
    T, share = min(options["seqLen"], targets), math.ceil(targets / streams)
    windows = math.ceil(min(1024, most / streams / 4) / T)
    pieces = int(max(1, min(share, most / streams / (windows * T))))
    if most >= targets or pieces * windows * T >= share:
        before = min(128, share // 4)
        begins = range(0, before + math.ceil((targets - before) / streams), T)
    else:
        before = 0
        begins = [piece * share // pieces + window * T for piece in range(pieces) for window in range(windows)]
    own = math.ceil((targets - before) / streams)
    mine = range(rank, streams, world)
    sums, state = torch.zeros(3, dtype=torch.float64, device=device), None
    model.eval()
    with torch.no_grad():
        for begin in begins if mine else ():
            # What is past the end of a stream counts for nothing.
            inputs = torch.zeros(T, len(mine), dtype=torch.long, device=device)
            goals = torch.full_like(inputs, IGNORE)
            for column, b in enumerate(mine):
                start, end = b * own + begin, min((b + 1) * own + before, targets)
                part = tokens[start : min(start + T, end) + 1] if start < end else tokens[:1]
                inputs[: len(part) - 1, column], goals[: len(part) - 1, column] = part[:-1], part[1:]
                if b > 0:
                    goals[: max(0, before - begin), column] = IGNORE
            logits, state = model(inputs, state)
            logits, goals = logits.flatten(0, 1), goals.flatten()
            sums[0] += F.cross_entropy(logits, goals, ignore_index=IGNORE, reduction="sum")
            sums[1] += (logits.argmax(-1) == goals).sum()
            sums[2] += (goals != IGNORE).sum()
    model.train()
    dist.all_reduce(sums)
    return (sums[:2] / sums[2]).tolist()


def read_text(path):
    """Line ends as \\n, no byte-order mark, and of a book of Project Gutenberg the book alone."""
    with open(path, encoding="utf-8-sig") as file:
        text = file.read()
    mark = r"^\*{3} ?%s OF (?:THE|THIS) PROJECT GUTENBERG EBOOK[^\n]*\n?"
    start, end = (re.search(mark % name, text, re.IGNORECASE | re.MULTILINE) for name in ("START", "END"))
    body = text[start.end() if start else 0 : end.start() if end else len(text)]
    return body.strip() + "\n" if start or end else body


def fingerprint(tokens):
    """Length and FNV-1a hash of the text, by which Gatewise knows it again."""
    value = 0x811C9DC5
    for token in tokens:
        value = (value ^ token) * 0x01000193 & 0xFFFFFFFF
    return {"tokens": len(tokens), "hash": value}


def parts(state):
    """h, or (h, c), as a tuple."""
    return state if isinstance(state, tuple) else (state,)


class Training:
    """A model, its optimizer and its carried state, at a step."""

    def __init__(self, tensors, config, args, rank, world, device):
        self.config, self.rank, self.world = config, rank, world
        self.progress = config["training"]
        self.options = options = self.progress["options"]
        if options["batchSize"] % world:
            raise SystemExit(f"a batch of {options['batchSize']} cannot be shared out to {world} processes")
        options["totalSteps"] = args.steps
        self.step, self.best, self.best_step = (self.progress.get(name) for name in ("step", "bestValLoss", "bestStep"))
        self.best = math.inf if self.best is None else self.best
        self.share = options["batchSize"] // world
        self.rows = range(rank * self.share, (rank + 1) * self.share)
        dtype = getattr(torch, args.dtype)
        tensors = {name: tensor.to(device, dtype) for name, tensor in tensors.items()}
        self.model = models.make(config["model"]).to(device, dtype)
        self.model.load_state_dict({name: tensors[name] for name in self.model.state_dict()}, strict=True)
        self.parallel = DistributedDataParallel(self.model)
        self.make_optimizer(tensors)
        carried = [tensors[name][:, self.rows.start : self.rows.stop].contiguous() for name in config["state"] if name in tensors]
        self.state = None if not carried else carried[0] if len(carried) == 1 else tuple(carried)

    def make_optimizer(self, tensors):
        """As config.json says; weight decay leaves some parameters alone."""
        own = self.config["optimizer"]
        kept = [[], []]
        for name, parameter in self.model.named_parameters():
            kept[name in own["noDecay"]].append(parameter)
        groups = [{"params": kept[0], "weight_decay": self.options["weightDecay"]}, {"params": kept[1], "weight_decay": 0.0}]
        settings = dict(own["settings"], lr=self.options["learningRate"])
        if own["class"] == "SGD":
            settings["momentum"] = self.options["momentum"]
        self.optimizer = getattr(torch.optim, own["class"])([group for group in groups if group["params"]], **settings)
        updates = self.step - self.progress.get("momentsSince", 0)
        if updates == 0:
            return
        for name, parameter in self.model.named_parameters():
            moments = {moment: tensors[f"{moment}.{name}"].clone() for moment in own["moments"]}
            step = {} if own["class"] == "SGD" else {"step": torch.tensor(float(updates))}
            self.optimizer.state[parameter] = {**step, **moments}

    def update(self, inputs, targets, restart):
        """One step. Returns the loss of all processes' rows, and the gradient's norm before clipping."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.options)
        logits, state = self.parallel(inputs, None if restart else self.state)
        self.state = tuple(each.detach() for each in state) if isinstance(state, tuple) else state.detach()
        if self.options["loss"] == "last":
            logits, targets = logits[-1:], targets[-1:]
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        clip = self.options["clip"] or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip, error_if_nonfinite=True)
        self.optimizer.step()
        self.step += 1
        loss = loss.detach() / self.world
        dist.all_reduce(loss)
        return loss.item(), norm.item()

    def tensors(self):
        """By file: the parameters, and what training needs besides. All processes must call it."""
        parameters = {name: parameter.detach().contiguous() for name, parameter in self.model.named_parameters()}
        besides = {}
        for moment in self.config["optimizer"]["moments"]:
            for name, parameter in self.model.named_parameters():
                own = self.optimizer.state[parameter].get(moment)
                besides[f"{moment}.{name}"] = torch.zeros_like(parameter) if own is None else own
        if self.options["state"] == "carry" and self.state is not None:
            for name, mine in zip(self.config["state"], parts(self.state)):
                whole = [torch.empty_like(mine) for _ in range(self.world)]
                dist.all_gather(whole, mine.contiguous())
                besides[name] = torch.cat(whole, 1).contiguous()
        return parameters, besides

    def described(self):
        """config.json of where training stands."""
        counts = {"step": self.step, "rngCounter": self.step, "dataCursor": self.step}
        best = {"bestValLoss": self.best if math.isfinite(self.best) else None, "bestStep": self.best_step}
        return {**self.config, "training": {**self.progress, **counts, **best, "evaluationDue": False}}

    def evaluated(self, loss):
        """Whether the loss of an evaluation is the best so far."""
        if loss < self.best:
            self.best, self.best_step = loss, self.step
        return self.best_step == self.step

    def is_patient(self):
        """Whether the last evaluations were not all without a new best."""
        interval, patience = self.options["evalInterval"], self.options.get("patience", 0)
        return not patience or self.step // interval - (self.best_step or 0) // interval < patience


def start():
    """Rank, number of processes and this process's device."""
    cuda = torch.cuda.is_available()
    if "RANK" in os.environ:
        store, rank, world = next(dist.rendezvous("env://"))
        # torchrun may give the store of before to processes that it starts again, with the addresses of those that are gone.
        store = dist.PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
    else:
        store, rank, world = dist.HashStore(), 0, 1
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=world)
    return rank, world, torch.device("cuda" if cuda else "cpu")


def read(folder, device):
    """Tensors and config.json of the last snapshot of a folder, or of the folder itself; None, where there is neither."""
    if (folder / SNAPSHOT).exists():
        with safe_open(folder / SNAPSHOT, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["config"])
    if not (folder / "config.json").exists():
        return None
    files = [folder / name for name in ("model.safetensors", "optimizer.safetensors")]
    return {name: tensor for file in files if file.exists() for name, tensor in load_file(file).items()}, models.read_config(folder)


def write(path, save):
    """A file appears whole or not at all."""
    save(path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", required=True, help="the text, a UTF-8 file")
    parser.add_argument("--steps", type=int, required=True, help="train up to this step, counted from the run's first")
    parser.add_argument("--out", type=Path, required=True, help="the folder that the result goes to")
    parser.add_argument("--snapshot-every", type=int, default=100, help="steps between snapshots")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    args = parser.parse_args()
    rank, world, device = start()
    args.out.mkdir(parents=True, exist_ok=True)
    tensors, config = read(args.out, device) or read(HERE, device)
    text = models.tokenizer(HERE).encode(read_text(args.data))
    known, data = config["training"]["data"], fingerprint(text)
    if known not in (None, data) and rank == 0:
        print(f"{args.data} is not the text that this run was trained on; it goes on with it", file=sys.stderr)
    config["training"]["data"] = data
    training = Training(tensors, config, args, rank, world, device)
    options = training.options
    tokens = torch.tensor(text, device=device)
    after = len(tokens) - int(len(tokens) * options.get("testFraction", 0))
    cut = after - int(len(tokens) * options["valFraction"])
    windows, val = Windows(tokens[:cut], options, training.rows), tokens[cut:after]

    def tell(**event):
        if rank == 0:
            print(json.dumps({"v": 1, **event}), flush=True)

    def snapshot():
        parameters, besides = training.tensors()
        metadata = {"config": json.dumps(training.described())}
        if rank == 0:
            write(args.out / SNAPSHOT, lambda path: save_file({**parameters, **besides}, path, metadata))

    def finish():
        """The snapshot of the last step stays until the folder is whole."""
        snapshot()
        parameters, besides = training.tensors()
        if rank > 0:
            return
        for name in ("model.py", "train_ddp.py", "tokenizer.json"):
            if not (args.out / name).exists():
                shutil.copy(HERE / name, args.out / name)
        write(args.out / "model.safetensors", lambda path: save_file(parameters, path, {"format": "pt"}))
        write(args.out / "optimizer.safetensors", lambda path: save_file(besides, path, {"format": "pt"}))
        described = json.dumps(training.described(), indent=2) + "\n"
        write(args.out / "config.json", lambda path: path.write_text(described, encoding="utf-8"))
        (args.out / SNAPSHOT).unlink()

    parameters = sum(parameter.numel() for parameter in training.model.parameters())
    tell(event="start", device=f"PyTorch {torch.__version__} on {world} × {device}", parameters=parameters, step=training.step)
    loss = None
    patient = True
    while training.step < args.steps and patient:
        loss, norm = training.update(*windows.at(training.step))
        due = lambda interval: interval > 0 and (training.step % interval == 0 or training.step == args.steps)
        if due(options["logInterval"]):
            tell(event="step", step=training.step, loss=loss, learningRate=learning_rate(training.step - 1, options), gradNorm=norm)
        if due(options["evalInterval"]) and len(val) > 1:
            val_loss, accuracy = evaluate(training.model, val, options, rank, world, device)
            best = training.evaluated(val_loss)
            bits = val_loss / math.log(2)
            tell(event="eval", step=training.step, valLoss=val_loss, valBitsPerToken=bits, valAccuracy=accuracy, best=best)
            patient = training.is_patient()
        if training.step % args.snapshot_every == 0:
            snapshot()
    finish()
    tell(event="end", step=training.step, loss=loss)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
