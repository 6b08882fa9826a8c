from __future__ import annotations

from arrowstream.connectors.files.places import place_of


def test_s3(s3, tmp_path):
    import fsspec

    fs = fsspec.filesystem("s3", **s3.storage_options)
    fs.pipe(
        {
            f"{s3.bucket}/d/10.csv": b"ten",
            f"{s3.bucket}/d/2.csv": b"two" * 1000,
            f"{s3.bucket}/d/_x/2.csv": b"two",
        }
    )
    place = place_of(f"{s3.url}/d", s3.storage_options)
    files = place.find(f"{s3.url}/d", (".csv",))
    print(files)
    assert [place.open(f).read() for f in files] == [b"two" * 1000, b"ten"]
    files = place.find(f"{s3.url}/d/*.csv", (".csv",))
    print(files)
    assert place.stat(files[0].path).version == files[0].version
