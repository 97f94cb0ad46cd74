"""Texts [n] as UTF-8 bytes to token ids and their mask [n, tokens]."""

import triton_python_backend_utils as backend

from claprt.errors import TextError
from claprt.text import Tokenizer, pad
from claprt.triton.steps import Steps, parameter, version_bundle


class TritonPythonModel:
    def initialize(self, args):
        bundle = version_bundle(args)
        self.facts = bundle.manifest.text
        self.tokenizer = Tokenizer(bundle.tokenizer_path, self.facts)
        self.max_texts = int(parameter(args, "max_texts"))
        self.steps = Steps(backend)

    def execute(self, requests):
        return self.steps.each(requests, self.answer)

    def answer(self, inputs, wanted):
        given = inputs["text"]
        if not 1 <= len(given) <= self.max_texts:
            raise TextError(f"This server takes 1 to {self.max_texts} texts in one request; got {len(given)}.")
        try:
            texts = [text.decode() for text in given]
        except UnicodeDecodeError as error:
            raise TextError(f"A text is UTF-8; this one is not: {error}.") from error
        token_ids, mask = pad(self.tokenizer.encode(texts), self.facts.pad_token_id)
        return {"token_ids": token_ids, "attention_mask": mask}
