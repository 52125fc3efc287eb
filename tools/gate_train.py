#!/usr/bin/env python3
"""Trains scores for far tokens on the keys of a real model: the FastGRNN gate of include/fovea/reference/gate.h and a linear score.

    tools/gate_train.py --model MODEL.gguf --text TEXT [--other TEXT] [--weights DIR] [--features FILE.npz] ...

Needs numpy, torch, gguf and tokenizers; a model of the llama family (SmolLM2). Not part of `make test`.

What is learned. The text is cut into sequences of 2048 tokens. Rows 1024..2047 are the queries; tokens 16..895 are scored:
each is more than 128 tokens before every query (far), seen by the same queries, and not in the first page (plans hold that
anyway). The far mass of a token is its mean share of dense attention over these queries and the layer's query heads. One
score per layer and token, since the gate's mask is shared by the heads. Keys are taken as the cache holds them: after rope.
Sequences from the last quarter of TEXT are held out and only measured; so is OTHER.

Figures: recall = share of the 5 % of tokens with most far mass that are among the 5 % with the highest score; mass = far mass
of these tokens over that of the best 5 %. Means over sequences, then over layers.
"""

import argparse
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

TOKENS, QUERIES, FIRST, LAST = 2048, 1024, 16, 1024 - 128
CHUNK = 128  # rows of attention at a time: fits a cache
STRETCH = 240  # tokens that the gate is trained on at a time
PARTS = ("gate_input", "gate_state", "update_input", "update_state", "gate_bias", "update_bias")


def tokenizer_open(reader):
    from tokenizers import Tokenizer, models, pre_tokenizers
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ", 1)) for m in reader.fields["tokenizer.ggml.merges"].contents()]
    made = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return made


class Model:
    """A llama as GGUF stores it: rope turns neighbouring elements."""

    def __init__(self, reader):
        import gguf
        field = lambda name: reader.fields["llama." + name].contents()
        self.layers, self.heads = field("block_count"), field("attention.head_count")
        self.kv_heads, self.epsilon = field("attention.head_count_kv"), field("attention.layer_norm_rms_epsilon")
        self.dim = field("embedding_length") // self.heads
        self.weights = {t.name: torch.from_numpy(np.array(gguf.dequantize(t.data, t.tensor_type), np.float32))
                        for t in reader.tensors if t.name.endswith(".weight")}
        angles = torch.outer(torch.arange(TOKENS).double(),
                             float(field("rope.freq_base")) ** (-torch.arange(0, self.dim, 2).double() / self.dim))
        self.turn = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)[:, None]

    def norm(self, x, name):
        return torch.nn.functional.rms_norm(x, x.shape[-1:], self.weights[name + ".weight"], self.epsilon)

    def rope(self, x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turn).flatten(-2)

    def features(self, ids):
        """Keys [layer][token][kv_head * dim], far mass [layer][token], both of tokens 0..LAST; perplexity."""
        x, keys, masses = self.weights["token_embd.weight"][ids], [], []
        future = torch.ones(CHUNK, CHUNK, dtype=torch.bool).triu(1)
        for layer in range(self.layers):
            mul = lambda a, name: a @ self.weights[f"blk.{layer}.{name}.weight"].T
            a = self.norm(x, f"blk.{layer}.attn_norm")
            q = self.rope(mul(a, "attn_q").view(TOKENS, self.heads, self.dim))
            k = self.rope(mul(a, "attn_k").view(TOKENS, self.kv_heads, self.dim))
            v = mul(a, "attn_v").view(TOKENS, self.kv_heads, self.dim)
            keys.append(k[:LAST].flatten(1).clone())
            out, mass, group = torch.empty_like(q), torch.zeros(LAST), self.heads // self.kv_heads
            for row in range(0, TOKENS, CHUNK):
                end = row + CHUNK
                for head in range(self.kv_heads):
                    some = slice(head * group, (head + 1) * group)
                    scores = torch.matmul(q[row:end, some].transpose(0, 1), k[:end, head].T).mul_(self.dim ** -0.5)
                    scores[:, :, row:].masked_fill_(future, -torch.inf)
                    share = scores.softmax(-1)
                    out[row:end, some] = (share @ v[:end, head]).transpose(0, 1)
                    if row >= QUERIES:
                        mass += share[:, :, :LAST].sum((0, 1)) / (self.heads * (TOKENS - QUERIES))
            masses.append(mass)
            x = x + mul(out.flatten(1), "attn_output")
            a = self.norm(x, f"blk.{layer}.ffn_norm")
            x = x + mul(torch.nn.functional.silu(mul(a, "ffn_gate")) * mul(a, "ffn_up"), "ffn_down")
        logits = self.norm(x[:-1:16], "output_norm") @ self.weights["token_embd.weight"].T
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1::16][:len(logits)]))
        return torch.stack(keys), torch.stack(masses), loss.exp().item()


