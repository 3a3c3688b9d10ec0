"""Near-duplicates with datatrove's MinHash pipeline, for comparison.

    python near_duplicates.py CORPUS.jsonl WORK_DIR [--processes 2] [--attune]

CORPUS.jsonl has a key `text` in every row (`measure_near_duplicates ASSETS_DIR --write CORPUS.jsonl` makes one). Prints one
JSON object. By default the pipeline has its own parameters: runs of five words, 14 bands of 8 hashes, which is a threshold of
about 0.72, by estimate and with clusters by transitive closure. `--attune` takes as many bands and hashes as Attune does.
The time counts from the first stage to the written output, without the start of Python and its imports.
"""

import argparse
import json
import os
import shutil
import time

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("work")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--attune", action="store_true")
    options = parser.parse_args()
    processes = options.processes

    shutil.rmtree(options.work, ignore_errors=True)
    parts = os.path.join(options.work, "parts")
    os.makedirs(parts)
    # A task is a file, so there is one for each process. This is not part of the time.
    with open(options.corpus, encoding="utf-8") as corpus:
        files = [open(os.path.join(parts, f"{part}.jsonl"), "w", encoding="utf-8") for part in range(processes)]
        rows = 0
        for line in corpus:
            files[rows % processes].write(line)
            rows += 1
        for file in files:
            file.close()

    config = MinhashConfig(num_buckets=25, hashes_per_bucket=5) if options.attune else MinhashConfig()
    folder = lambda name: os.path.join(options.work, name)
    reader = lambda: JsonlReader(parts)
    stages = [
        ("signatures", [reader(), MinhashDedupSignature(output_folder=folder("signatures"), config=config)], processes),
        (
            "buckets",
            [MinhashDedupBuckets(input_folder=folder("signatures"), output_folder=folder("buckets"), config=config)],
            config.num_buckets,
        ),
        (
            "clusters",
            [MinhashDedupCluster(input_folder=folder("buckets"), output_folder=folder("removed"), config=config)],
            1,
        ),
        (
            "filter",
            [
                reader(),
                MinhashDedupFilter(input_folder=folder("removed")),
                JsonlWriter(folder("kept"), compression=None),
            ],
            processes,
        ),
    ]
    seconds = {}
    for name, pipeline, tasks in stages:
        start = time.perf_counter()
        LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=min(tasks, processes), logging_dir=folder(f"logs-{name}")
        ).run()
        seconds[name] = time.perf_counter() - start

    kept = 0
    for name in os.listdir(folder("kept")):
        with open(os.path.join(folder("kept"), name), encoding="utf-8") as file:
            kept += sum(1 for _ in file)
    total = sum(seconds.values())
    print(
        json.dumps(
            {
                "peer": "datatrove",
                "processes": processes,
                "bands": config.num_buckets,
                "hashes_per_band": config.hashes_per_bucket,
                "rows": rows,
                "bytes": os.path.getsize(options.corpus),
                "seconds": total,
                "stages": seconds,
                "rows_per_second": rows / total,
                "removed": rows - kept,
            }
        )
    )


if __name__ == "__main__":
    main()
