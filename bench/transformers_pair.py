#!/usr/bin/env python3
"""A model of transformers with attn_implementation="fovea" and fovea.transformers.Cache beside "sdpa" and DynamicCache, one thread, f32.

    bench/transformers_pair.py [--tokens 4096] [--answer 64] [--depth 8192] [--steps 12] [--policy P] [--dtype T] [MODEL.gguf]

Wants torch, transformers, gguf and accelerate beside the installed package; weights come from the GGUF file. It prints: the
share of positions of a text whose likeliest token is the same; whether greedy answers are; and, in turn, the milliseconds of the processor for a token at a
depth, the same keys and values in both caches. 0 leaves a part out.
"""
import argparse
import glob
import os
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging

import fovea
from fovea.transformers import Cache

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def text_of(tokenizer, count):
    """Tokens of the documentation in this tree."""
    text = "\n".join(open(path, encoding="utf-8").read() for path in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))))
    return torch.tensor([tokenizer(text[:8 * count])["input_ids"][:count]])


def use(model, name):
    model.set_attn_implementation(name)
    return Cache() if name == "fovea" else DynamicCache(config=model.config)


def argmax_of(model, name, tokens):
    """The likeliest next token at each position; logits are made 512 rows at a time."""
    use(model, name)
    hidden = model.model(tokens, use_cache=False).last_hidden_state[0]
    return torch.cat([model.lm_head(hidden[i:i + 512]).argmax(-1) for i in range(0, len(hidden), 512)])


def answer_of(model, name, tokens, count):
    cache = use(model, name)
    return model.generate(tokens, cache=cache, max_new_tokens=count, do_sample=False, attention_mask=torch.ones_like(tokens))


def filled(model, tokens, policy, dtype):
    """Both caches, with the keys and values of `tokens`, read once by fovea."""
    ours, theirs = Cache((policy, "dense") if policy != "dense" else "dense", dtype), DynamicCache(config=model.config)
    model.set_attn_implementation("fovea")
    model.model(tokens, cache=ours, fovea_policy="dense")
    for number, layer in enumerate(ours.layers):
        theirs.update(*(torch.from_numpy(one).transpose(0, 1)[None].contiguous() for one in layer.caches[0].read()), number)
    return {"fovea": ours, "sdpa": theirs}


def decode(model, caches, steps, policies):
    """Least and all milliseconds of a token, by name; in turn."""
    token, seen = torch.tensor([[5]]), {name: [] for name in ("sdpa",) + policies}
    for _ in range(steps):
        for name, times in seen.items():
            cache = caches["sdpa" if name == "sdpa" else "fovea"]
            model.set_attn_implementation("sdpa" if name == "sdpa" else "fovea")
            more = {} if name == "sdpa" else {"fovea_policy": name}
            begin = time.thread_time()
            model(token, cache=cache, **more)
            times.append(1e3 * (time.thread_time() - begin))
            cache.crop(-1)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("tokens", 4096), ("answer", 64), ("depth", 8192), ("steps", 12)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--policy", default="fovea:budget=0.12")
    parser.add_argument("--dtype", default="f32", help="of fovea's cache at --depth (default: f32, as torch's)")
    parser.add_argument("model", nargs="?", default=os.path.join(ROOT, "models", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    fovea.set_num_threads(1)
    folder, file = os.path.split(options.model)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    with torch.no_grad():
        if options.tokens:
            tokens = text_of(tokenizer, options.tokens)
            wanted, got = (argmax_of(model, name, tokens) for name in ("sdpa", "fovea"))
            print("%d tokens: the likeliest token is the same at %.3f %%" % (tokens.shape[1], 100 * float((wanted == got).float().mean())))
        if options.answer:
            tokens = torch.tensor([tokenizer("The lighthouse keeper wrote in his diary that")["input_ids"]])
            wanted, got = (answer_of(model, name, tokens, options.answer) for name in ("sdpa", "fovea"))
            print("%d greedy tokens: %s" % (got.shape[1] - tokens.shape[1], "the same" if torch.equal(wanted, got) else "they differ"))
        if options.depth:
            policies = ("dense",) if options.policy == "dense" else ("dense", options.policy)
            caches = filled(model, text_of(tokenizer, options.depth), options.policy, options.dtype)
            seen = decode(model, caches, options.steps, policies)
            base = sorted(seen["sdpa"])
            for name, times in seen.items():
                times = sorted(times)
                print("depth %d, %s: %.1f ms a token (median %.1f), %.2f times sdpa (median %.2f)" % (
                    options.depth, name, times[0], times[len(times) // 2], base[0] / times[0], base[len(base) // 2] / times[len(times) // 2]))


if __name__ == "__main__":
    main()