def features_make(options):
    import gguf
    reader = gguf.GGUFReader(options.model)
    tokenizer, model, sets = tokenizer_open(reader), Model(reader), {}
    ids = tokenizer.encode(Path(options.text).read_text()).ids
    sets["train"] = spread(ids[:len(ids) * 3 // 4], options.train)
    sets["held_out"] = spread(ids[len(ids) * 3 // 4:], options.held_out)
    if options.other:
        sets["other"] = spread(tokenizer.encode(Path(options.other).read_text()).ids, options.held_out)
    out = {"kv_heads": np.array(model.kv_heads)}
    for name, sequences in sets.items():
        made = []
        for i, sequence in enumerate(sequences):
            made.append(model.features(sequence))
            print(f"{name} {i + 1}/{len(sequences)}: perplexity {made[-1][2]:.2f}", file=sys.stderr, flush=True)
        out[name + "_keys"] = torch.stack([m[0] for m in made], 1).numpy()    # [layer][sequence][token][kv_heads * dim]
        out[name + "_mass"] = torch.stack([m[1] for m in made], 1).numpy()    # [layer][sequence][token]
    return out


def spread(ids, count):
    """`count` sequences without overlap, spread evenly."""
    count = min(count, len(ids) // TOKENS)
    gap = (len(ids) - TOKENS) // max(count - 1, 1)
    return [ids[i * gap:i * gap + TOKENS] for i in range(count)]


def labels(mass):
    """The 5 % of scored tokens with most far mass. [..., FIRST:LAST] -> 0 or 1"""
    keep = round(0.05 * mass.shape[-1])
    return torch.zeros_like(mass).scatter_(-1, mass.topk(keep).indices, 1.0)


def measure(scores, mass):
    """(recall, mass) of scores [layer][sequence][FIRST:LAST] against far mass of the same shape: [layer] each."""
    keep = round(0.05 * mass.shape[-1])
    chosen = torch.zeros_like(mass).scatter_(-1, scores.topk(keep).indices, 1.0)
    best = labels(mass)
    return (chosen * best).sum(-1).mean(-1) / keep, ((chosen * mass).sum(-1) / (best * mass).sum(-1)).mean(-1)


def gate_salience(parts, keys):
    """fovea's cell for all layers at once; zeta 1, nu 0. keys [layer][sequence][token][input] -> [layer][sequence][token]"""
    w_gate, u_gate, w_update, u_update, b_gate, b_update = parts
    inputs = torch.cat((w_gate, w_update), 1).transpose(1, 2)
    states = torch.cat((u_gate, u_update), 1).transpose(1, 2)
    biases = torch.cat((b_gate, b_update), 1)[:, None]
    hidden, out = keys.new_zeros(*keys.shape[:2], w_gate.shape[1]), []
    sums = (keys.flatten(1, 2) @ inputs).view(*keys.shape[:3], -1) + biases[:, :, None]
    for sum_ in sums.unbind(2):
        gate, update = (sum_ + hidden @ states).chunk(2, -1)
        gate = torch.sigmoid(gate)
        hidden = gate * hidden + (1 - gate) * torch.tanh(update)
        out.append(hidden)
    return (torch.stack(out, 2).square().sum(-1) + 1e-12).sqrt()


def fold(weights, biases, mean, std):
    """Weights for raw keys out of weights for standardised ones. weights [layer][out][in], mean and std [layer][1][1][in]"""
    weights = weights / std[:, 0]
    return weights, biases - (weights * mean[:, 0]).sum(-1)


def loss_of(scores, best):
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, best, pos_weight=torch.tensor(4.0))


def fit(parameters, loss, steps, rate, decay, name):
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for step in range(steps):
        optimiser.zero_grad()
        value = loss(step)
        value.backward()
        # layers share no weight: clip each parameter's gradient, do not let one layer slow the others
        torch.nn.utils.clip_grad_value_(parameters, 0.1)
        optimiser.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"{name} {step}: loss {value.item():.4f}", file=sys.stderr, flush=True)


def linear_train(keys, mass, options):
    """One weight per input and a bias, each layer on its own. -> weights [layer][in], bias [layer][1], for raw keys"""
    mean, std = keys.mean((1, 2), True), keys.std((1, 2), keepdim=True)
    x, best = ((keys - mean) / std)[:, :, FIRST:], labels(mass)
    w, b = torch.zeros(len(keys), keys.shape[-1], requires_grad=True), torch.full((len(keys), 1, 1), -2.0, requires_grad=True)
    fit([w, b], lambda step: loss_of(torch.einsum("lstc,lc->lst", x, w) + b, best), 150, 0.05, options.decay, "linear")
    with torch.no_grad():
        w, b = fold(w[:, None], b[:, 0], mean, std)
    return w[:, 0], b


def gate_train(keys, mass, options):
    """Six parts [layer]..., for raw mean keys."""
    layers, inputs, hidden = len(keys), keys.shape[-1], options.hidden
    mean, std = keys.mean((1, 2), True), keys.std((1, 2), keepdim=True)
    x, best = (keys - mean) / std, labels(mass)
    uniform = lambda rows, columns: (torch.rand(layers, rows, columns) * 2 - 1) * (6 / (rows + columns)) ** 0.5
    parts = [uniform(hidden, inputs), uniform(hidden, hidden), uniform(hidden, inputs), uniform(hidden, hidden),
             torch.full((layers, hidden), -3.0), torch.zeros(layers, hidden)]
    scale, offset = torch.full((layers, 1, 1), 2.0), torch.full((layers, 1, 1), -7.0)
    parameters = [p.requires_grad_() for p in (*parts, scale, offset)]

    def loss(step):
        # a stretch of every sequence from a cleared state, its first tokens unscored; noise against learning by heart
        start = int(torch.randint(0, x.shape[2] - STRETCH + 1, ()))
        stretch = x[:, :, start:start + STRETCH]
        salience = gate_salience(parts, stretch + options.noise * torch.randn_like(stretch))[:, :, FIRST:]
        return loss_of(salience * scale + offset, best[:, :, start:start + STRETCH - FIRST])

    fit(parameters, loss, options.steps, options.rate, options.gate_decay, "gate")
    with torch.no_grad():
        parts[0], parts[4] = fold(parts[0], parts[4], mean, std)
        parts[2], parts[5] = fold(parts[2], parts[5], mean, std)
    return [p.detach() for p in parts]


def vectors_write(folder, layer, parts, keys, kv_heads):
    """One layer's gate, a few held-out tokens and the tool's saliences of them."""
    parts = [p[0].float() for p in parts]
    heads = keys.view(len(keys), kv_heads, -1)
    salience = gate_salience([p.double()[None] for p in parts], heads.double().mean(1)[None, None])[0, 0]
    header = np.array([heads.shape[2], parts[1].shape[0], kv_heads, len(keys)], "<u4").tobytes()
    arrays = [*parts, keys, salience]
    body = b"".join(a.numpy().astype("<f4").tobytes() for a in arrays)
    (folder / f"layer_{layer}.bin").write_bytes(b"FVGT" + header + body)


README = """<!-- generated by tools/gate_train.py -->
# Trained scores for far tokens

Made from SmolLM2-135M-Instruct, its Q4_1 weights in f32, by

    {command}

with seed {seed}, Python {python}, numpy {numpy}, torch {torch}, gguf {gguf}, tokenizers {tokenizers}. MODEL has sha256 `{model}`,
TEXT (the topics of pydoc_data, Python 3) `{text}`, OTHER (the GNU GPL, version 3) `{other}`. {train} sequences of 2048 tokens
to train on, {held_out} held out. What is learned and measured: the tool's first lines. The figures: docs/lab/gate.md.

- `linear_mean.npy` f32 [layer of --only][65]: weights for the mean over the KV heads of a token's keys after rope, then the bias.
- `linear_all.npy` f32 [layer of --only][193]: the same for the keys of the 3 KV heads side by side.
- `layer_N.bin`, the gate of layer N, little-endian: `"FVGT"`, u32 input_dim, hidden_dim, kv_heads, tokens, then f32: the six
  parts in the order and shapes of FV_GATE_PART_LIST (zeta 1, nu 0), keys [tokens][kv_heads][input_dim] of the first held-out
  tokens, salience [tokens] computed in f64. `gate_trained_test` checks fv_gate_score_keys() against them. The gates of the
  other layers come out of the same command with --layers.
"""


def options_read():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="GGUF file, any storage type")
    parser.add_argument("--text", required=True, help="UTF-8; three quarters to train on, the last quarter held out")
    parser.add_argument("--other", help="text of another kind, only measured")
    parser.add_argument("--features", help="keys and masses: read if the file exists, else made and written")
    parser.add_argument("--weights", help="folder for the trained weights, e.g. tests/golden/gate_trained")
    parser.add_argument("--layers", type=int, nargs="*", default=[], help="layers whose gate is written (50 kB each)")
    parser.add_argument("--only", type=int, nargs="*", help="layers to train and measure (all)")
    parser.add_argument("--train", type=int, default=16, help="sequences to train on (16)")
    parser.add_argument("--held-out", type=int, default=3, help="sequences held out of each text (3)")
    parser.add_argument("--hidden", type=int, default=32, help="hidden size of the gate (32)")
    parser.add_argument("--steps", type=int, default=200, help="steps of the gate's training (200)")
    parser.add_argument("--noise", type=float, default=0.5, help="of the gate's standardised inputs in training (0.5)")
    parser.add_argument("--rate", type=float, default=0.01, help="largest learning rate of the gate (0.01)")
    parser.add_argument("--decay", type=float, default=0.01, help="weight decay of the linear scores (0.01)")
    parser.add_argument("--gate-decay", type=float, default=0.3, help="weight decay of the gate (0.3)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    options = options_read()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    if options.features and Path(options.features).exists():
        data = dict(np.load(options.features))
    else:
        with torch.no_grad():
            data = features_make(options)
        if options.features:
            np.savez(options.features, **data)
    kv_heads = int(data.pop("kv_heads"))
    only = options.only or list(range(len(data["train_keys"])))
    data = {name: torch.from_numpy(array[only]) for name, array in data.items()}
    sets = [name for name in ("held_out", "other") if name + "_keys" in data]
    keys, mass = data["train_keys"], data["train_mass"][..., FIRST:]
    heads = lambda k: k.unflatten(-1, (kv_heads, -1))
    mean = lambda k: heads(k).mean(-2)
    norm = lambda k: heads(k).norm(dim=-1).mean(-1)[..., FIRST:]

    # the sign of the norm is learned: in some layers small keys gather mass
    up, down = measure(norm(keys), mass)[0], measure(-norm(keys), mass)[0]
    sign = torch.where(up >= down, 1.0, -1.0)[:, None, None]
    linear_mean, linear_all = linear_train(mean(keys), mass, options), linear_train(keys, mass, options)
    gate = gate_train(mean(keys), mass, options)
    line = lambda made, k: (torch.einsum("lstc,lc->lst", k, made[0]) + made[1][:, :, None])[..., FIRST:]
    scores = {
        "random": lambda k: torch.rand(k.shape[:3])[..., FIRST:],
        "key norm, sign learned": lambda k: sign * norm(k),
        "linear, mean key": lambda k: line(linear_mean, mean(k)),
        "linear, keys of all heads": lambda k: line(linear_all, k),
        "FastGRNN gate, mean key": lambda k: gate_salience(gate, mean(k))[..., FIRST:],
    }
    recalls = {}
    print("| score | " + " | ".join(f"{s} {f}" for s in ["train", *sets] for f in ("recall", "mass")) + " |")
    with torch.no_grad():
        for name, score in scores.items():
            figures = []
            for set_ in ["train", *sets]:
                pair = measure(score(data[set_ + "_keys"]), data[set_ + "_mass"][..., FIRST:])
                recalls[name, set_] = pair[0]
                figures += [f"{100 * f.mean().item():.1f} %" for f in pair]
            print(f"| {name} | " + " | ".join(figures) + " |")
    for set_ in sets:
        better = recalls["FastGRNN gate, mean key", set_] - recalls["linear, mean key", set_]
        print(f"{set_}: the gate beats the linear score of the mean key in {int((better > 0).sum())} of {len(better)} layers")
        print(f"{set_}: recall of linear, all heads, by layer:",
              *(f"{100 * r:.0f}" for r in recalls["linear, keys of all heads", set_].tolist()))
        print(f"{set_}: recall of the gate, by layer:",
              *(f"{100 * r:.0f}" for r in recalls["FastGRNN gate, mean key", set_].tolist()))
    if options.weights:
        weights_write(Path(options.weights), options, linear_mean, linear_all, gate, data, kv_heads, only)


def weights_write(folder, options, linear_mean, linear_all, gate, data, kv_heads, only):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (weights, bias) in (("linear_mean", linear_mean), ("linear_all", linear_all)):
        np.save(folder / f"{name}.npy", torch.cat((weights, bias), 1).numpy().astype("<f4"))
    for layer in options.layers:
        place = only.index(layer)
        gate_one = [p[place:place + 1] for p in gate]
        vectors_write(folder, layer, gate_one, data["held_out_keys"][place, 0, :32].contiguous(), kv_heads)
    digest = lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else "-"
    command = (f"tools/gate_train.py --model MODEL --text TEXT --other OTHER --train {options.train} "
               f"--held-out {options.held_out} \\\n        --hidden {options.hidden} --steps {options.steps} --noise "
               f"{options.noise} --rate {options.rate} --decay {options.decay} --gate-decay {options.gate_decay} \\\n        "
               f"--seed {options.seed} --weights tests/golden/{folder.name} --layers {' '.join(map(str, options.layers))} \\\n        "
               f"--only {' '.join(map(str, only))}")
    (folder / "README.md").write_text(README.format(
        command=command, seed=options.seed, python=sys.version.split()[0], train=data["train_keys"].shape[1],
        held_out=data["held_out_keys"].shape[1], model=digest(options.model), text=digest(options.text),
        other=digest(options.other), **{m: version(m) for m in ("numpy", "torch", "gguf", "tokenizers")}))


if __name__ == "__main__":
    main()
