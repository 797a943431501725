"""How much memory one rank of a training needs at its highest, before anything is loaded. Pure, standard library only.

All sizes are bytes of one rank. The moments at which a training can be at its highest are worked out one by one, and
the highest of them is the prediction: at the beginning of the backward pass all activations and the logits are there
but not yet all gradients, at its end all gradients but only the activations of one layer, in the optimizer's step all
gradients and its temporaries. What stays the whole time (weights, optimizer states) counts in each.

The split of a training's memory into weights, gradients, optimizer states and activations, and what each stage of ZeRO
divides by the number of ranks, is that of Rajbhandari et al., "ZeRO" (arXiv:1910.02054, sections 3 and 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from vernacular_trainer.layout import similar_rows
from vernacular_trainer.model_shape import Linear, ModelShape
from vernacular_trainer.plan import ZERO_STAGES, ResolvedPlan

GIB = 1024**3
MIB = 1024**2
FULL_PRECISION = 4
# torch.optim.AdamW keeps two moments of each weight, and computes in place but for these numbers per weight at a time
_ADAM_MOMENTS = 2 * FULL_PRECISION
# the same in one byte each, with a float32 scale for 256 of them (bitsandbytes, optim.AdamW8bit)
_ADAM_8BIT_MOMENTS = 2 + 2 * FULL_PRECISION / 256
# NF4 with quantised scales: half a byte, a byte for 64 weights, a float32 for 256 of those (arXiv:2305.14314, sec. 3)
_FOUR_BITS = 1 / 2 + 1 / 64 + FULL_PRECISION / (64 * 256)
# logits that are there at once, float32: small enough for a processor's cache, large enough to keep a GPU busy
LOGIT_CHUNK = {"cpu": 32 * MIB, "cuda": 512 * MIB}
# cross-entropy over all logits at once: log-probabilities, their gradient, the gradient of the logits
_LOGIT_BYTES = 3 * FULL_PRECISION
# DeepSpeed 0.19, runtime/zero/config.py: elements of reduce_bucket_size and stage3_max_live_parameters
_REDUCE_BUCKET = 500_000_000
_LIVE_PARAMETERS = 1_000_000_000
_ATTENTION_OUTPUTS = ("o_proj", "out_proj", "dense")


@dataclass(frozen=True)
class LargestBatch:
    """The micro batch that needs most: rows of at most `length` tokens, `supervised` positions to predict.

    `tokens`: positions that the model computes, padding included. `grid`: those that attention computes. `masked`: rows
    that differ in length are padded, so attention gets a mask.
    """

    length: int
    supervised: int
    tokens: int
    grid: int
    masked: bool = False


@dataclass(frozen=True)
class RowSizes:
    """Tokens and supervised positions of the rows of a data set, each sorted by itself, the highest first; `mean`:
    tokens of a row on average.
    """

    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    mean: float

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int]], most: int = 4096) -> RowSizes:
        """From pairs of tokens and supervised positions, as many as a micro batch may have rows."""
        pairs = list(rows)
        lengths = sorted((length for length, _ in pairs), reverse=True)
        supervised = sorted((count for _, count in pairs), reverse=True)
        return cls(tuple(lengths[:most]), tuple(supervised[:most]), sum(lengths) / max(1, len(lengths)))

    @classmethod
    def unknown(cls, length: int, most: int = 4096) -> RowSizes:
        """When the rows are not at hand: all are as long as allowed, and every token is predicted."""
        return cls((length,) * most, (length,) * most, length)

    def largest(self, rows: int, cap: int, *, packed: bool) -> LargestBatch:
        """The micro batch that needs most when rows are cut to `cap` tokens: the longest rows together."""
        lengths = [min(length, cap) for length in self.lengths[:rows]] or [0]
        supervised = sum(min(count, cap) for count in self.supervised[:rows])
        if packed:
            return LargestBatch(lengths[0], supervised, sum(lengths), _grid(lengths))
        padded = len(lengths) * lengths[0]
        return LargestBatch(lengths[0], supervised, padded, padded, masked=lengths[0] != lengths[-1])


def _grid(lengths: list[int]) -> int:
    """Positions of packed rows when each group is padded to its longest."""
    return sum(len(group) * max(group) for group in similar_rows(lengths))


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at its highest, by what they are for."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    logits: int = 0
    communication: int = 0
    runtime: int = 0
    fragmentation: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Device:
    """What a device adds to the tensors. `runtime`: bytes there before the first tensor; `zero_runtime`: more of them
    with DeepSpeed; `half_runtime`: more of them when computing in 16 bits; `fragmentation_percent`: of all tensors that
    come and go.
    """

    gpu: bool
    runtime: int
    zero_runtime: int
    half_runtime: int
    fragmentation_percent: int


# GPU: CUDA context, kernels, cuBLAS workspace and NCCL's channels, which torch does not count, and a margin for the
# caching allocator (it rounds blocks to 2 MiB and splits them). Both are assumptions that no GPU has confirmed yet.
GPU = Device(gpu=True, runtime=1 * GIB, zero_runtime=0, half_runtime=0, fragmentation_percent=5)
# CPU: the highest resident set (VmHWM) of a training of one layer of width 32 with a vocabulary of 2,048, whose tensors
# are below 1 MiB: interpreter, libraries and the pages of their files. Measured with Python 3.11, torch 2.15 (CUDA
# build), transformers 5.23, bitsandbytes 0.50 and DeepSpeed 0.19. With DeepSpeed, a rank of such a training has 57 MiB
# more, in BF16 (oneDNN and the kernels that it makes) 23 to 54.
CPU = Device(gpu=False, runtime=974 * MIB, zero_runtime=57 * MIB, half_runtime=40 * MIB, fragmentation_percent=2)


def logit_rows(vocabulary: int, device: str) -> int:
    """Positions whose logits are there at once on a "cpu" or "cuda" device."""
    return max(1, LOGIT_CHUNK[device] // (vocabulary * FULL_PRECISION))


def predict(shape: ModelShape, plan: ResolvedPlan, batch: LargestBatch, device: Device) -> Memory:
    """The memory of one rank at the training's highest moment."""
    needs = _Needs(shape, plan, batch, device)
    return max((_with_overheads(moment, needs) for moment in needs.moments()), key=lambda memory: memory.total)


