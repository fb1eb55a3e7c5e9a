"""Takes models of every form to PyTorch and back, and compares what both compute.

    python3 bench/pytorch/check_pytorch.py [TEXT]

Needs torch 2 and safetensors, and this checkout's Node packages; in ten minutes or so on two cores. For each form of the RNN,
GRU and LSTM, of one to three layers on embeddings and on one-hot input, and for each preset in blocks:

- an exported run opens strictly, its logits are Gatewise's, and so are the losses of its next twenty steps;
- what PyTorch has trained comes back: the same logits, and the same losses of twenty steps more.

Then of one of them, on two processes and gloo: they end with equal parameters, a lower loss than at their start, and with
what one process with the whole batch ends with; they do so too where one of them was killed half-way; and that comes back.
"""
import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent
LOGITS, LOSSES, RANKS = 1e-5, 1e-4, 1e-5
STEPS = 20
TEXT = "The King and Queen of Hearts were seated on their throne when they arrived, with a great crowd assembled about them. "


def node(*args):
    subprocess.run(["node", str(HERE / "run.mjs"), "exchange", *map(str, args)], check=True)


def module(folder):
    """The folder's own model.py."""
    spec = importlib.util.spec_from_file_location("exported", folder / "model.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def command(folder, text, steps, out, *more, processes=0):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    restarts = ["--max-restarts", "2"] if processes else []
    arguments = ["--data", str(text), "--steps", str(steps), "--out", str(out), *more]
    return [sys.executable, *launcher, *restarts, str(folder / "train_ddp.py"), *arguments]


def events(output):
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def train(*args, **options):
    done = subprocess.run(command(*args, **options), check=True, stdout=subprocess.PIPE, text=True)
    return [event["loss"] for event in events(done.stdout) if event["event"] == "step"]


def distance(logits, expected):
    return ((logits.double() - expected).norm() / expected.norm()).item()


def compare(folder, told, losses=None):
    """Distances of a folder's logits from what Gatewise told, and of losses from its own."""
    shape = told["T"], told["B"]
    tokens = torch.tensor(told["tokens"]).reshape(shape)
    expected = torch.tensor(told["logits"], dtype=torch.float64).reshape(*shape, told["V"])
    with torch.no_grad():
        logits, _ = module(folder).load(folder)(tokens)
    return distance(logits, expected), max(abs(a - b) for a, b in zip(told["losses"], losses, strict=True))


def check_forms(work, text):
    node("make", work)
    cases = sorted(path.name for path in work.iterdir() if path.is_dir())
    there = {}
    for case in cases:
        told = json.loads((work / f"{case}.json").read_text())
        middle = told["step"] + STEPS
        losses = train(work / case, text, middle, work / f"{case}-back")
        there[case] = compare(work / case, told, losses)
    node("back", work, *(f"{case}-back" for case in cases))
    worst = [0.0] * 4
    for case in cases:
        told = json.loads((work / f"{case}-back.json").read_text())
        losses = train(work / f"{case}-back", text, told["step"] + STEPS, work / f"{case}-further")
        found = *there[case], *compare(work / f"{case}-back", told, losses)
        worst = [max(pair) for pair in zip(worst, found)]
        print(json.dumps(dict(zip(("case", "logits", "losses", "logitsBack", "lossesBack"), (case, *found)))), flush=True)
    print(json.dumps({"cases": len(cases), "logits": max(worst[0], worst[2]), "losses": max(worst[1], worst[3])}))
    return max(worst[0], worst[2]) <= LOGITS and max(worst[1], worst[3]) <= LOSSES


def killed(folder, text, steps, out, *more):
    """Two processes, one of which is killed after the first snapshot; torchrun starts both again."""
    log = out.with_suffix(".log")
    with open(log, "w") as file:
        running = subprocess.Popen(command(folder, text, steps, out, *more, processes=2), stdout=file, stderr=subprocess.DEVNULL)
        while not (out / "snapshot.safetensors").exists():
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(running.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
        os.kill(int(children[-1]), signal.SIGKILL)
        assert running.wait() == 0
    starts = [event["step"] for event in events(log.read_text()) if event["event"] == "start"]
    assert len(starts) == 2 and starts[1] > starts[0], starts
    return starts


def apart(a, b):
    """The largest difference of two folders' parameters, in float64."""
    a, b = (load_file(folder / "model.safetensors") for folder in (a, b))
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


def check_ranks(work, text, case):
    folder, steps, exact = work / case, 200, ("--dtype", "float64", "--snapshot-every", "20")
    one = train(folder, text, steps, work / "one", *exact)
    two = train(folder, text, steps, work / "two", *exact, processes=2)
    starts = killed(folder, text, steps, work / "killed", *exact)
    node("back", work, "killed")
    told = json.loads((work / "killed.json").read_text())
    logits, losses = compare(work / "killed", told, train(work / "killed", text, steps + STEPS, work / "further"))
    found = {
        "case": case,
        "logitsBack": logits,
        "lossesBack": losses,
        "lossBefore": two[0],
        "lossAfter": two[-1],
        "oneAndTwoRanks": apart(work / "one", work / "two"),
        "unbrokenAndKilled": apart(work / "two", work / "killed"),
        "killedStarts": starts,
    }
    print(json.dumps(found))
    same = max(found["oneAndTwoRanks"], found["unbrokenAndKilled"]) <= RANKS and len(one) == len(two)
    return two[-1] < two[0] and same and logits <= LOGITS and losses <= LOSSES


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--keep", type=Path, help="an empty folder for what is made, which is kept")
    args = parser.parse_args()
    work = args.keep or Path(tempfile.mkdtemp(prefix="gatewise-pytorch-"))
    try:
        text = work / "text.txt"
        text.write_text(args.text.read_text(encoding="utf-8") if args.text else TEXT * 40, encoding="utf-8")
        passed = [check_forms(work, text), check_ranks(work, text, "lstm-embedding-2")]
    finally:
        if not args.keep:
            shutil.rmtree(work)
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
