"""Writes the trained model as a GGUF file: export.py FOLDER OUT.gguf [Q5_0|Q8_0|F32], the matrices in Q5_0 if not said otherwise."""

import os
import sys

import gguf
import torch

import bpe
from model import Model

HERE = os.path.dirname(os.path.abspath(__file__))
F32 = gguf.GGMLQuantizationType.F32
FILE_TYPE = {"Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "F32": gguf.LlamaFileType.ALL_F32}


def write_header(out, c, kind):
    out.add_name("demo")
    out.add_description("Corral's demo model, trained on synthetic text made for Corral")
    out.add_author("the Corral project")
    out.add_license("apache-2.0")
    out.add_file_type(FILE_TYPE[kind])
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    out.add_context_length(c.context)
    out.add_embedding_length(c.width)
    out.add_block_count(c.layers)
    out.add_feed_forward_length(c.hidden)
    out.add_head_count(c.heads)
    out.add_head_count_kv(c.kv_heads)
    out.add_key_length(c.head_size)
    out.add_value_length(c.head_size)
    out.add_rope_dimension_count(c.head_size)
    out.add_rope_freq_base(c.rope_base)
    out.add_layer_norm_rms_eps(c.eps)
    out.add_vocab_size(c.vocab)


def write_tokenizer(out, tokenizer):
    kinds = {**dict.fromkeys(bpe.CONTROL, gguf.TokenType.CONTROL), **dict.fromkeys(bpe.USER_DEFINED, gguf.TokenType.USER_DEFINED)}
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokenizer.tokens)
    out.add_token_types([kinds.get(t, gguf.TokenType.NORMAL) for t in tokenizer.tokens])
    out.add_token_merges([f"{a} {b}" for a, b in tokenizer.merges])
    out.add_bos_token_id(tokenizer.ids["<|endoftext|>"])
    out.add_eos_token_id(tokenizer.ids["<|im_end|>"])
    out.add_pad_token_id(tokenizer.ids["<|endoftext|>"])
    out.add_add_bos_token(False)
    with open(os.path.join(HERE, "chat_template.jinja")) as file:
        out.add_chat_template(file.read().rstrip("\n"))


def main():
    folder, path = sys.argv[1:3]
    kind = sys.argv[3] if len(sys.argv) > 3 else "Q5_0"
    model = Model.of(torch.load(f"{folder}/model.pt"))
    out = gguf.GGUFWriter(path, "llama")
    write_header(out, model.config, kind)
    write_tokenizer(out, bpe.Tokenizer.load(f"{folder}/tokenizer.json"))
    for name, p in model.state_dict().items():
        data = p.float().numpy()
        dtype = gguf.GGMLQuantizationType[kind] if data.ndim == 2 else F32
        out.add_tensor(name, gguf.quants.quantize(data, dtype) if dtype != F32 else data, raw_dtype=dtype)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
