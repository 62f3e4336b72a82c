"""Random `transformers` models of every family that the probe must handle, small enough to build in a moment."""

import torch
import transformers

WIDTH, VOCABULARY, CONTEXT = 24, 61, 64
LAYERS, HEADS = 3, 4


def gpt2(seed=0, **changes):
    options = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": CONTEXT, "vocab_size": VOCABULARY}
    specials = {"bos_token_id": 0, "eos_token_id": 0}
    return _made(transformers.GPT2LMHeadModel, transformers.GPT2Config(**{**options, **specials, **changes}), seed)


def llama(seed=0, **changes):
    """Grouped-query attention: two query heads share a key head."""
    options = {"num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 1}
    config = transformers.LlamaConfig(**{**_common(), **options, **changes})
    return _made(transformers.LlamaForCausalLM, config, seed)


def neox(seed=0, **changes):
    config = transformers.GPTNeoXConfig(**{**_common(), "bos_token_id": 0, "eos_token_id": 0, **changes})
    return _made(transformers.GPTNeoXForCausalLM, config, seed)


def gemma2(seed=0, **changes):
    """Soft caps on scores and logits; every other block sees a sliding window only."""
    options = {
        "num_key_value_heads": 2,
        "head_dim": 6,
        "query_pre_attn_scalar": 6,
        "sliding_window": 12,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    }
    config = transformers.Gemma2Config(**{**_common(), **options, **changes})
    return _made(transformers.Gemma2ForCausalLM, config, seed)


def bert(seed=0, **changes):
    config = transformers.BertConfig(**{**_common(), "type_vocab_size": 2, **changes})
    return _made(transformers.BertForMaskedLM, config, seed)


FAMILIES = {"gpt2": gpt2, "llama": llama, "neox": neox, "gemma2": gemma2, "bert": bert}


def random_prompts(count, length, *, seed=0, vocabulary=VOCABULARY):
    """Token ids above the special ones."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, vocabulary, (length,), generator=generator) for _ in range(count)]


def _common():
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY,
    }


def _made(kind, config, seed):
    config.initializer_range = 0.3  # large weights, so that attention is far from uniform
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config).eval()
        # a trained model has biases and norm scales of its own
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
            assert parameter.isfinite().all(), name
    return model


def fresh_gpt2(seed):
    """As its own initialiser leaves it."""
    options = {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": CONTEXT, "vocab_size": VOCABULARY}
    return _drawn(
        transformers.GPT2LMHeadModel, transformers.GPT2Config(**options, bos_token_id=0, eos_token_id=0), seed
    )


def fresh_llama(seed):
    """As its own initialiser leaves it."""
    options = {"num_key_value_heads": 2, "hidden_size": 32, "num_hidden_layers": 2}
    return _drawn(transformers.LlamaForCausalLM, transformers.LlamaConfig(**{**_common(), **options}), seed)


def _drawn(kind, config, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()
