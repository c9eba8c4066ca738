"""A batch of a modality -> vectors, as the documentation of transformers has it: for Ray Data's actors.

Sounds: VGGish, whose network and spectrum are ours, for there is no other without a ReLU at its end.
"""

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch


class Texts:
    """Padded to the longest of the batch; the mean over the tokens."""

    def __init__(self, model: str, dtype: torch.dtype) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model, dtype=dtype).eval()
        self.longest = 256 if "MiniLM" in model else 512

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
        )
        states = self.model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"][..., None].float()
        return ((states * mask).sum(1) / mask.sum(1)).numpy()


class Pictures:
    """The class token; for CLIP the projected vector."""

    def __init__(self, model: str, dtype: torch.dtype) -> None:
        from transformers import AutoImageProcessor, AutoModel

        self.processor = AutoImageProcessor.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model, dtype=dtype).eval()
        self.dtype = dtype

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        pixels = self.processor(list(pictures), return_tensors="pt")["pixel_values"]
        return self.encode(pixels)

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> np.ndarray:
        """(B, 3, H, W) -> (B, D)."""
        pixels = pixels.to(self.dtype)
        if hasattr(self.model, "get_image_features"):
            found = self.model.get_image_features(pixels)
            return getattr(found, "pooler_output", found).float().numpy()
        return self.model(pixels).last_hidden_state[:, 0].float().numpy()


class Sounds:
    """Each file alone: its examples are a batch."""

    def __init__(self, model: str, dtype: torch.dtype) -> None:
        from encoders.vggish import load_network

        self.model = load_network(model).eval().to(dtype)
        self.dtype = dtype

    @torch.inference_mode()
    def __call__(self, files: Sequence[bytes]) -> np.ndarray:
        import soundfile

        from encoders import mel

        vectors = []
        for content in files:
            samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
            examples = mel.examples(mel.log_mel(samples, offset=0.01), mel.EXAMPLE_FRAMES)
            inputs = torch.from_numpy(examples.copy())[:, None].to(self.dtype)
            vectors.append(self.model(inputs).float().mean(0))
        return torch.stack(vectors).numpy()


def decoded(content: bytes) -> np.ndarray:
    """A JPEG -> (H, W, 3) uint8, by Pillow."""
    return np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB"))


def frames(content: bytes, every: float = 1.0) -> list[np.ndarray]:
    """A clip -> the frame showing at 0, 1, 2 ... seconds: every frame decoded, as PyAV does it."""
    import av

    found: list[np.ndarray] = []
    with av.open(io.BytesIO(content)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time + 1e-6 >= len(found) * every:
                found.append(frame.to_ndarray(format="rgb24"))
    return found
