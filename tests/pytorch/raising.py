"""Rank 1 raises under @record, while rank 0 waits for it."""
import os
import time

from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    if os.environ["RANK"] == "1":
        raise ValueError("no cheese on rank 1")
    time.sleep(60)


if __name__ == "__main__":
    main()
