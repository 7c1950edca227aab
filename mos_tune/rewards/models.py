# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What rewards need to know of a causal language model, and of which shapes they know it."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from mos_tune.errors import UserError


class CausalLM(Protocol):
    """A model that can be run up to its output projection."""

    def forward_with_head(
        self, tokens: Tensor, head: Callable[[Tensor], Tensor], **options: Tensor
    ) -> Tensor:
        """Run the model with ``head`` in place of the output projection.

        Args:
            tokens (Tensor): token ids with shape ``[b, s]``.
            head (Callable[[Tensor], Tensor]): gets the hidden states that the output projection
                would get, after the final norm, shape ``[b, s, d]``.
            **options (Tensor): passed on to the model.

        Returns:
            Tensor: what ``head`` returns.
        """

    def project(self, hidden: Tensor) -> Tensor:
        """Compute the model's logits inside ``head``: hidden states ``[t, d]`` to ``[t, v]``."""


def causal_lm(model: nn.Module) -> CausalLM:
    """Recognise a model by its shape, with LoRA and sharded by FSDP2 or not.

    Two shapes are known. A model of one's own needs to have either:

    - torchtune's: modules ``norm`` and ``output`` that ``forward(tokens)`` calls by way of a method
      ``unembed(hidden)``, and nowhere else;
    - transformers': ``get_output_embeddings()``, a module that ``forward(tokens, use_cache=False,
      return_dict=True)`` calls once; what that gives has ``.logits``.

    Args:
        model (nn.Module): the model, perhaps inside ``DistributedDataParallel``,
            ``torch.compile(model)`` or peft's.

    Returns:
        CausalLM: the model inside. Passes through it do not synchronise DDP's gradients.

    Raises:
        UserError: if it has neither shape.
    """
    inside = _unwrapped(model)
    if all(hasattr(inside, part) for part in ("unembed", "norm", "output")):
        return _TorchtuneShape(inside)
    if hasattr(inside, "get_output_embeddings") and inside.get_output_embeddings() is not None:
        return _TransformersShape(inside)
    raise UserError(
        f"reward: {type(inside).__name__} has no output projection that is known here; a model "
        "needs norm, output and unembed as torchtune's, or get_output_embeddings as transformers'"
    )


class _TorchtuneShape:
    def __init__(self, model: Any) -> None:
        self._model = model

    def forward_with_head(
        self, tokens: Tensor, head: Callable[[Tensor], Tensor], **options: Tensor
    ) -> Tensor:
        model = self._model
        # Shadowing the bound method keeps this inside model.forward, where FSDP2 has gathered the
        # parameters of norm and output; calling the parts one by one would skip its hooks.
        model.unembed = lambda hidden: head(model.norm(hidden))
        try:
            return model(tokens, **options)
        finally:
            del model.unembed

    def project(self, hidden: Tensor) -> Tensor:
        return self._model.output(hidden)


class _TransformersShape:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._output = model.get_output_embeddings()
        self._projection = self._output.forward
        self._config = getattr(model, "config", None)

    def forward_with_head(
        self, tokens: Tensor, head: Callable[[Tensor], Tensor], **options: Tensor
    ) -> Tensor:
        values: list[Tensor] = []

        def in_place_of_projection(hidden: Tensor) -> Tensor:
            values.append(head(hidden))
            return values[0]

        def give_values(module: nn.Module, inputs: Any, returned: Any) -> Tensor:
            self._check_nothing_else_happens(values[0].detach(), returned.logits.detach())
            return values[0]

        shadowed = self._output.__dict__.get("forward")
        self._output.forward = in_place_of_projection
        # First of the hooks: FSDP2's own gathers for the backward pass when it comes to the tensors
        # it sees there.
        hook = self._model.register_forward_hook(give_values, prepend=True)
        try:
            # What is compiled does not notice a new hook. No attention mask: causal attention hides
            # padding on the right from every token before it, and what is computed at the padding
            # itself is never read.
            with torch.compiler.set_stance("force_eager"):
                return self._model(tokens, use_cache=False, return_dict=True, **options)
        finally:
            hook.remove()
            if shadowed is None:
                del self._output.forward
            else:
                self._output.forward = shadowed

    def project(self, hidden: Tensor) -> Tensor:
        return self._finish(self._projection(hidden))

    def _finish(self, logits: Tensor) -> Tensor:
        """Do what Cohere, Granite and Gemma 2 do after their projection."""
        if scale := getattr(self._config, "logit_scale", None):
            logits = logits * scale
        if divisor := getattr(self._config, "logits_scaling", None):
            logits = logits / divisor
        if cap := getattr(self._config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits

    def _check_nothing_else_happens(self, values: Tensor, logits: Tensor) -> None:
        # The model has just done with our values what it does with its logits.
        finished = self._finish(values).to(logits.dtype)
        if finished.shape != logits.shape or not finished.allclose(logits, equal_nan=True):
            raise UserError(
                f"reward: {type(self._model).__name__} changes its logits after the output "
                "projection by more than the logit_scale, logits_scaling or "
                "final_logit_softcapping of its config, which is all that is known here"
            )


def residual_branches(model: nn.Module) -> list[nn.Module]:
    """Find the modules whose outputs are added to the residual stream.

    Args:
        model (nn.Module): with layers that have modules ``attn`` or ``self_attn``, and ``mlp``.

    Returns:
        list[nn.Module]: attention and feed-forward of every layer.

    Raises:
        UserError: if there is no such layer, or the model's config says that there are more.
    """
    branches = []
    for layer in model.modules():
        parts = dict(layer.named_children())
        attention = parts.get("attn", parts.get("self_attn"))
        if attention is not None and "mlp" in parts:
            branches += [attention, parts["mlp"]]
    inside = _unwrapped(model)
    found = len(branches) // 2
    layers = getattr(getattr(inside, "config", None), "num_hidden_layers", None)
    if found == 0 or layers not in (None, found):
        of = "" if layers is None else f" of {layers}"
        raise UserError(
            "reward: dropout acts on attn or self_attn, and on mlp, in every layer; "
            f"{type(inside).__name__} has them in {found}{of}"
        )
    return branches


def reshard(model: nn.Module) -> None:
    """Make ``model.parameters()`` the ones that the optimizer has.

    FSDP2 leaves its outermost module's parameters gathered after a forward pass, as others that get
    no gradient and whose changes are lost.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _unwrapped(model: Any) -> Any:
    if isinstance(model, DistributedDataParallel):
        return _unwrapped(model.module)
    if hasattr(model, "_orig_mod"):
        return _unwrapped(model._orig_mod)
    return model
