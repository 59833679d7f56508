"""A small file of each kind, cut and changed at every byte: what a process of its own runs for test_files_robust."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from amortix.data import Stream, Table
from amortix.errors import FormatError, SourceError

ROWS = 7


def write(path: Path) -> None:
    """Seven rows in two groups where the kind has groups: a whole number, a fraction, a label."""
    n = np.arange(ROWS)
    table = pa.table({"n": n, "half": n / 2, "label": [f"t{row % 2}" for row in n]})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=4)
    elif path.suffix == ".feather":
        codec = next((codec for codec in ("lz4", "zstd") if codec in path.name), "uncompressed")
        feather.write_feather(table, path, chunksize=4, compression=codec)
    elif path.suffix == ".npy":
        np.save(path, np.stack([n, n / 2], 1))
    else:
        codec = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
        with pa.output_stream(path, compression=codec) as out:
            out.write(table.to_pandas().to_csv(index=False).encode())


def attempt(path: Path) -> bool:
    """Open and stream: whether all rows came; damage that is noticed is raised as what a caller may expect."""
    labels = {} if path.suffix == ".npy" else {"target": "label", "classes": ["t0", "t1"]}
    try:
        table = Table.open(path, **labels)
        delivered = sum(len(x) for x, _ in Stream(table, batch=3))
    except (FormatError, SourceError):
        return False
    assert delivered == table.rows, f"{delivered} rows of {table.rows}"
    return True


def main(whole: Path, step: int) -> None:
    """Print each change that ends in anything but an expected error or all rows."""
    damaged = whole.with_name(f"damaged-{whole.name}")
    content = whole.read_bytes()
    changes = [content[:end] for end in range(0, len(content), step)]
    if whole.suffix != ".npy":  # Its values are the file: a changed one is another number.
        flipped = (bytes([byte ^ 0xFF]) for byte in content)
        changes += [content[:at] + byte + content[at + 1 :] for at, byte in enumerate(flipped) if at % step == 0]
    noticed = 0
    for number, change in enumerate(changes):
        damaged.unlink(missing_ok=True)  # So that a file that is still mapped stays what it was.
        damaged.write_bytes(change)
        try:
            noticed += not attempt(damaged)
        except BaseException as error:
            print(f"change {number}: {type(error).__name__}: {error}")
    if noticed < len(changes) // 3:
        print(f"only {noticed} of {len(changes)} changes were noticed")


if __name__ == "__main__":
    # A damaged length must not be believed: where the system can, absurd requests for memory fail.
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    main(Path(sys.argv[1]), int(sys.argv[2]))
