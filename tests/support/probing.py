"""SUPERB's results as papers print them, a corpus of tones, and its extractor."""

from pathlib import Path

import numpy as np
import soundfile
from transformers import Wav2Vec2FeatureExtractor

# As their papers print them, in the order of ORDER; then the overall and the SUPERB score.
PUBLISHED: dict[str, tuple[tuple[float, ...], float | None, int]] = {
    "wav2vec2 Base": ((96.23, 92.35, 5.74, 6.43, 63.43, 0.0233, 88.30, 24.77, 75.18, 6.02, 6.08), None, 818),
    "HuBERT Base": ((96.30, 98.34, 5.41, 6.42, 64.92, 0.0736, 88.53, 25.20, 81.42, 5.11, 5.88), 80.8, 941),
    "WavLM Base": ((96.79, 98.63, 4.84, 6.21, 65.94, 0.0870, 89.38, 22.86, 84.51, 4.69, 4.55), 81.9, 1019),
    "WavLM Base+": ((97.37, 99.00, 3.92, 5.59, 68.65, 0.0988, 90.58, 21.20, 89.42, 4.07, 3.50), None, 1106),
    "DistilHuBERT": ((95.98, 94.99, 16.27, 13.37, 63.02, 0.0511, 82.57, 35.59, 73.54, 8.55, 6.19), 75.9, 717),
    "LightHuBERT small": (
        (96.07, 98.23, 6.60, 8.33, 64.12, 0.0764, 87.58, 26.90, 69.70, 5.42, 5.85),
        79.1,
        901,
    ),
    "DPHuBERT": ((96.36, 97.92, 9.67, 10.47, 63.16, 0.0693, 86.86, 28.26, 76.83, 5.84, 5.92), 78.9, 866),
    "DPWavLM": ((96.27, 98.58, 8.22, 10.19, 65.24, 0.0874, 87.68, 26.11, 82.11, 5.98, 5.53), None, 926),
    "ARMHuBERT-S": ((96.82, 97.02, 8.63, 10.82, 62.96, 0.0720, 86.34, 29.02, 63.76, 5.58, 7.01), 77.5, 828),
    "STaRHuBERT": ((96.27, 97.55, 8.16, 9.35, 63.01, 0.0688, 87.94, 25.31, 77.58, 5.39, 6.05), 79.5, 887),
    "STaRHuBERT-L": ((96.56, 97.50, 7.97, 8.91, 63.48, 0.0677, 88.01, 25.36, 78.66, 5.45, 5.83), 79.8, 896),
}


ORDER = ("ks", "ic", "pr", "asr", "er", "qbe", "sf_f1", "sf_cer", "sid", "asv", "sd")


def write_corpus(root: Path, splits: dict[str, int], columns: str = "label") -> Path:
    """Write tones: the first label is the pitch; a second column is loudness of an overtone."""
    generator = np.random.default_rng(0)
    for split, count in splits.items():
        folder = root / split
        folder.mkdir(parents=True)
        rows = [f"file_name,{columns}"]
        for index in range(count):
            hz, name = ((200, "low"), (1_500, "high"))[index % 2]
            over, second = ((0.0, "pure"), (1.0, "rich"))[index // 2 % 2]
            time = np.arange(8_000 + 400 * index) / 16_000
            wave = np.sin(2 * np.pi * hz * time + index) + over * np.sin(2 * np.pi * 4_000 * time)
            wave = 0.2 * wave + 0.01 * generator.standard_normal(len(time))
            soundfile.write(folder / f"{index}.wav", wave, 16_000)
            rows.append(",".join([f"{index}.wav", name, second][: 1 + len(columns.split(","))]))
        (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root


EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)
