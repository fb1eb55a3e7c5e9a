"""The scan cells of Gatewise, step by step, in the block in which its language models have them.

Equations: minGRU and minLSTM (Feng et al. 2024), S4D (Gu et al. 2022), S6 in Mamba's block (Gu & Dao 2023). Parameters have
the names and shapes of MambaForCausalLM in transformers, so that a checkpoint's tensors load strictly. Time-major, as
Gatewise is; written for reading and checking, not for speed.
"""
import math

import torch
from torch import nn
from torch.nn import functional as F


def g(x):
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


class MinGRU(nn.Module):
    def __init__(self, units, **_):
        super().__init__()
        self.to_hidden_and_gate = nn.Linear(units, 2 * units)

    def first(self, B, units):
        return torch.zeros(B, units, dtype=self.to_hidden_and_gate.weight.dtype)

    def scan(self, x, h):
        hidden, gate = self.to_hidden_and_gate(x).chunk(2, -1)
        z, candidate = torch.sigmoid(gate), g(hidden)
        out = []
        for t in range(len(x)):
            h = (1 - z[t]) * h + z[t] * candidate[t]
            out.append(h)
        return torch.stack(out), h


class MinLSTM(nn.Module):
    def __init__(self, units, **_):
        super().__init__()
        self.to_hidden_and_gates = nn.Linear(units, 3 * units)

    def first(self, B, units):
        return torch.zeros(B, units, dtype=self.to_hidden_and_gates.weight.dtype)

    def scan(self, x, h):
        hidden, f, i = self.to_hidden_and_gates(x).chunk(3, -1)
        keep = torch.sigmoid(f) / (torch.sigmoid(f) + torch.sigmoid(i))
        candidate = g(hidden)
        out = []
        for t in range(len(x)):
            h = keep[t] * h + (1 - keep[t]) * candidate[t]
            out.append(h)
        return torch.stack(out), h


class S4D(nn.Module):
    def __init__(self, units, state, **_):
        super().__init__()
        pairs = state // 2
        low, high = math.log(1e-2), math.log(1.0)
        self.log_dt = nn.Parameter(torch.rand(units) * (high - low) + low)
        self.log_A_real = nn.Parameter(torch.full((units, pairs), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(pairs).repeat(units, 1).to(torch.get_default_dtype()))
        self.C = nn.Parameter(torch.randn(units, pairs, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.ones(units))

    def first(self, B, units):
        kind = torch.complex128 if self.D.dtype == torch.float64 else torch.complex64
        return torch.zeros(B, *self.A_imag.shape, dtype=kind)

    def scan(self, x, h):
        A = torch.complex(-self.log_A_real.exp(), self.A_imag)
        a = (A * self.log_dt.exp()[:, None]).exp()
        b = (a - 1) / A
        C = torch.view_as_complex(self.C)
        out = []
        for t in range(len(x)):
            h = a * h + b * x[t][..., None]
            out.append(2 * (C * h).sum(-1).real + self.D * x[t])
        return torch.stack(out), h


class S6(nn.Module):
    def __init__(self, units, state, rank, **_):
        super().__init__()
        self.rank, self.state = rank, state
        self.x_proj = nn.Linear(units, rank + 2 * state, bias=False)
        self.dt_proj = nn.Linear(rank, units)
        self.A_log = nn.Parameter(torch.arange(1, state + 1).to(torch.get_default_dtype()).log().repeat(units, 1))
        self.D = nn.Parameter(torch.ones(units))
        with torch.no_grad():
            self.x_proj.weight.normal_(0, 0.1)
            self.dt_proj.weight.uniform_(-(rank**-0.5), rank**-0.5)
            dt = torch.exp(torch.rand(units) * (math.log(0.1) - math.log(1e-3)) + math.log(1e-3))
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def first(self, B, units):
        return torch.zeros(B, units, self.state, dtype=self.D.dtype)

    def scan(self, x, h):
        dt, B, C = self.x_proj(x).split([self.rank, self.state, self.state], -1)
        delta = F.softplus(self.dt_proj(dt))
        A = -self.A_log.exp()
        out = []
        for t in range(len(x)):
            step = delta[t][..., None]
            h = (step * A).exp() * h + step * B[t][:, None] * x[t][..., None]
            out.append((h * C[t][:, None]).sum(-1) + self.D * x[t])
        return torch.stack(out), h


CELLS = {"min-gru": MinGRU, "min-lstm": MinLSTM, "s4d": S4D, "mamba": S6}
WIDTHS = {"min-gru": 48, "min-lstm": 42, "s4d": 68, "mamba": 64}


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def mixer(cell, width, expand=2, state=16, conv=4):
    """A cell with what stands around it: its parameters and the mixer's share one level of names."""
    units = expand * width
    module = CELLS[cell](units, state=state, rank=math.ceil(width / 16))
    module.in_proj = nn.Linear(width, 2 * units, bias=False)
    module.conv1d = nn.Conv1d(units, units, conv, groups=units)
    module.out_proj = nn.Linear(units, width, bias=False)
    with torch.no_grad():
        module.in_proj.weight.normal_(0, 0.1)
        module.conv1d.bias.zero_()
    return module


class Block(nn.Module):
    def __init__(self, cell, width):
        super().__init__()
        self.norm = RMSNorm(width)
        self.mixer = mixer(cell, width)

    def forward(self, r, state=None):
        m = self.mixer
        x, z = m.in_proj(self.norm(r)).chunk(2, -1)
        T, B, units = x.shape
        K = m.conv1d.kernel_size[0]
        before, h = state or (x.new_zeros(K - 1, B, units), m.first(B, units))
        x = torch.cat([before, x])
        after = x[T:]
        convolved = F.conv1d(x.permute(1, 2, 0), m.conv1d.weight, m.conv1d.bias, groups=units).permute(2, 0, 1)
        y, h = m.scan(F.silu(convolved), h)
        return r + m.out_proj(y * F.silu(z)), (after, h)


class Backbone(nn.Module):
    def __init__(self, cell, vocab, width, layers):
        super().__init__()
        self.embeddings = nn.Embedding(vocab, width)
        self.layers = nn.ModuleList(Block(cell, width) for _ in range(layers))
        self.norm_f = RMSNorm(width)
        nn.init.normal_(self.embeddings.weight, 0, 0.1)


class BlockModel(nn.Module):
    def __init__(self, cell, vocab, width=None, layers=3):
        super().__init__()
        self.backbone = Backbone(cell, vocab, width or WIDTHS[cell], layers)

    def forward(self, tokens, states=None):
        b = self.backbone
        r = b.embeddings(tokens)
        after = []
        for i, block in enumerate(b.layers):
            r, state = block(r, states and states[i])
            after.append(state)
        return b.norm_f(r) @ b.embeddings.weight.T, after
