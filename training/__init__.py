"""Training: data, recipes, fine-tuning, evaluation, comparison of the systems behind 딥봇.

What the libraries look at when they are imported stands here, before any of them is.
"""

import logging
import os
import warnings

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # no call home from here
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Rows of all lengths leave holes in a GPU's memory otherwise.
os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
# It names a package that would be faster, at every import.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")  # peft's question
