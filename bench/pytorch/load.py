"""Opens a Gatewise checkpoint in PyTorch and evaluates it on the validation part of a book.

    python3 bench/pytorch/load.py runs/alice-lstm-64/best.safetensors BOOK.txt [--val 0.1]

Needs torch and numpy only; with the safetensors package, `load_file` replaces the reader below.
"""
import argparse
import json
import struct

import numpy as np
import torch
from torch import nn


def read(path):
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, info in header.items():
        start, end = (8 + length + offset for offset in info["data_offsets"])
        tensors[name] = torch.from_numpy(np.frombuffer(data[start:end], dtype="<f4").copy()).reshape(info["shape"])
    return tensors, {key: json.loads(value) for key, value in metadata.items() if key in ("config", "tokenizer", "training")}


def part(tensors, prefix):
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("book")
    parser.add_argument("--val", type=float, default=0.1)
    args = parser.parse_args()
    tensors, metadata = read(args.checkpoint)
    config = metadata["config"]
    kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config["cell"]]
    embedded = config["input"] == "embedding"
    rnn = kind(config["embeddingSize"] if embedded else config["vocabSize"], config["hiddenSize"], config["numLayers"])
    rnn.load_state_dict(part(tensors, "rnn."), strict=True)
    head = nn.Linear(config["hiddenSize"], config["vocabSize"])
    head.load_state_dict(part(tensors, "head."), strict=True)

    with open(args.book, encoding="utf-8") as file:
        text = file.read()
    index = {chr(point): i for i, point in enumerate(metadata["tokenizer"]["codePoints"])}
    tokens = torch.tensor([index[c] for c in text])
    val = tokens[len(tokens) - int(len(tokens) * args.val) :]
    streams = max(1, min(metadata["training"]["options"]["batchSize"], len(val) // 1024))
    targets = len(val) - 1
    before = min(128, -(-targets // streams) // 4)
    length = -(-(targets - before) // streams)
    loss = 0.0
    with torch.no_grad():
        for b in range(streams):
            own = val[b * length : min((b + 1) * length + before, targets) + 1]
            first = before if b else 0
            x = tensors["embedding.weight"][own[:-1]] if embedded else nn.functional.one_hot(own[:-1], config["vocabSize"]).float()
            logits = head(rnn(x[:, None])[0])[first:, 0]
            loss += nn.functional.cross_entropy(logits, own[1 + first :], reduction="sum").item()
    print(json.dumps({"valLoss": loss / targets, "step": metadata["training"]["step"]}))


if __name__ == "__main__":
    main()
