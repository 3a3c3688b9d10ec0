"""llama.cpp's C interface, by ctypes over the libraries that the npm package `@node-llama-cpp/linux-x64` ships.

Everything runs on one thread with a key/value cache in f32 and without flash attention, so that the only roundings are
those of llama.cpp's products: over f16 weights it rounds activations to f16, over bf16 to bf16, over blocks of 32 to
Q8_0 or Q8_1, over K-quants to Q8_K.
"""

import ctypes
import os
import sys
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_size_t, c_uint8, c_uint32, c_void_p
from pathlib import Path

import numpy


class LlamaCppError(Exception):
    """What llama.cpp refused, with what it logged."""


def folder() -> Path:
    """Where the libraries are: `$ATTUNE_LLAMA_CPP`, else beside the packages of this Python."""
    installed = Path(sys.prefix) / "llama.cpp/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64"
    return Path(os.environ.get("ATTUNE_LLAMA_CPP", installed))


class _Params(ctypes.Structure):
    """A struct passed by value. Spare bytes at the end do no harm: it is the last argument and lies on the stack."""

    EXPECTED: dict = {}

    def check(self) -> None:
        """Another version may have moved fields: then the defaults lie elsewhere."""
        for name, expected in self.EXPECTED.items():
            if getattr(self, name) != expected:
                raise LlamaCppError(
                    f"{type(self).__name__}.{name} is {getattr(self, name)} by default instead of {expected}: "
                    "this version of llama.cpp has another layout; adapt parity/peers/llama_cpp_library.py"
                )


class ModelParams(_Params):
    """`llama_model_params`."""

    _fields_ = [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("spare", c_uint8 * 61),
    ]
    EXPECTED = {"n_gpu_layers": -1, "vocab_only": False, "check_tensors": False, "use_extra_bufts": True}


