"""What a bundle may be at most: it may come from other places and other people. What is beyond is refused in one line.

The largest DistilBERT that people publish (multilingual, fp32) has a graph of 540 MB, a tokenizer of 3 MB and 120,000
words; the one that ships has 25 MB, 0.7 MB and 30,522. The limits leave room above these, and none for a flood.
"""

from typing import Final

_MIB: Final = 2**20

# Sizes bound what is read, hashed, copied and parsed. Protobuf itself ends at 2 GiB.
MAX_MANIFEST_BYTES: Final = _MIB
MAX_LABELS_BYTES: Final = _MIB // 16
MAX_TOKENIZER_BYTES: Final = 16 * _MIB
MAX_MODEL_BYTES: Final = 1024 * _MIB
MAX_OTHER_FILE_BYTES: Final = 16 * _MIB  # the model card, and what later versions may add

# What a manifest lists is fetched, classified and shown, entry by entry. Bundles have four files and eight probes.
MAX_FILES: Final = 16
MAX_HEADS: Final = 32
MAX_LABELS: Final = 1_000
MAX_PROBES: Final = 100
MAX_PROBE_CHARACTERS: Final = 10_000

# A fused DistilBERT of six layers has about 190 nodes and as many weights; each node costs a few kilobytes to load.
MAX_NODES: Final = 10_000
MAX_TENSORS: Final = 10_000
MAX_VALUES: Final = 30_000
MAX_DIMENSIONS: Final = 8

# The time to load a tokenizer, and its memory, follow its words; a text's tokens follow what is put around them.
MAX_WORDS: Final = 250_000
MAX_ADDED_WORDS: Final = 1_000
MAX_WORD_CHARACTERS: Final = 100  # splitting a word takes the square of its length; BERT gives up here too
MAX_NORMALIZERS: Final = 8
MAX_TOKENS_AROUND_A_TEXT: Final = 8

# Every bundle is tried in a process of its own first. The one that ships takes 160 MB and about 1 s of CPU time there;
# a graph's weights are held as a file, as they are read and as they are packed, twice for a moment.
TRIAL_MEMORY_BYTES: Final = 256 * _MIB
TRIAL_MEMORY_PER_MODEL_BYTE: Final = 5
TRIAL_CPU_S: Final = 30
TRIAL_WALL_S: Final = 120

# All files of a remote bundle together: 1 GiB in ten minutes is 1.8 MB/s.
DOWNLOAD_S: Final = 600.0