def _with_overheads(moment: Memory, needs: _Needs) -> Memory:
    coming_and_going = moment.activations + moment.logits + moment.gradients + moment.communication
    device, half = needs.device, needs.compute_bytes < FULL_PRECISION
    runtime = device.runtime + (device.zero_runtime if needs.zero else 0) + (device.half_runtime if half else 0)
    fragmentation = coming_and_going * device.fragmentation_percent // 100
    return replace(moment, runtime=runtime, fragmentation=fragmentation)


@dataclass(frozen=True)
class _Needs:
    shape: ModelShape
    plan: ResolvedPlan
    batch: LargestBatch
    device: Device

    @property
    def zero(self) -> int:
        """The stage of ZeRO; 0: DDP, or one rank alone."""
        return ZERO_STAGES.get(self.plan.strategy, 0)

    @property
    def full(self) -> bool:
        return not self.plan.makes_adapter

    @property
    def compute_bytes(self) -> int:
        """Of a number in the format of the computation."""
        return FULL_PRECISION if self.plan.precision == "FP32" else 2

    @property
    def autocast(self) -> bool:
        """Whether torch casts inputs and float32 weights for each operation; DeepSpeed casts the model itself."""
        return self.compute_bytes == 2 and not self.zero

    @property
    def adapters(self) -> tuple[Linear, ...]:
        return () if self.full else self.shape.targeted(self.plan.lora_target_modules)

    @property
    def trained(self) -> int:
        """Weights that are trained. LoRA: two matrices of `rank` beside each target (arXiv:2106.09685, section 4.1),
        DoRA: a length for each of its outputs as well (arXiv:2402.09353, section 4).
        """
        if self.full:
            return self.shape.parameters
        lengths = sum(item.outputs for item in self.adapters) if self.plan.lora_variant == "DoRA" else 0
        return self.plan.lora_rank * sum(item.inputs + item.outputs for item in self.adapters) + lengths

    @property
    def share(self) -> int:
        """The part of the trained weights whose optimizer state is on this rank."""
        return -(-self.trained // self.plan.world_size) if self.zero else self.trained

    @property
    def offloaded(self) -> bool:
        """Whether optimizer states and the gradients that they need are on the host, not on the GPU."""
        return self.device.gpu and self.plan.offload != "None"

    # what stays

    def base(self) -> int:
        """The frozen base in the format of the computation, with QLoRA its linear layers in four bits."""
        if self.full:
            return 0
        four_bits = sum(item.weights for item in self.shape.linears) if self.plan.quantizes else 0
        return (self.shape.parameters - four_bits) * self.compute_bytes + round(four_bits * _FOUR_BITS)

    def weights(self) -> int:
        """Base and adapter as training/arguments.py loads them: a frozen base in the format of the computation,
        trained weights in float32, DeepSpeed both in the format of the computation. Under autocast the casts of
        float32 weights are kept for the backward pass (torch.amp documentation, "cache_enabled").

        ZeRO-3 keeps a part of everything, which may be on the host, and up to stage3_max_live_parameters that it has
        gathered.
        """
        trained_bytes = self.compute_bytes if self.zero else FULL_PRECISION
        everything = self.base() + self.trained * trained_bytes
        if self.zero == 3:
            base = 0 if self.full else self.shape.parameters
            gathered = min(base + self.trained, _LIVE_PARAMETERS) * self.compute_bytes
            on_host = self.device.gpu and self.plan.offload == "OptimizerAndParameters"
            return gathered + (0 if on_host else everything // self.plan.world_size)
        return everything + self.casts()

    def casts(self) -> int:
        """What autocast keeps from the forward to the end of the backward pass."""
        return self.trained * self.compute_bytes if self.autocast else 0

    def optimizer(self) -> int:
        """The two moments of AdamW (arXiv:1711.05101), and DeepSpeed's float32 copy of the weights of this rank;
        nothing where both are on the host.

        ZeRO-3 uses the weights themselves when they are float32.
        """
        if self.offloaded:
            return 0
        copies = self.zero in (1, 2) or (self.zero == 3 and self.compute_bytes == 2)
        return round(self._moments() + (self.share * FULL_PRECISION if copies else 0))

    def _moments(self) -> float:
        """Of the weights of this rank. In eight bits those of embeddings stay exact (transformers, Trainer's
        create_optimizer); paged ones make room on a GPU when that is needed.
        """
        if self.plan.optimizer == "AdamW":
            return self.share * _ADAM_MOMENTS
        if self.plan.optimizer == "PagedAdamW8bit":
            return 0
        exact = self.shape.embedding if self.full and not self.zero else 0
        return (self.share - exact) * _ADAM_8BIT_MOMENTS + exact * _ADAM_MOMENTS

    # what comes and goes

    def gradients(self) -> int:
        """All gradients at the end of a backward pass.

        DDP has them a second time, in the buckets that it reduces (torch DistributedDataParallel,
        gradient_as_bucket_view). ZeRO-1 keeps all until the step, ZeRO-2 and ZeRO-3 this rank's part.
        """
        if not self.zero:
            return self.trained * FULL_PRECISION * (2 if self.plan.world_size > 1 else 1)
        if self.zero == 1:
            return self.trained * self.compute_bytes
        return 0 if self.offloaded else self.share * self.compute_bytes

    def standing_gradients(self) -> int:
        """The gradients that are there when a backward pass begins: with accumulation those of the last one."""
        if self.zero == 3 or self.plan.accumulation > 1:
            return self.gradients()
        return self.trained * FULL_PRECISION if not self.zero and self.plan.world_size > 1 else 0

    def communication(self, *, sending: bool) -> int:
        """DeepSpeed's bucket of gradients on their way to other ranks, and its copies while it is sent. ZeRO-3 sorts
        the gradients by rank before (reduce_scatter_coalesced), gloo copies what it sends.

        A GPU holds the whole bucket from the beginning, of a processor's memory only what is written counts.
        """
        if not self.zero:
            return 0
        written = min(self.trained, _REDUCE_BUCKET) if sending else 0
        bucket = _REDUCE_BUCKET if self.device.gpu else written
        copies = 0 if self.zero < 3 else 1 if self.device.gpu else 2
        return (bucket + copies * written) * self.compute_bytes

    def step_temporaries(self) -> int:
        """What AdamW's step needs beside its states: on a GPU all parameters are computed at once and the square roots
        of the second moments are new (torch.optim.AdamW, foreach), on processors two numbers for each weight of the
        largest parameter. DeepSpeed hands over one flat float32 gradient of this rank's weights.
        """
        if self.offloaded:
            return 0
        if self.plan.optimizer != "AdamW" and not self.zero:
            # bitsandbytes computes in place, one parameter after the other
            return 0
        if self.zero:
            copies = 2 if self.device.gpu else 3
            return self.share * FULL_PRECISION * copies
        if self.device.gpu:
            return self.trained * FULL_PRECISION
        return 2 * FULL_PRECISION * (max(self.shape.embedding, self.shape.largest_linear) if self.full else 0)

    def logits(self) -> int:
        """Logits exist only where a token is to be predicted, a chunk of them at a time (training/cross_entropy.py),
        with what they are rounded to; the gradient of their input stays, or for a trained output layer the input.

        Models that change their logits have all of them at once (training/loss.py). In the backward pass the gradient
        of a trained output layer is made while theirs is still there.
        """
        if self.shape.plain_logits:
            rows = logit_rows(self.shape.vocabulary, "cuda" if self.device.gpu else "cpu")
            rounded = 0 if self.compute_bytes == FULL_PRECISION else 2 * self.compute_bytes
            scores = min(rows, self.batch.supervised) * self.shape.vocabulary
            of_input = self.batch.supervised * self.shape.hidden * self.compute_bytes
            return scores * (FULL_PRECISION + rounded) + of_input + self.head_gradient()
        head = self.shape.embedding * self.compute_bytes if self.full else 0
        scores = self.batch.supervised * self.shape.vocabulary
        return max(scores * _LOGIT_BYTES, scores * FULL_PRECISION + head)

    def head_gradient(self) -> int:
        """Of a trained output layer, in the precision of its weights; what is added to it first is rounded."""
        if not self.full:
            return 0
        if self.zero or self.compute_bytes == FULL_PRECISION:
            return self.shape.embedding * self.compute_bytes
        return self.shape.embedding * (FULL_PRECISION + self.compute_bytes)

    def layer_activations(self) -> int:
        """What one layer keeps for its backward pass, after Korthikanti et al. (arXiv:2205.05198, section 4.1), for
        RMSNorm, SwiGLU and attention that does not keep its scores (FlashAttention, arXiv:2205.14135).
        """
        shape, size = self.shape, self.compute_bytes
        attention = 2 * shape.attention_width + 2 * shape.key_width
        if self.batch.masked:
            # with a mask keys and values are repeated for each query head, and the mask becomes numbers
            attention = 4 * shape.attention_width + self.batch.length
        # what attention gives is taken out of the grid
        taken_out = shape.attention_width if self.batch.grid > self.batch.tokens else 0
        per_token = (3 * shape.intermediate + taken_out) * size + self._norms() + self._inputs()
        return self.batch.grid * (attention * size + shape.heads * FULL_PRECISION) + self.batch.tokens * per_token

    def _norms(self) -> int:
        """Bytes per token of a layer's two norms: their input in float32, normalised too where the norm is trained."""
        normalised = (FULL_PRECISION if self.autocast else self.compute_bytes) if self.full else 0
        return 2 * self.shape.hidden * (FULL_PRECISION + normalised)

    def _inputs(self) -> int:
        """Bytes per token of the inputs that a layer's linear maps keep for the gradients of their weights.

        Layers that share an input share its copy, except under autocast with trained weights or DoRA, and with dropout,
        which make one for each. The output of attention is counted there.
        """
        size, hidden, wide = self.compute_bytes, self.shape.hidden, self.shape.intermediate
        if self.full:
            return (5 * hidden if self.autocast else 2 * hidden) * size + wide * size
        per_layer = self.adapters[: -(-len(self.adapters) // self.shape.layers)]
        ranks = len(per_layer) * self.plan.lora_rank * size
        if self.plan.lora_variant == "DoRA":
            # its length multiplies what the base and what the adapter give
            ranks += 2 * sum(item.outputs for item in per_layer) * size
        if self.plan.lora_dropout or (self.autocast and self.plan.lora_variant == "DoRA"):
            mask = 1 if self.plan.lora_dropout else 0
            return sum(item.inputs for item in per_layer) * (size + mask) + ranks
        shared = {
            ("mlp" if item.outputs == wide else "attention", item.inputs)
            for item in per_layer
            if item.name not in _ATTENTION_OUTPUTS
        }
        return sum(inputs for _, inputs in shared) * size + ranks

    def kept_activations(self) -> int:
        """All activations that are there when the backward pass begins: of every layer, or with gradient checkpointing
        (arXiv:1604.06174) only the input of every layer; the last norm and the mask in both cases.
        """
        residual = FULL_PRECISION if self.full and self.autocast else self.compute_bytes
        last = self.batch.tokens * self._norms() // 2 + self.batch.supervised * self.shape.hidden * self.compute_bytes
        mask = self.batch.tokens * self.batch.length if self.batch.masked else 0
        if self.plan.gradient_checkpointing:
            return self.shape.layers * self.batch.tokens * self.shape.hidden * residual + last + mask
        return self.shape.layers * self.layer_activations() + last + mask

    def backward_temporaries(self) -> int:
        """Gradients of activations while one layer's backward pass runs: three of the MLP's width and two of the
        model's. Weights in four bits are computed with as a whole matrix in the format of the computation.
        """
        gradients = self.batch.tokens * (3 * self.shape.intermediate + 2 * self.shape.hidden) * self.compute_bytes
        return gradients + (self.shape.largest_linear * self.compute_bytes if self.plan.quantizes else 0)

    def moments(self) -> tuple[Memory, ...]:
        """Every moment at which the training can be at its highest."""
        always = Memory(
            weights=self.weights(), optimizer=self.optimizer(), communication=self.communication(sending=False)
        )
        sending = replace(always, communication=self.communication(sending=True))
        one_layer = self.layer_activations() + self.backward_temporaries()
        head = self.shape.embedding * self.compute_bytes if self.full else 0
        return (
            replace(
                always,
                activations=self.kept_activations(),
                logits=self.logits(),
                gradients=self.standing_gradients(),
            ),
            # the backward pass of the last layer: with gradient checkpointing its activations are there only now
            replace(
                always,
                activations=self.kept_activations() + (one_layer if self.plan.gradient_checkpointing else 0),
                gradients=max(self.standing_gradients(), head),
            ),
            # its end: the embedding's gradient is made beside the others
            replace(sending, activations=one_layer, gradients=self.gradients() + (head if self.shape.tied else 0)),
            replace(
                always,
                weights=always.weights - self.casts(),
                gradients=self.gradients(),
                optimizer=always.optimizer + self.step_temporaries(),
            ),
        )
