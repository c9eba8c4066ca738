"""Queries by pictures, sounds, texts and videos, through the encoders that made the stored vectors."""

import io

import numpy as np
import pytest
from corpus import picture, tone
from PIL import Image
from stored import index_all, save_config, write_run

import encoders
from encoders.media import Limits, decode
from pipeline.errors import ConfigError
from pipeline.search.searcher import Searcher

pytestmark = pytest.mark.usefixtures("own_cache")


def test_an_image_finds_its_record_by_path_bytes_kind_and_name(media, tmp_path):
    run, pictures, _ = media
    (tmp_path / "q.png").write_bytes(pictures[13])
    searcher = Searcher(run)
    for value in (pictures[13], tmp_path / "q.png", str(tmp_path / "q.png")):
        hit = searcher.search({"image": value}, k=1)[0]
        assert (hit.record_id, hit.metadata) == ("r000013", {"n": 13})
        assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert Searcher(run, "image").search({"image": pictures[13]}, k=1)[0].record_id == "r000013"


def test_text_finds_its_record_alone_and_with_an_image(media):
    run, pictures, texts = media
    assert Searcher(run).search({"text": texts[13]}, k=1)[0].record_id == "r000013"
    query = {"text": texts[13], "image": pictures[14]}
    both, text, image = (
        {hit.record_id: hit.score for hit in Searcher(run).search(asked, k=60)}
        for asked in (query, {"text": query["text"]}, {"image": query["image"]})
    )
    assert set(both) == set(image) > set(text)
    for record, score in both.items():
        parts = [scores[record] for scores in (text, image) if record in scores]
        assert score == pytest.approx(np.mean(parts), abs=1e-6)


def test_a_query_by_what_a_record_lacks_never_returns_it(media):
    run, _, texts = media
    hits = Searcher(run).search({"text": texts[1]}, k=60)
    assert len(hits) == 45
    assert not {hit.metadata["n"] for hit in hits} & set(range(0, 60, 4))


def test_video_streams_answer_for_image_and_audio(tmp_path):
    pixels = {"encoder": {"name": "pixels", "size": 4}}
    saved = save_config(tmp_path, {"clip": {"kind": "video", "frames": pixels, "sound": {}}})
    rng = np.random.default_rng(0)
    pictures, sounds = [picture(rng) for _ in range(8)], [tone(200 + 90 * i, rng) for i in range(8)]
    features = {}
    for feature in saved.config.features():
        encoder = encoders.build(feature.encoder)
        kind, raws = ("image", pictures) if feature.stream == "frames" else ("audio", sounds)
        items = [decode(raw, kind, Limits()) for raw in raws]
        features[feature.name] = encoder.encode(encoder.prepare(items)).astype("f4")
    index_all(write_run(tmp_path, features, concat=True), saved)
    searcher = Searcher(tmp_path)
    assert searcher.search({"image": pictures[3]}, k=1)[0].record_id == "r000003"
    assert searcher.search({"audio": sounds[5]}, k=1)[0].record_id == "r000005"
    assert searcher.search({"clip.frames": pictures[6]}, k=1)[0].record_id == "r000006"
    by_vector = searcher.search({"clip.sound": features["clip.sound"][2]}, k=1)
    assert by_vector[0].record_id == "r000002"
    with pytest.raises(ConfigError, match=r"Say clip\.frames or clip\.sound"):
        searcher.search({"clip": features["clip.sound"][2]})
    with pytest.raises(ConfigError, match="nothing of kind text"):
        searcher.search({"text": "x"})


def test_a_video_file_asks_by_its_frames_and_its_sound(tmp_path, data):
    files = sorted((data / "videos" / "files").glob("*.mp4"))[:4]
    pixels = {"every": 1.0, "max": 4, "encoder": {"name": "pixels", "size": 4}}
    saved = save_config(tmp_path, {"clip": {"kind": "video", "frames": pixels}})
    frames = saved.config.features()[0]
    encoder = encoders.build(frames.encoder)
    policy = saved.config.modalities["clip"].frame_policy
    rows = []
    for path in files:
        video = decode(path.read_bytes(), "video", Limits(), frames=policy, sound=False)
        rows.append(encoder.encode(encoder.prepare(video.frames)).mean(axis=0))
    index_all(write_run(tmp_path, {"clip.frames": np.stack(rows).astype("f4")}, concat=True), saved)
    for i, path in enumerate(files):
        hit = Searcher(tmp_path).search({"video": path}, k=1)[0]
        assert hit.score == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(rows[int(hit.record_id[1:])], rows[i], atol=1e-5)


def test_two_modalities_of_a_kind_must_be_named(tmp_path):
    text = {"kind": "text"}
    saved = save_config(tmp_path, {"title": text, "body": text})
    encoder = encoders.build(saved.config.features()[0].encoder)
    rows = encoder.encode(encoder.prepare(["one thing", "another", "third"])).astype("f4")
    snapshot = write_run(tmp_path, {"title": rows, "body": rows[::-1].copy()}, concat=True)
    index_all(snapshot, saved)
    with pytest.raises(ConfigError, match="text may mean title or body"):
        Searcher(tmp_path).search({"text": "one thing"})
    assert Searcher(tmp_path).search({"body": "one thing"}, k=1)[0].record_id == "r000002"


def test_a_picture_in_another_format_is_still_the_same_picture(media):
    run, pictures, _ = media
    sink = io.BytesIO()
    Image.open(io.BytesIO(pictures[20])).save(sink, "BMP")
    assert Searcher(run).search({"image": sink.getvalue()}, k=1)[0].record_id == "r000020"