class ContextParams(_Params):
    """`llama_context_params`."""

    _fields_ = (
        [(name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")]
        + [(name, c_uint32) for name in ("n_outputs_max", "n_outputs_max_per_seq")]
        + [(name, c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type")]
        + [(name, c_int32) for name in ("pooling_type", "attention_type", "flash_attn_type")]
        + [(name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")]
        + [("yarn_beta_fast", c_float), ("yarn_beta_slow", c_float), ("yarn_orig_ctx", c_uint32)]
        + [("defrag_thold", c_float), ("cb_eval", c_void_p), ("cb_eval_user_data", c_void_p)]
        + [("type_k", c_int32), ("type_v", c_int32), ("abort_callback", c_void_p), ("abort_callback_data", c_void_p)]
        + [(name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")]
        + [("samplers", c_void_p), ("n_samplers", c_size_t), ("ctx_other", c_void_p), ("spare", c_uint8 * 64)]
    )
    EXPECTED = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "flash_attn_type": -1, "type_k": 1, "type_v": 1}
    EXPECTED |= {"n_threads": 4, "yarn_ext_factor": -1.0, "offload_kqv": True, "swa_full": True, "kv_unified": False}


class QuantizeParams(_Params):
    """`llama_model_quantize_params`; `llama_model_quantize` takes its address."""

    _fields_ = (
        [(name, c_int32) for name in ("nthread", "ftype", "output_tensor_type", "token_embedding_type")]
        + [(name, c_bool) for name in ("allow_requantize", "quantize_output_tensor", "only_copy", "pure")]
        + [("keep_split", c_bool), ("dry_run", c_bool)]
        + [(name, c_void_p) for name in ("imatrix", "kv_overrides", "tt_overrides", "prune_layers")]
        + [("max_buf_size", c_size_t), ("spare", c_uint8 * 64)]
    )
    EXPECTED = {"nthread": 0, "quantize_output_tensor": True, "only_copy": False, "pure": False}


class Batch(ctypes.Structure):
    """`llama_batch`."""

    _fields_ = [("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", POINTER(c_float))]
    _fields_ += [("pos", POINTER(c_int32)), ("n_seq_id", POINTER(c_int32)), ("seq_id", c_void_p)]
    _fields_ += [("logits", POINTER(c_int8))]


_FUNCTIONS = {
    "llama_model_default_params": (ModelParams, []),
    "llama_context_default_params": (ContextParams, []),
    "llama_model_quantize_default_params": (QuantizeParams, []),
    "llama_model_load_from_file": (c_void_p, [c_char_p, ModelParams]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_model_meta_count": (c_int32, [c_void_p]),
    "llama_model_meta_key_by_index": (c_int32, [c_void_p, c_int32, c_char_p, c_size_t]),
    "llama_model_meta_val_str_by_index": (c_int32, [c_void_p, c_int32, c_char_p, c_size_t]),
    "llama_model_chat_template": (c_char_p, [c_void_p, c_char_p]),
    "llama_model_quantize": (c_uint32, [c_char_p, c_char_p, POINTER(QuantizeParams)]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_vocab_type": (c_int32, [c_void_p]),
    "llama_vocab_get_text": (c_char_p, [c_void_p, c_int32]),
    "llama_vocab_is_eog": (c_bool, [c_void_p, c_int32]),
    "llama_vocab_is_control": (c_bool, [c_void_p, c_int32]),
    "llama_vocab_get_add_bos": (c_bool, [c_void_p]),
    "llama_vocab_get_add_eos": (c_bool, [c_void_p]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_detokenize": (c_int32, [c_void_p, POINTER(c_int32), c_int32, c_char_p, c_int32, c_bool, c_bool]),
    "llama_init_from_model": (c_void_p, [c_void_p, ContextParams]),
    "llama_adapter_lora_init": (c_void_p, [c_void_p, c_char_p]),
    "llama_set_adapters_lora": (c_int32, [c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_batch_get_one": (Batch, [POINTER(c_int32), c_int32]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_free": (None, [c_void_p]),
    "llama_model_free": (None, [c_void_p]),
} | {f"llama_vocab_{name}": (c_int32, [c_void_p]) for name in ("bos", "eos", "eot", "pad", "nl")}

# enum llama_ftype of include/llama.h.
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_m": 12}
FILE_TYPES |= {"q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18, "bf16": 32}

# enum ggml_type of ggml/include/ggml.h, with elements and bytes of a block.
GGML_TYPES = {"f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22)}
GGML_TYPES |= {"q5_1": (7, 32, 24), "q8_0": (8, 32, 34), "q4_k": (12, 256, 144), "q5_k": (13, 256, 176)}
GGML_TYPES |= {"q6_k": (14, 256, 210), "bf16": (30, 1, 2)}

_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
_WARN, _ERROR, _CONTINUED = 3, 4, 5


def _load() -> tuple:
    """llama.cpp and the base library of ggml."""
    where = folder()
    found = sorted(where.glob("libllama.*so*"))
    if not found:
        raise LlamaCppError(f"{where}: there is no libllama; `cargo xtask peers` installs it")
    base = ctypes.CDLL(str(where / "libggml-base.so"), ctypes.RTLD_GLOBAL)
    ggml = ctypes.CDLL(str(next(where.glob("libggml.*so*"))), ctypes.RTLD_GLOBAL)
    llama = ctypes.CDLL(str(found[0]), ctypes.RTLD_GLOBAL)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    llama.llama_log_set.argtypes = [_LOG_CALLBACK, c_void_p]
    llama.llama_log_set(_keep_warnings, None)
    # The one library of the processor's instructions that fits best.
    ggml.ggml_backend_load_all_from_path.argtypes = [c_char_p]
    ggml.ggml_backend_load_all_from_path(str(where).encode())
    llama.llama_backend_init()
    for default in ("model", "context", "model_quantize"):
        getattr(llama, f"llama_{default}_default_params")().check()
    return llama, base


# A failed assertion would otherwise start a debugger.
os.environ["GGML_NO_BACKTRACE"] = "1"
_log: list[str] = []


@_LOG_CALLBACK
def _keep_warnings(level, text, _user_data):
    if level in (_WARN, _ERROR, _CONTINUED):
        _log.append((text or b"").decode("utf-8", "replace"))


lib, ggml_base = _load()
VERSIONS = {"llama.cpp": next(folder().glob("libllama.*so*")).name}


def logged() -> list[str]:
    """Warnings and errors so far, without the dots of progress."""
    return [line for line in "".join(_log).splitlines() if line.strip(". ")]


class Model:
    """A model, or with `vocab_only` its tokenizer."""

    def __init__(self, path: Path, vocab_only: bool = False):
        params = lib.llama_model_default_params()
        params.vocab_only = vocab_only
        params.n_gpu_layers = 0
        # Weights that the processor likes better in another order would be multiplied by other code.
        params.use_extra_bufts = False
        params.check_tensors = True
        self.pointer = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self.pointer:
            raise LlamaCppError(f"{path}: llama.cpp does not load it: " + " | ".join(logged()))
        self.vocab = lib.llama_model_get_vocab(self.pointer)
        self.vocab_size = lib.llama_vocab_n_tokens(self.vocab)

    def metadata(self) -> dict[str, str]:
        """All keys and values as llama.cpp prints them (arrays are cut)."""
        result = {}
        for i in range(lib.llama_model_meta_count(self.pointer)):
            texts = []
            for get in (lib.llama_model_meta_key_by_index, lib.llama_model_meta_val_str_by_index):
                buffer = ctypes.create_string_buffer(1 << 16)
                get(self.pointer, i, buffer, len(buffer))
                texts.append(buffer.value.decode("utf-8", "replace"))
            result[texts[0]] = texts[1]
        return result

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        """Ids of a text."""
        data = text.encode()
        # Never more tokens than bytes, a begin, an end and a space.
        ids = (c_int32 * (len(data) + 8))()
        count = lib.llama_tokenize(self.vocab, data, len(data), ids, len(ids), add_special, parse_special)
        if count < 0:
            raise LlamaCppError(f"{text!r}: tokenizer answers {count}")
        return ids[:count]

    def detokenize(self, ids: list[int]) -> bytes:
        """The bytes of ids, special tokens written out."""
        tokens = (c_int32 * len(ids))(*ids)
        buffer = ctypes.create_string_buffer(256 * (len(ids) + 1))
        count = lib.llama_detokenize(self.vocab, tokens, len(ids), buffer, len(buffer), False, True)
        if count < 0:
            raise LlamaCppError(f"{ids}: {-count} bytes of text do not fit")
        return buffer.raw[:count]

    def special_tokens(self) -> dict | None:
        """What llama.cpp takes for begin, end of text, end of turn; where generation stops; what is added to a text.
        None for a file without a tokenizer."""
        if lib.llama_vocab_type(self.vocab) == 0:
            return None
        names = ("bos", "eos", "eot", "pad", "nl")
        result = {name: getattr(lib, f"llama_vocab_{name}")(self.vocab) for name in names}
        result["end_of_generation"] = [i for i in range(self.vocab_size) if lib.llama_vocab_is_eog(self.vocab, i)]
        result["control"] = [i for i in range(self.vocab_size) if lib.llama_vocab_is_control(self.vocab, i)]
        result["add_bos"] = bool(lib.llama_vocab_get_add_bos(self.vocab))
        result["add_eos"] = bool(lib.llama_vocab_get_add_eos(self.vocab))
        return result

    def chat_template(self) -> str | None:
        """The default template."""
        text = lib.llama_model_chat_template(self.pointer, None)
        return None if text is None else text.decode()


class Context:
    """Runs a model, with at most one adapter."""

    def __init__(self, model: Model, tokens: int, adapter: Path | None = None, scale: float = 1.0):
        self.model = model
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = max(tokens, 32)
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = GGML_TYPES["f32"][0]
        params.flash_attn_type = 0
        params.swa_full = True
        self.pointer = lib.llama_init_from_model(model.pointer, params)
        if not self.pointer:
            raise LlamaCppError("no context: " + " | ".join(logged()))
        if adapter is not None:
            lora = lib.llama_adapter_lora_init(model.pointer, str(adapter).encode())
            if not lora:
                raise LlamaCppError(f"{adapter}: llama.cpp does not load it: " + " | ".join(logged()))
            loras, scales = (c_void_p * 1)(lora), (c_float * 1)(scale)
            if lib.llama_set_adapters_lora(self.pointer, loras, 1, scales) != 0:
                raise LlamaCppError(f"{adapter}: llama.cpp does not use it: " + " | ".join(logged()))

    def reset(self) -> None:
        """Forgets all tokens."""
        lib.llama_memory_clear(lib.llama_get_memory(self.pointer), True)

    def logits(self, ids: list[int]) -> numpy.ndarray:
        """Appends tokens; the logits at the last of them."""
        tokens = (c_int32 * len(ids))(*ids)
        status = lib.llama_decode(self.pointer, lib.llama_batch_get_one(tokens, len(ids)))
        if status != 0:
            raise LlamaCppError(f"decoding {len(ids)} tokens answers {status}: " + " | ".join(logged()))
        row = lib.llama_get_logits_ith(self.pointer, -1)
        return numpy.ctypeslib.as_array(row, (self.model.vocab_size,)).copy()

    def close(self) -> None:
        """Gives the memory back."""
        lib.llama_free(self.pointer)
