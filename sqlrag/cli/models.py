"""`sqlrag models`: other models than the bundled pair."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from sqlrag.cli.error_reporting import Commands, Interrupted
from sqlrag.cli.options import json_option, print_json
from sqlrag.models.spec import POOLINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlrag.models.export.plan import Options
    from sqlrag.models.export.pull import Made
    from sqlrag.models.spec import ModelSpec

__all__ = ["models"]

_kind_option = click.option(
    "--kind",
    type=click.Choice(["bi-encoder", "cross-encoder"]),
    help="Kind of the model, if its files do not say so.",
)
_precision_option = click.option(
    "--precision",
    type=click.Choice(["int8", "int16", "fp32"]),
    help="Of the export's numbers: by default int8 for a bi-encoder, int16 for a cross-encoder. "
    "Where it loses too much, the next is taken.",
)


@click.group(cls=Commands)
def models() -> None:
    """Use other models than the bundled pair.

    A model from Hugging Face, or from a folder, is exported to ONNX once, compared with its original weights and kept
    in your cache. From then on you can use its name as embedder or reranker.
    """


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the bundled and the pulled models."""
    from sqlrag.models.cached_models import cached_models, models_folder
    from sqlrag.models.named_models import DEFAULT_EMBEDDER, DEFAULT_RERANKER, bundled_models

    rows: list[dict[str, Any]] = [
        _facts(spec)
        | {"place": place, "default": place == "bundled" and spec.name in (DEFAULT_EMBEDDER, DEFAULT_RERANKER)}
        for place, specs in (("bundled", bundled_models().values()), ("pulled", cached_models()))
        for spec in specs
    ]
    if as_json:
        print_json({"folder": models_folder(), "models": rows})
        return
    from sqlrag.cli.render import bytes_text, print_line

    # Not a table: names are long, and must not be broken.
    for row in rows:
        dimensions = f"{row['dimension']} dimensions, " if row["dimension"] else ""
        default = " (default)" if row["default"] else ""
        print_line((f"{row['name']}{default}", "bold"))
        revision = f"@{row['revision'][:12]}" if row["revision"] else ""
        origin = f", from {row['source']}{revision}" if row["place"] == "pulled" else ""
        window = f"{dimensions}window {row['window']:,}"
        print_line((f"  {row['kind']}, {row['precision']}, {window}, {bytes_text(row['bytes'])}{origin}", ""))
    print_line((f"Pulled models are in {models_folder()}", "dim"))


