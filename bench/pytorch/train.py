"""The presets of Gatewise in PyTorch, on the same text, split, batches and optimizer, to compare validation losses.

    python3 bench/pytorch/train.py BOOK.txt [--preset lstm] [--steps 2000] [--seed 1]

Needs torch (Debian: python3-torch). It is no part of the package or of its tests. Initial weights are drawn from the
same distributions but with PyTorch's own generator, so runs agree in distribution, not number by number.
"""
import argparse
import json
import math
import time

import torch
from torch import nn

import blocks

PRESETS = {"one-hot-rnn": ("rnn", False), "embedding-rnn": ("rnn", True), "gru": ("gru", True), "lstm": ("lstm", True)}
CELLS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class LanguageModel(nn.Module):
    def __init__(self, preset, vocab, embedding, hidden):
        super().__init__()
        cell, embedded = PRESETS[preset]
        self.vocab = vocab
        self.embedding = nn.Embedding(vocab, embedding) if embedded else None
        self.rnn = CELLS[cell](embedding if embedded else vocab, hidden)
        self.head = nn.Linear(hidden, vocab)

    def forward(self, tokens, state=None):
        x = self.embedding(tokens) if self.embedding else nn.functional.one_hot(tokens, self.vocab).float()
        h, state = self.rnn(x, state)
        return self.head(h), state


def detach(state):
    if isinstance(state, list):
        return [detach(s) for s in state]
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def evaluate(model, tokens, streams):
    """Mean nats per character and accuracy over `streams` contiguous streams, the state carried through each, which all but
    the first begin with the end of the one before, for a state to predict from."""
    targets = len(tokens) - 1
    before = min(128, math.ceil(targets / streams) // 4)
    own = math.ceil((targets - before) / streams)
    loss = correct = 0.0
    with torch.no_grad():
        for b in range(streams):
            part = tokens[b * own : min((b + 1) * own + before, targets) + 1]
            first = before if b else 0
            logits, goals = model(part[:-1, None])[0][first:, 0], part[1 + first :]
            loss += nn.functional.cross_entropy(logits, goals, reduction="sum").item()
            correct += (logits.argmax(-1) == goals).sum().item()
    return loss / (len(tokens) - 1), correct / (len(tokens) - 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("book")
    parser.add_argument("--preset", choices=[*PRESETS, *blocks.CELLS], default="lstm")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--embedding", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seq", type=int, default=64)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--val", type=float, default=0.1)
    parser.add_argument("--eval-every", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)

    with open(args.book, encoding="utf-8") as file:
        text = file.read()
    characters = sorted(set(text))
    index = {c: i for i, c in enumerate(characters)}
    tokens = torch.tensor([index[c] for c in text])
    cut = len(tokens) - int(len(tokens) * args.val)
    train, val = tokens[:cut], tokens[cut:]
    stream = (len(train) - 1) // args.batch
    windows = stream // args.seq

    if args.preset in blocks.CELLS:
        model = blocks.BlockModel(args.preset, len(characters))
    else:
        model = LanguageModel(args.preset, len(characters), args.embedding, args.hidden)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    begun = time.time()
    state = None
    for step in range(args.steps):
        window = step % windows
        if window == 0:
            state = None
        at = [b * stream + window * args.seq for b in range(args.batch)]
        inputs = torch.stack([train[i : i + args.seq] for i in at], 1)
        targets = torch.stack([train[i + 1 : i + args.seq + 1] for i in at], 1)
        logits, state = model(inputs, state)
        state = detach(state)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % args.eval_every == 0 or step + 1 == args.steps:
            val_loss, accuracy = evaluate(model, val, max(1, min(args.batch, len(val) // 1024)))
            rate = (step + 1) * args.batch * args.seq / (time.time() - begun)
            print(json.dumps({"preset": args.preset, "seed": args.seed, "step": step + 1, "valLoss": round(val_loss, 4),
                              "valAccuracy": round(accuracy, 4), "charactersPerSecond": round(rate)}), flush=True)


if __name__ == "__main__":
    main()
