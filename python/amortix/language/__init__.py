"""A frozen causal language model as f(x, z): its prompt z is what a stream of texts teaches (explicit regime).

- `frozen`: the model, never trained, that turns rows of tokens and a prompt into class logits.
- `latents`: what a prompt is made of: embeddings before the text, or keys and values in every layer.
- `predictor`: both together as f(x, θ); `amortix.methods.prompts` composes it with an update.
- `tokens`: texts as rows of numbers.
- `library`: language models from files, and the texts that the experiment fetches.
"""