def _said_options(command: Any) -> Any:
    """Add what a user may say of a model that its files do not, or say otherwise."""
    options = (
        click.option(
            "--onnx",
            is_flag=True,
            help="Take an ONNX file of the repository as it is, without torch; by default where torch is missing.",
        ),
        click.option("--onnx-file", metavar="FILE", help="Which ONNX file: onnx/model_quantized.onnx, for example."),
        click.option(
            "--allow-bin",
            is_flag=True,
            help="Read weights of a pickled file (pytorch_model.bin): its numbers, and nothing else in it.",
        ),
        click.option("--dimensions", type=click.IntRange(min=1), help="Cut vectors to so many numbers (Matryoshka)."),
        click.option("--window", type=click.IntRange(min=8), help="Read so many tokens at most."),
        click.option("--pooling", type=click.Choice(POOLINGS), help="Pooling, if the files do not name one."),
        click.option("--query-prompt", metavar="TEXT", help="What is put before a query."),
        click.option("--document-prompt", metavar="TEXT", help="What is put before a document."),
        click.option("--revision", metavar="COMMIT", help="Branch, tag or commit; by default the main branch."),
        _precision_option,
        _kind_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def _options(
    *,
    onnx: bool,
    onnx_file: str | None,
    query_prompt: str | None,
    document_prompt: str | None,
    **values: Any,
) -> Options:
    from sqlrag.models.export.plan import Options

    prompts = {"query": query_prompt, "document": document_prompt}
    given = {role: text for role, text in prompts.items() if text is not None}
    return Options(onnx=onnx_file or onnx, prompts=given, **values)


# What is said of one model, and hardly ever true of two.
_OF_ONE = ("onnx_file", "dimensions", "window", "pooling", "query_prompt", "document_prompt", "revision", "kind")


@models.command()
@click.argument("names", nargs=-1, required=True, metavar="NAMES...")
@_said_options
@click.option("--force", is_flag=True, help="Export the model again even if it is in the cache.")
@json_option
def pull(*, names: tuple[str, ...], kind: Any, revision: str | None, force: bool, as_json: bool, **said: Any) -> None:
    """Bring models from Hugging Face, or from folders, into the cache.

    A name is OWNER/NAME, the address of a model's page, or a folder that sentence-transformers saved. An export of its
    weights needs the extra `torch`. Without it, an ONNX file of the repository is taken. No code of a model is run.
    """
    from sqlrag.cli.progress import bytes_bar
    from sqlrag.models.export.pull import pull as pull_model

    given = {**said, "kind": kind, "revision": revision}
    if len(names) > 1 and (of_one := [one for one in _OF_ONE if given[one] is not None]):
        raise click.UsageError(f"--{of_one[0].replace('_', '-')} is said of one model: pull them one by one")
    options, found = _options(**said), []
    try:
        for name in names:
            with bytes_bar() as more:
                made = pull_model(
                    name, kind=kind, revision=revision, options=options, force=force, tell=_tell(), more=more
                )
            found.append(_made_facts(made))
            if not as_json:
                _show(made)
    except KeyboardInterrupt as error:
        raise Interrupted("what was downloaded is kept, and the same command continues behind it") from error
    if as_json:
        print_json(found if len(names) > 1 else found[0])


@models.command()
@click.argument("name")
@_said_options
@json_option
def check(*, name: str, kind: Any, revision: str | None, as_json: bool, **said: Any) -> None:
    """Say what `pull` would do with a model, without downloading its weights.

    NAME and the options are those of `pull`. The small files of the model are fetched: its configuration and its
    tokenizer.
    """
    from sqlrag.models.export.check import check_model

    found = check_model(name, kind=kind, revision=revision, options=_options(**said))
    if as_json:
        print_json(found)
        return
    from sqlrag.cli.render import bytes_text

    facts = found["dimension"] and f", {found['dimension']} dimensions"
    window = found["window"] and f", window {found['window']:,} tokens"
    click.echo(f"{found['name']}: {found['kind']}{facts or ''}{window or ''}, {found['licence'] or 'no licence named'}")
    click.echo(f"  would download {bytes_text(found['bytes'])}: {', '.join(found['files'])}")
    for note in found["notes"]:
        click.echo(f"  {note}")


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.argument("name", required=False)
@json_option
def add(folder: str, name: str | None, as_json: bool) -> None:
    """Add an exported model FOLDER to the cache, under a NAME.

    FOLDER is one that `models export` made. Then databases and servers find the model by its name, by default the one
    that it was exported with.
    """
    from sqlrag.models.export.check import add_model

    spec = add_model(folder, name)
    if as_json:
        print_json(_facts(spec))
    else:
        click.echo(f"{spec.name}: {spec.kind}, {spec.folder}")


@models.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Remove a pulled model from the cache.

    What was downloaded stays in Hugging Face's own cache.
    """
    from sqlrag.models.export.check import remove_model

    freed = remove_model(name)
    if as_json:
        print_json({"name": name, "bytes": freed})
        return
    from sqlrag.cli.render import bytes_text

    click.echo(f"removed {name}: {bytes_text(freed)}")


@models.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.argument("out", type=click.Path())
@click.option("--name", help="Name of the exported model; by default that of its folder.")
@_kind_option
@_precision_option
@json_option
def export(*, folder: str, out: str, name: str | None, kind: Any, precision: str | None, as_json: bool) -> None:
    """Export a model FOLDER to a folder OUT that runs without torch.

    FOLDER is one that sentence-transformers or transformers saved. You can use OUT as embedder or reranker, here and on
    other machines. Needs the extra `torch`.
    """
    from sqlrag.models.export.pull import export_folder

    made = export_folder(folder, out, name=name, kind=kind, precision=precision, tell=_tell())
    if as_json:
        print_json(_made_facts(made))
    else:
        _show(made)


@models.command()
@click.argument("model", required=False)
@click.option("--texts", type=click.IntRange(min=1), default=50, show_default=True, help="How many texts, or pairs.")
@json_option
def bench(model: str | None, texts: int, as_json: bool) -> None:
    """Measure how fast models are on this machine.

    MODEL is a name or a folder; by default the bundled pair. The texts are docstrings of this Python. If torch is
    installed, it runs the same texts for comparison.
    """
    from sqlrag.cli.standard_library import harvest
    from sqlrag.models.bench import bench as measure
    from sqlrag.models.named_models import resolve

    specs = [resolve(None, "bi-encoder"), resolve(None, "cross-encoder")] if model is None else [_find(model)]
    sample = [document.text for document in harvest() if 400 < len(document.text) < 900][:texts]
    speeds = [measure(spec, sample) for spec in specs]
    if as_json:
        print_json(speeds)
        return
    from sqlrag.cli.render import print_line, print_table

    print_table(
        ["model", "", "onnx", "torch", "onnx / torch"],
        [
            [
                one.model,
                one.unit,
                f"{one.onnx:,.0f}",
                f"{one.torch:,.0f}" if one.torch else "",
                f"{one.ratio:.2f}" if one.ratio else "",
            ]
            for one in speeds
        ],
        [False, False, True, True, True],
    )
    for one in speeds:
        if one.note:
            print_line((f"{one.model}: {one.note}", "dim"))


def _find(model: str) -> ModelSpec:
    """Return the specification of a model of either kind."""
    from sqlrag.errors import InputError
    from sqlrag.models.named_models import resolve

    try:
        return resolve(model, "bi-encoder")
    except InputError:
        return resolve(model, "cross-encoder")


def _tell() -> Callable[[str], None]:
    """Return what shows the steps: a line each on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda line: click.echo(f"{line} …", err=True)


def _facts(spec: ModelSpec) -> dict[str, Any]:
    from sqlrag.models.manifest import Manifest

    assert spec.folder is not None
    manifest = Manifest.load(spec.folder)
    return {
        "name": spec.name,
        "kind": spec.kind,
        "dimension": spec.dimension,
        "window": spec.max_tokens,
        "precision": manifest.precision if manifest else "int8",
        "bytes": sum(path.stat().st_size for path in spec.folder.iterdir() if path.is_file()),
        "source": spec.source,
        "licence": spec.licence,
        "prompts": spec.prompts,
        "weights_hash": spec.weights_hash,
        "identity": spec.identity,
        "revision": manifest.revision if manifest else None,
        "folder": spec.folder,
    }


def _made_facts(made: Made) -> dict[str, Any]:
    return _facts(made.spec) | {"new": made.new, "manifest": asdict(made.manifest)}


def _show(made: Made) -> None:
    spec, manifest = made.spec, made.manifest
    measured = ", ".join(f"{what} {value:.4f}" for what, value in manifest.check.items())
    dimensions = f", {spec.dimension} dimensions" if spec.dimension else ""
    where = f"{spec.folder}" if made.new else f"was there already: {spec.folder}"
    click.echo(
        f"{spec.name}: {spec.kind}, {manifest.precision}{dimensions}, window {spec.max_tokens:,} tokens; {where}"
    )
    if measured:
        click.echo(f"  compared with the original weights: {measured}")
    for note in manifest.notes:
        click.echo(f"  {note}")
