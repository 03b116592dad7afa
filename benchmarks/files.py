"""Reading and chunking real files of many kinds: what is lost, what is left out, and the seconds of the processor.

Every file of a folder is accounted for: read, named as unreadable, of another kind, ignored, or hidden. Every
chunk is its document's text from `start_char` to `end_char`, and together they have every character that is not
whitespace once.

    python benchmarks/files.py /usr/share/doc 2000 > benchmarks/files.md

The second argument is how many files are taken, at equal distances.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from sqlrag.models import Embedder
from sqlrag.text.chunking import CONTEXT_TOKENS, Chunk, Chunker
from sqlrag.text.documents import Document, cleaned, kind_of_metadata
from sqlrag.text.file_search import Found, find_sources
from sqlrag.text.kinds import remedy
from sqlrag.text.loading import read_documents


def copied(folder: Path, most: int, into: Path) -> list[Path]:
    """Copy `most` of a folder's files, at equal distances in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    chosen = files[:: max(1, len(files) // most)][:most]
    for path in chosen:
        copy = into / path.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return chosen


def unaccounted(folder: Path, found: Found) -> list[str]:
    """Return the files of a folder that `find_sources` says nothing of, hidden ones left out."""
    told = Counter([s.uri for s in found.sources] + [u.uri for u in found.unreadable] + found.skipped + found.ignored)
    folders = tuple(uri for uri in told if uri.endswith("/"))
    missing = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and told[str(path)] != 1 and not str(path).startswith(folders or ("\0",)):
            missing.append(str(path))
    return missing


def problem(document: Document, chunks: list[Chunk]) -> str:
    """Return what is wrong with the chunks of a document; nothing if all is right."""
    text = document.text
    if any(text[chunk.start_char : chunk.end_char] != chunk.text for chunk in chunks):
        return "a chunk is not the text at its offsets"
    if "".join("".join(chunk.text for chunk in chunks).split()) != "".join(text.split()):
        return "the chunks are not the text once"
    return ""


def main(folder: Path, most: int) -> None:
    chunker = Chunker(Embedder().tokenizer, 200, 0, CONTEXT_TOKENS)
    seconds: dict[str, float] = defaultdict(float)
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    chunked: Counter[str] = Counter()
    unreadable, problems = [], []
    with tempfile.TemporaryDirectory() as kept:
        root = Path(kept)
        files = copied(folder, most, root)
        found = find_sources(root)
        missing = unaccounted(root, found)
        for source in found.sources:
            started = time.process_time()
            for item in read_documents(source):
                if not isinstance(item, Document):
                    unreadable.append(f"{Path(item.uri).relative_to(root)}: {item.reason}")
                    continue
                document = cleaned(item)
                chunks = chunker.chunks(document.text, document.title, kind_of_metadata(document.metadata))
                chunked[source.kind] += len(chunks)
                sizes[source.kind] += len(document.text.encode())
                if wrong := problem(document, chunks):
                    problems.append(f"{document.uri}: {wrong}")
            seconds[source.kind] += time.process_time() - started
            counts[source.kind] += 1
    print("# Real files of many kinds\n")
    print(f"Made by `python benchmarks/files.py {folder} {most}`, which says what is measured.\n")
    print(
        f"{len(files):,} files: {len(found.sources):,} read, {len(found.skipped):,} of other kinds, "
        f"{len(found.ignored):,} ignored, {len(found.unreadable) + len(unreadable):,} unreadable; "
        f"{len(missing):,} not accounted for. {sum(chunked.values()):,} chunks, {len(problems):,} problems.\n"
    )
    print("| kind | files | MB of text | chunks | seconds a MB |")
    print("| --- | --: | --: | --: | --: |")
    for kind, count in counts.most_common():
        size = sizes[kind] / 1e6
        print(f"| {kind} | {count:,} | {size:.2f} | {chunked[kind]:,} | {seconds[kind] / max(size, 1e-9):.2f} |")
    print("\nLeft out as of other kinds:\n")
    kinds = Counter(remedy(os.path.basename(uri)) for uri in found.skipped)
    print("\n".join(f"- {count:,} {suffix}: {how}" for (suffix, how), count in kinds.most_common()))
    print("\nUnreadable:\n")
    print("\n".join(f"- {line}" for line in unreadable) or "none")
    if missing or problems:
        sys.exit("\n".join(missing + problems))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
