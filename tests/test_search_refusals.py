"""What a search refuses: another encoder than the records', an index of other settings, mistakes."""

import shutil

import numpy as np
import pytest
import yaml
from stored import MEDIA, index_all, save_config, write_run

import encoders
from pipeline import files
from pipeline.errors import ConfigError, PolyfuseError, Refused
from pipeline.search.searcher import Searcher

pytestmark = pytest.mark.usefixtures("own_cache")


def copy_of(media, tmp_path):
    return shutil.copytree(media[0], tmp_path / "copy")


def test_another_encoder_is_refused_with_both_identities_shown(media, tmp_path):
    run = copy_of(media, tmp_path)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    saved["config"]["modalities"]["image"]["encoder"]["size"] = 5  # the identities stay
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(Refused, match=r"(?s)image: the records.*dim: 48, now 75.*--model") as err:
        Searcher(run).search({"image": media[1][0]})
    assert err.value.exit_code == 4
    Searcher(run).search({"text": "red"})


def test_a_fusion_that_this_version_does_not_have_is_a_sentence(media, tmp_path):
    run = copy_of(media, tmp_path)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    saved["config"]["models"]["concat"]["name"] = "conkat"
    (run / "config.yaml").write_text(yaml.safe_dump(saved))
    with pytest.raises(PolyfuseError, match=r"models.concat.name: unknown name 'conkat'.*concat"):
        Searcher(run)


def test_an_index_of_other_settings_is_refused(media, tmp_path):
    run = copy_of(media, tmp_path)
    save_config(run, MEDIA | {"image": {"kind": "image"}})
    with pytest.raises(Refused, match=r"index concat: .* when it was built.*build it again"):
        Searcher(run)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda identities: identities["text"].pop("weights"), r"identities\.text\.weights"),
        (lambda identities: identities.pop("concat"), "does not say what concat was made with"),
    ],
)
def test_a_manifest_that_lacks_an_identity_is_damaged(media, tmp_path, harm, message):
    run = copy_of(media, tmp_path)
    [path] = (run / "index" / "concat").glob("v*/manifest.json")
    manifest = files.read_json(path)
    harm(manifest["identities"])
    files.publish(path, files.to_json(manifest))
    with pytest.raises(PolyfuseError, match=rf"manifest\.json is damaged.*{message}"):
        Searcher(run)


@pytest.mark.parametrize("kept", [["concat"], ["concat", "text"]])
def test_a_manifest_whose_features_are_not_its_vectors_is_a_sentence(media, tmp_path, kept):
    run = copy_of(media, tmp_path)
    [path] = (run / "index" / "concat").glob("v*/manifest.json")
    manifest = files.read_json(path)
    manifest["identities"] = {name: manifest["identities"][name] for name in kept}
    files.publish(path, files.to_json(manifest))
    with pytest.raises(PolyfuseError, match=r"index concat: .*; build the index again with"):
        Searcher(run).search({"text": "red"})


@pytest.mark.parametrize("index", ["concat", "text"])
def test_a_manifest_of_another_length_of_vectors_is_damaged(media, tmp_path, index):
    run = copy_of(media, tmp_path)
    [path] = (run / "index" / index).glob("v*/manifest.json")
    manifest = files.read_json(path)
    files.publish(path, files.to_json(manifest | {"dim": manifest["dim"] - 1}))
    with pytest.raises(PolyfuseError, match=rf"manifest\.json is damaged.*are {manifest['dim']}\)"):
        Searcher(run, index)


def test_a_model_that_moved_is_found_by_its_identity(tmp_path, data):
    folders = [p.parent for p in sorted((data / "weights" / "hf").rglob("model.safetensors"))]
    for folder in folders:
        modality = {"kind": "text", "encoder": {"name": "transformers", "model": str(folder)}}
        try:
            saved = save_config(tmp_path, {"text": modality})
            encoder = encoders.build(saved.config.features()[0].encoder)
            texts = ["a red shoe", "a blue shirt", "two green cups"]
            rows = encoder.encode(encoder.prepare(texts)).astype("f4")
            break
        except Exception:  # not a text model
            continue
    else:
        pytest.skip("no text model among the test data")
    index_all(write_run(tmp_path, {"text": rows}, concat=True), saved)
    config = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace(str(folder), "/gone"))
    with pytest.raises(PolyfuseError, match="--model text=DIR"):
        Searcher(tmp_path).search({"text": texts[1]})
    hits = Searcher(tmp_path).search({"text": texts[1]}, models={"text": str(folder)}, k=1)
    assert hits[0].record_id == "r000001"


MISTAKES = [
    ({"query": {}}, "nothing to search by; give image, text or a record id"),
    ({"query": {"smell": "x"}}, "no modality 'smell'; there are: image, text"),
    ({"query": {"audio": b"x"}}, "nothing of kind audio"),
    ({"query": {"image": "/no/such.png"}}, "can't read the query's image /no/such.png"),
    ({"query": {"image": b"not a picture"}}, "the query's image is unusable"),
    ({"query": {"image": 7}}, "expected a path, bytes or a vector"),
    ({"query": {"text": 7}}, "expected text"),
    ({"query": {"image": np.ones(3)}}, r"expected a vector of shape \(48,\)"),
    ({"query": {"image": np.zeros(48)}}, "zero or not finite"),
    ({"query": {"text": "x"}, "weights": {"text": 0}}, "weight 0"),
    ({"query": {"text": "x"}, "weights": {"text": float("nan")}}, "expected a finite number"),
    ({"query": {"text": "x"}, "weights": {"image": 1}}, "the query has no image"),
    ({"query": {"text": "x"}, "k": 0}, "expected at least 1"),
    ({"query": {"text": "x"}, "where": "prize < 5"}, "prize"),
    ({"query": {"text": "x"}, "models": {"text": "/x"}}, "reads no files"),
    ({"id": "nobody"}, "no record 'nobody'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_sentences(media, arguments, message):
    with pytest.raises(PolyfuseError, match=message):
        Searcher(media[0]).search(arguments.pop("query", None), **arguments)


def test_an_index_of_one_feature_refuses_the_others(media):
    with pytest.raises(ConfigError, match="no part of this index, which compares image"):
        Searcher(media[0], "image").search({"text": "red"})
    with pytest.raises(
        PolyfuseError, match="has no index 'nothing'; there are: concat, image, text"
    ):
        Searcher(media[0], "nothing")
    with pytest.raises(PolyfuseError, match="'r000004' has nothing of text"):
        Searcher(media[0], "text").search(id="r000004")
