# SPDX-License-Identifier: Apache-2.0
"""Prepares one TFDS data set as ArrayRecord: `python -m ssl_jax.data.tfds_prepare NAME DATA_DIR`.

A process of its own, because some builders import TensorFlow.  The last line on stdout says what went
wrong; exit status 2 where the user can mend it.
"""

import logging
import os
import sys
import traceback
from typing import Any
from urllib.parse import urlsplit

USER = 2
_TIMEOUT = 10  # seconds for a first answer from a host


class Offline(Exception):
    """A host that can't be reached."""


def quiet() -> None:
    """Keeps TFDS from telling warnings about folders it looked for."""
    logging.getLogger("absl").setLevel(logging.ERROR)


def fail_early() -> None:
    """Makes the first request to a host a short one: TFDS would try ten times, for minutes."""
    import requests

    send, known = requests.Session.send, set()

    def checked(session: Any, request: Any, **options: Any) -> Any:
        host = urlsplit(request.url).netloc
        if host not in known:
            known.add(host)
            try:
                requests.head(request.url, timeout=_TIMEOUT)
            except (requests.ConnectionError, requests.Timeout) as error:
                raise Offline(host) from error
        return send(session, request, **options)

    requests.Session.send = checked


def explain(error: BaseException) -> str | None:
    """One line for what a user can mend, None for anything else."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, Offline):
            return f"{seen} can't be reached, and the data set is not prepared yet; run again with a network"
        if isinstance(seen, ImportError) and (seen.name or "").startswith("tensorflow"):
            return "preparing it needs TensorFlow: pip install 'ssl_jax[prepare-tf]'"
        if isinstance(seen, ImportError) and (seen.name or "").startswith("apache_beam"):
            return "preparing it needs Beam: pip install apache-beam"
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, AssertionError) and "Manual" in str(error):
        return " ".join(str(error).split())[:300]
    if "No module named 'tensorflow'" in "".join(traceback.format_exception(error)):
        return "preparing it needs TensorFlow: pip install 'ssl_jax[prepare-tf]'"
    return None


def main() -> int:
    name, data_dir = sys.argv[1:]
    quiet()
    fail_early()
    try:
        import tensorflow_datasets as tfds
        import tensorflow_datasets.text

        config = tfds.download.DownloadConfig(try_download_gcs=False)
        builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        line = explain(error)
        if line is None:
            traceback.print_exc()
        print(line or f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return USER if line else 1
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
