"""A Gatewise model in PyTorch.

    from model import load, tokenizer

    model = load()                     # of this folder: config.json and model.safetensors
    logits, state = model(tokens)      # tokens [T, B], time first, to logits [T, B, V] and the state to go on from
    logits, state = model(tokens, state)

Parameters have Gatewise's names, so that model.safetensors loads strictly, and what is saved from state_dict() goes back by
`gatewise import`. Needs torch and safetensors.
"""
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).parent


class ResetBeforeGRU(nn.Module):
    """nn.GRU but for n = tanh(W_in x + b_in + W_hn (r * h) + b_hn), the GRU of Cho et al. 2014: the reset before the product."""

    def __init__(self, input_size, hidden_size, num_layers=1, dropout=0.0):
        super().__init__()
        self.hidden_size, self.num_layers, self.dropout = hidden_size, num_layers, dropout
        like = nn.GRU(input_size, hidden_size, num_layers)
        for name, parameter in like.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x, state=None):
        H, after = self.hidden_size, []
        for l in range(self.num_layers):
            w, u, b, c = (getattr(self, f"{name}_l{l}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h = x.new_zeros(x.shape[1], H) if state is None else state[l]
            outputs = []
            for sums in F.linear(x, w, b + c):
                r, z = torch.sigmoid(sums[:, : 2 * H] + h @ u[: 2 * H].T).chunk(2, -1)
                n = torch.tanh(sums[:, 2 * H :] + (r * h) @ u[2 * H :].T)
                h = (1 - z) * n + z * h
                outputs.append(h)
            after.append(h)
            x = torch.stack(outputs)
            if l + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, self.training)
        return x, torch.stack(after)


class RecurrentModel(nn.Module):
    """Embeddings, or one-hot vectors, recurrent layers, and a linear head."""

    def __init__(self, config):
        super().__init__()
        V, H, L = config["vocabSize"], config["hiddenSize"], config["numLayers"]
        embedded = config["input"] == "embedding"
        self.embedding = nn.Embedding(V, config["embeddingSize"]) if embedded else None
        inputs = config["embeddingSize"] if embedded else V
        dropout = config["dropout"] if L > 1 else 0.0
        if config["cell"] == "rnn":
            self.rnn = nn.RNN(inputs, H, L, nonlinearity=config["nonlinearity"], dropout=dropout)
        elif config["cell"] == "lstm":
            self.rnn = nn.LSTM(inputs, H, L, dropout=dropout)
        else:
            self.rnn = (nn.GRU if config["resetAfter"] else ResetBeforeGRU)(inputs, H, L, dropout=dropout)
        self.head = nn.Linear(H, V)

    def forward(self, tokens, state=None):
        """The state is nn.RNN's, nn.GRU's or nn.LSTM's: h, or (h, c), [L, B, H] each."""
        if self.embedding is None:
            x = F.one_hot(tokens, self.head.out_features).to(self.head.weight.dtype)
        else:
            x = self.embedding(tokens)
        output, state = self.rnn(x, state)
        return self.head(output), state


# Cells whose state is multiplied by numbers that do not depend on it: h' = a * h + b. `scan` takes x [T, B, units] and h.


def candidate(x):
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


class MinGRU(nn.Module):
    """Feng et al. 2024."""

    def __init__(self, units, config):
        super().__init__()
        self.to_hidden_and_gate = nn.Linear(units, 2 * units)

    def first(self, x):
        return torch.zeros_like(x[0])

    def scan(self, x, h):
        hidden, gate = self.to_hidden_and_gate(x).chunk(2, -1)
        keep, new = torch.sigmoid(-gate), torch.sigmoid(gate) * candidate(hidden)
        outputs = []
        for a, b in zip(keep, new):
            h = a * h + b
            outputs.append(h)
        return torch.stack(outputs), h


class MinLSTM(nn.Module):
    """Feng et al. 2024; f' = f / (f + i) is the sigmoid of the difference of their logarithms."""

    def __init__(self, units, config):
        super().__init__()
        self.to_hidden_and_gates = nn.Linear(units, 3 * units)

    first = MinGRU.first

    def scan(self, x, h):
        hidden, f, i = self.to_hidden_and_gates(x).chunk(3, -1)
        difference = F.logsigmoid(f) - F.logsigmoid(i)
        keep, new = torch.sigmoid(difference), torch.sigmoid(-difference) * candidate(hidden)
        outputs = []
        for a, b in zip(keep, new):
            h = a * h + b
            outputs.append(h)
        return torch.stack(outputs), h


class S4D(nn.Module):
    """Gu et al. 2022: state / 2 complex pairs a channel, the last axis of C and of h their real and imaginary parts."""

    def __init__(self, units, config):
        super().__init__()
        pairs = config["stateSize"] // 2
        self.log_dt = nn.Parameter(torch.rand(units) * 4.6 - 4.6)
        self.log_A_real = nn.Parameter(torch.full((units, pairs), 0.5).log())
        self.A_imag = nn.Parameter(torch.pi * torch.arange(pairs).float().repeat(units, 1))
        self.C = nn.Parameter(torch.randn(units, pairs, 2) * 0.5**0.5)
        self.D = nn.Parameter(torch.ones(units))

    def first(self, x):
        return x.new_zeros(x.shape[1], *self.C.shape)

    def scan(self, x, h):
        # In double precision: a - 1 would lose its digits where the steps are small.
        A = torch.complex(-self.log_A_real.double().exp(), self.A_imag.double())
        a = (A * self.log_dt.double().exp()[:, None]).exp()
        b = (a - 1) / A
        C, h = torch.view_as_complex(self.C), torch.view_as_complex(h)
        a, b = a.to(C.dtype), b.to(C.dtype)
        outputs = []
        for xt in x:
            h = a * h + b * xt[..., None]
            outputs.append(2 * (C * h).sum(-1).real + self.D * xt)
        return torch.stack(outputs), torch.view_as_real(h)


class S6(nn.Module):
    """Gu & Dao 2023: what is kept and forgotten depends on what is read."""

    def __init__(self, units, config):
        super().__init__()
        self.sizes = config.get("timeStepRank") or -(-config["hiddenSize"] // 16), config["stateSize"], config["stateSize"]
        rank, states, _ = self.sizes
        self.x_proj = nn.Linear(units, sum(self.sizes), bias=False)
        self.dt_proj = nn.Linear(rank, units)
        self.A_log = nn.Parameter(torch.arange(1, states + 1).float().log().repeat(units, 1))
        self.D = nn.Parameter(torch.ones(units))

    def first(self, x):
        return x.new_zeros(x.shape[1], *self.A_log.shape)

    def scan(self, x, h):
        dt, B, C = self.x_proj(x).split(self.sizes, -1)
        delta = F.softplus(self.dt_proj(dt))
        A = -self.A_log.exp()
        outputs = []
        for xt, d, b, c in zip(x, delta, B, C):
            h = (d[..., None] * A).exp() * h + (d * xt)[..., None] * b[:, None]
            outputs.append((h * c[:, None]).sum(-1) + self.D * xt)
        return torch.stack(outputs), h


SCANS = {"min-gru": MinGRU, "min-lstm": MinLSTM, "s4d": S4D, "mamba": S6}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Block(nn.Module):
    """Mamba's block around a cell: x, z = in_proj(norm(r)); r' = r + out_proj(cell(silu(conv(x))) * silu(z))."""

    def __init__(self, config):
        super().__init__()
        width = config["hiddenSize"]
        units, kernel = config["expand"] * width, config["convSize"]
        self.norm = RMSNorm(width)
        # The cell's parameters and the block's share one level of names.
        self.mixer = SCANS[config["cell"]](units, config)
        self.mixer.in_proj = nn.Linear(width, 2 * units, bias=False)
        self.mixer.conv1d = nn.Conv1d(units, units, kernel, groups=units)
        self.mixer.out_proj = nn.Linear(units, width, bias=False)

    def forward(self, r, state=None):
        m = self.mixer
        x, z = m.in_proj(self.norm(r)).chunk(2, -1)
        T, B, units = x.shape
        h, window = (m.first(x), x.new_zeros(B, units, m.conv1d.kernel_size[0] - 1)) if state is None else state
        row = torch.cat([window, x.permute(1, 2, 0)], 2)
        x = F.silu(F.conv1d(row, m.conv1d.weight, m.conv1d.bias, groups=units)).permute(2, 0, 1)
        y, h = m.scan(x, h)
        return r + m.out_proj(y * F.silu(z)), (h, row[:, :, T:])


class Backbone(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = nn.Embedding(config["vocabSize"], config["hiddenSize"])
        self.layers = nn.ModuleList(Block(config) for _ in range(config["numLayers"]))
        self.norm_f = RMSNorm(config["hiddenSize"])


class BlockModel(nn.Module):
    """Embeddings, which are the head too, and blocks."""

    def __init__(self, config):
        super().__init__()
        self.backbone, self.dropout = Backbone(config), config["dropout"]

    def forward(self, tokens, state=None):
        """The state is (h, conv) of all layers, [L, B, ...] each."""
        b, after = self.backbone, []
        r = b.embeddings(tokens)
        for l, block in enumerate(b.layers):
            if l > 0:
                r = F.dropout(r, self.dropout, self.training)
            r, own = block(r, state and tuple(each[l] for each in state))
            after.append(own)
        return F.linear(b.norm_f(r), b.embeddings.weight), tuple(map(torch.stack, zip(*after)))


def make(config):
    """The module of a configuration, config.json's "model", with weights as PyTorch draws them."""
    return (BlockModel if config["cell"] in SCANS else RecurrentModel)(config)


def read_config(directory=HERE):
    config = json.loads((Path(directory) / "config.json").read_text(encoding="utf-8"))
    if config["format"] != "gatewise-pytorch" or config["version"] != 1:
        raise ValueError(f"{directory}: expected a folder of gatewise export --to pytorch, version 1")
    return config


def load(directory=HERE):
    """The module of a folder, with its weights, for reading; call train() on it for dropout."""
    model = make(read_config(directory)["model"])
    model.load_state_dict(load_file(Path(directory) / "model.safetensors"), strict=True)
    return model.eval()


class CharTokenizer:
    """One token for each character."""

    def __init__(self, json):
        self.characters = [chr(point) for point in json["codePoints"]]
        self.tokens = {character: token for token, character in enumerate(self.characters)}

    def encode(self, text):
        unknown = sorted(set(text) - self.tokens.keys())
        if unknown:
            raise ValueError(f"the model does not know {unknown[:8]}")
        return [self.tokens[character] for character in text]

    def decode(self, tokens):
        return "".join(self.characters[token] for token in tokens)


class WordTokenizer:
    """Tokens of single bytes, then of words; what is no word of it is spelt in bytes. Needs the package regex."""

    WORD = (
        r"[\p{L}\p{M}\p{N}_]+(?:['\u2019][\p{L}\p{M}\p{N}_]+)*"
        r"|[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+|."
    )

    def __init__(self, json):
        words = json.get("words", [])
        self.pieces = [bytes([byte]) for byte in range(256)] + [word.encode() for word in words]
        self.tokens = {word: 256 + i for i, word in enumerate(words)}

    def encode(self, text):
        import regex

        words = regex.findall(self.WORD, text, regex.DOTALL)
        return [token for word in words for token in ([self.tokens[word]] if word in self.tokens else word.encode())]

    def decode(self, tokens):
        return b"".join(self.pieces[token] for token in tokens).decode("utf-8", "replace")


class ByteTokenizer(WordTokenizer):
    """A token for each byte."""

    def encode(self, text):
        return list(text.encode())


class BpeTokenizer:
    """Byte-pair encoding, by the package tokenizers of Hugging Face, whose format its tokenizer.json has."""

    def __init__(self, json_):
        from tokenizers import Tokenizer

        self.bpe = Tokenizer.from_str(json.dumps(json_))

    def encode(self, text):
        return self.bpe.encode(text).ids

    def decode(self, tokens):
        return self.bpe.decode(list(tokens))


TOKENIZERS = {"char": CharTokenizer, "byte": ByteTokenizer, "word": WordTokenizer}


def tokenizer(directory=HERE):
    own = json.loads((Path(directory) / "tokenizer.json").read_text(encoding="utf-8"))
    return TOKENIZERS.get(own.get("kind"), BpeTokenizer)(own)
