"""Opens what `gatewise export RUN --to transformers FOLDER` wrote in transformers, strictly, and compares the logits.

    python3 bench/pytorch/check_transformers.py RUN FOLDER

Needs torch and transformers, and this checkout's Node packages for the checkpoint's own logits.
"""
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import MambaForCausalLM

LIMIT = 1e-5


def main():
    run, folder = sys.argv[1:]
    model, info = MambaForCausalLM.from_pretrained(folder, output_loading_info=True)
    wrong = {name: sorted(map(str, found)) for name, found in info.items() if found}
    assert not wrong, f"not opened strictly: {wrong}"
    command = ["node", str(Path(__file__).with_name("run.mjs")), "logits", run]
    own = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    T, B, V = own["T"], own["B"], own["V"]
    tokens = torch.tensor(own["tokens"]).reshape(T, B)
    expected = torch.tensor(own["logits"], dtype=torch.float64).reshape(T, B, V)
    with torch.no_grad():
        logits = model.eval()(tokens.T, use_cache=False).logits.transpose(0, 1).double()
    error = ((logits - expected).norm() / expected.norm()).item()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps({"parameters": parameters, "relativeL2": error, "limit": LIMIT}))
    sys.exit(error > LIMIT)


if __name__ == "__main__":
    main()
