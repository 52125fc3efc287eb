#!/usr/bin/env python3
"""attn_implementation="fovea" against "sdpa" on small models of random weights: logits, greedy text, padding, windows, refusals."""
import unittest

import torch
from transformers import (DynamicCache, Gemma2Config, Gemma2ForCausalLM, GptOssConfig, GptOssForCausalLM, LlamaConfig, LlamaForCausalLM,
                          MistralConfig, MistralForCausalLM)

import fovea.transformers
from fovea.transformers import Cache

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

    def test_sinks(self):
        kind, config = GptOssForCausalLM, GptOssConfig
        extra = {"sliding_window": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "layer_types": ["sliding_attention", "full_attention"]}
        tokens = torch.randint(2, 97, (2, 30))
        for call in (lambda model: model(tokens).logits,
                     lambda model: model(tokens, cache=Cache() if model.config._attn_implementation == "fovea" else None).logits):
            wanted, got = self.both(kind, config, extra, call, "eager")
            self.assertLess(float((got - wanted).abs().max()), 1e-4)

    def kept(self, model):
        """What a model keeps: fovea's cache for fovea, else transformers'."""
        return Cache() if model.config._attn_implementation == "fovea" else DynamicCache(config=model.config)

    def test_cache_in_parts(self):
        """Logits of a prompt in two parts and single tokens, over windows that fill."""
        tokens = torch.randint(2, 97, (2, 40))

        def call(model):
            cache, parts = self.kept(model), []
            for first, end in ((0, 13), (13, 30), *((i, i + 1) for i in range(30, 40))):
                parts.append(model(tokens[:, first:end], cache=cache).logits)
            return torch.cat(parts, 1)

        for kind, config, extra in KINDS:
            wanted, got = self.both(kind, config, extra, call, "eager" if kind is Gemma2ForCausalLM else "sdpa")
            self.assertLess(float((got - wanted).abs().max()), 1e-4, kind.__name__)

    def test_generate_with_the_cache(self):
        tokens, seen = torch.randint(2, 97, (3, 12)), torch.ones(3, 12, dtype=torch.long)
        seen[0, :5] = 0
        seen[2, :1] = 0
        for kind, config, extra in KINDS[:2]:
            for more in ({}, {"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}):
                wanted, got = self.both(kind, config, extra, lambda model: model.generate(
                    tokens, attention_mask=seen, max_new_tokens=16, do_sample=False, cache=self.kept(model), **more))
                self.assertTrue(torch.equal(wanted, got), (kind.__name__, more))

    def test_padding_on_the_right_is_not_held(self):
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        model.set_attn_implementation("fovea")
        tokens, seen = torch.randint(2, 97, (2, 12)), torch.ones(2, 12, dtype=torch.long)
        seen[1, 8:] = 0
        cache = Cache()
        with torch.no_grad():
            model(tokens, attention_mask=seen, cache=cache)
            self.assertEqual([len(one) for one in cache.layers[0].caches], [12, 8])
            place = torch.tensor([[12], [8]])
            got = model(tokens[:, :1], attention_mask=torch.cat([seen, torch.ones(2, 1, dtype=torch.long)], 1), cache=cache,
                        position_ids=place).logits[1, 0]
            alone = model(torch.cat([tokens[1:, :8], tokens[1:, :1]], 1)).logits[0, -1]
        self.assertLess(float((got - alone).abs().max()), 1e-4)

    def test_crop_reset_and_types(self):
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        model.set_attn_implementation("fovea")
        tokens = torch.randint(2, 97, (1, 300))
        with torch.no_grad():
            whole = model(tokens).logits
            for dtype, within in ((None, 1e-4), ("f16", 2e-3), ("q8_0", 5e-2)):
                cache = Cache(("fovea:budget=1", "dense"), dtype)
                model(tokens, cache=cache)
                self.assertGreater(cache.nbytes, 0)
                cache.crop(-40)
                self.assertEqual(cache.get_seq_length(), 260)
                cache.batch_repeat_interleave(2)
                again = model(tokens[:, 260:].repeat(2, 1), cache=cache, fovea_policy="dense").logits
                self.assertTrue(torch.equal(again[0], again[1]))
                self.assertLess(float((again[0] - whole[0, 260:]).abs().max()), within)
                cache.reset()
                self.assertEqual(cache.get_seq_length(), 0)
                self.assertLess(float((model(tokens[:, :50], cache=cache).logits - whole[:, :50]).abs().max()), within)

    def test_policy_of_the_cache(self):
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        model.set_attn_implementation("fovea")
        tokens = torch.randint(2, 97, (1, 400))
        with torch.no_grad():
            array = model(tokens, fovea_policy="window:window=16,sinks=0").logits
            cached = model(tokens, cache=Cache("window:window=16,sinks=0")).logits
            self.assertLess(float((array - cached).abs().max()), 1e-4)
            cache = Cache("dense")
            for _ in range(2):
                with self.assertRaises(fovea.PolicyError):
                    model(tokens, cache=cache, fovea_policy="fovea:budget=0.5")
            cache.reset()
            self.assertLess(float((model(tokens, cache=cache).logits - model(tokens).logits).abs().max()), 1e-4)

    def test_masks_of_any_form(self):
        holes = torch.ones(30, 30, dtype=torch.bool).tril()
        holes[3, 1] = holes[20:, 7] = False
        holes[:9, :9] = True  # a prefix
        tokens = torch.randint(2, 97, (1, 30))
        for cached in (False, True):
            wanted, got = self.both(LlamaForCausalLM, LlamaConfig, {}, lambda model: model(
                tokens, attention_mask=holes[None, None], cache=self.kept(model) if cached else None).logits)
            self.assertLess(float((got - wanted).abs().max()), 1e-4)

    def test_refusals(self):
        q = torch.ones(1, 2, 4, 8)
        call = fovea.transformers.fovea_attention
        for keywords in ({"dropout": 0.1}, {"position_bias": torch.ones(4, 4)}):
            with self.assertRaises(NotImplementedError):
                call(None, q, q, q, None, **keywords)
        for mask, said in ((torch.ones(1, 2, 4, 4, dtype=torch.bool), "between heads"), (torch.rand(1, 1, 4, 4), "other numbers")):
            with self.assertRaisesRegex(NotImplementedError, said):
                call(None, q, q, q, mask)
        model = LlamaForCausalLM(LlamaConfig(**SMALL)).eval()
        tokens, cache = torch.randint(2, 97, (1, 5)), Cache()
        with torch.no_grad(), self.assertRaisesRegex(RuntimeError, "attn_implementation"):
            model.set_attn_implementation("sdpa")
            for _ in range(2):
                model(tokens, cache=cache)
        model.set_attn_implementation("fovea")
        hidden = torch.tensor([[0, 0, 1, 1, 1]])
        cache = Cache()
        with torch.no_grad():
            model(tokens, attention_mask=hidden, cache=cache)
            with self.assertRaisesRegex(NotImplementedError, "hid"):
                model(tokens[:, :1], attention_mask=torch.ones(1, 6, dtype=torch.long), cache=cache)


if __name__ == "__main__":
    unittest.main()
