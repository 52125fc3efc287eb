#!/usr/bin/env python3
"""attn_implementation="fovea" against "sdpa" on small models of random weights: logits, greedy text, padding, windows, refusals."""
import unittest

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

import fovea.transformers
from fovea.transformers import _part

SMALL = dict(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=16, max_position_embeddings=512, pad_token_id=0, bos_token_id=1, eos_token_id=None)
KINDS = ((LlamaForCausalLM, LlamaConfig, {}), (MistralForCausalLM, MistralConfig, {"sliding_window": 7}),
         (Gemma2ForCausalLM, Gemma2Config, {"sliding_window": 9, "query_pre_attn_scalar": 16}))


class TransformersTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(3)

    def both(self, kind, config, extra, call, reference="sdpa"):
        model = kind(config(**SMALL, **extra)).eval()
        results = []
        for name in (reference, "fovea"):
            model.set_attn_implementation(name)
            with torch.no_grad():
                results.append(call(model))
        return results

    def test_logits(self):
        tokens = torch.randint(2, 97, (2, 40))
        for kind, config, extra in KINDS:
            reference = "eager" if kind is Gemma2ForCausalLM else "sdpa"  # which has no soft cap
            wanted, got = self.both(kind, config, extra, lambda model: model(tokens).logits, reference)
            self.assertLess(float((got - wanted).abs().max()), 1e-4, kind.__name__)

    def test_padding_on_either_side(self):
        tokens, seen = torch.randint(2, 97, (3, 30)), torch.ones(3, 30, dtype=torch.long)
        for cut in (slice(0, 11), slice(19, 30)):
            seen[1, cut] = 0
            for kind, config, extra in KINDS[:2]:
                wanted, got = self.both(kind, config, extra, lambda model: model(tokens, attention_mask=seen).logits)
                real = seen.bool()
                self.assertLess(float((got[real] - wanted[real]).abs().max()), 1e-4)
            seen[:] = 1

    def test_generate(self):
        tokens, seen = torch.randint(2, 97, (2, 12)), torch.ones(2, 12, dtype=torch.long)
        seen[0, :5] = 0
        for kind, config, extra in KINDS[:2]:
            for more in ({}, {"cache_implementation": "static"}):
                wanted, got = self.both(kind, config, extra, lambda model: model.generate(
                    tokens, attention_mask=seen, max_new_tokens=16, do_sample=False, disable_compile=True, **more))
                self.assertTrue(torch.equal(wanted, got), (kind.__name__, more))

    def test_policy(self):
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        model.set_attn_implementation("fovea")
        tokens = torch.randint(2, 97, (1, 400))
        with torch.no_grad():
            dense = model(tokens).logits
            model.config.fovea_policy = "fovea:budget=1"
            self.assertTrue(torch.equal(model(tokens).logits, dense))
            model.config.fovea_policy = "window:window=16,sinks=0"
            self.assertFalse(torch.equal(model(tokens).logits, dense))

    def test_refusals(self):
        holes = torch.ones(4, 4, dtype=torch.bool).tril()
        holes[3, 1] = False
        with self.assertRaisesRegex(NotImplementedError, "another form"):
            _part(holes)
        q = torch.ones(1, 2, 4, 8)
        for keywords in ({"dropout": 0.1}, {"s_aux": torch.ones(2)}, {"position_bias": torch.ones(4, 4)}):
            with self.assertRaises(NotImplementedError):
                fovea.transformers.fovea_attention(None, q, q, q, None, **keywords)
        with self.assertRaisesRegex(NotImplementedError, "between heads"):
            fovea.transformers.fovea_attention(None, q, q, q, torch.ones(1, 2, 4, 4, dtype=torch.bool))


if __name__ == "__main__":
    unittest.main()
